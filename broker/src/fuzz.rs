//! What the fuzz targets reach of what is private.

use crate::publication::{Publication, TimeText};
use crate::publish::acknowledgement;
use crate::wire::{Complaint, Headers};

/// What is read of the headers that JetStream appends.
#[derive(Debug, PartialEq, Eq)]
pub struct Published<'a> {
    /// The stream.
    pub stream: &'a [u8],
    /// What it was published on.
    pub subject: &'a str,
    /// Its sequence.
    pub offset: u64,
    /// The sequence before it.
    pub previous: u64,
    /// When it was stored.
    pub time: Option<String>,
}

/// Reads a message that JetStream hands out; nothing if its headers are not those that JetStream appends.
pub fn read_publication<'a>(headers: &'a [u8], payload: &'a [u8]) -> Option<Published<'a>> {
    let publication = Publication::read(Headers::new(headers), payload)?;
    assert_eq!(publication.bytes(), payload);
    assert!(publication.deleted().is_none() || payload.is_empty());
    let mut time = TimeText::default();
    Some(Published {
        stream: publication.stream,
        subject: publication.subject,
        offset: publication.offset.get(),
        previous: publication.previous,
        time: publication.time(&mut time).map(str::to_owned),
    })
}

/// The offset that a stream acknowledges, or its refusal in words; nothing if it is no answer of `stream`.
pub fn read_acknowledgement(payload: &[u8], stream: &str) -> Option<Result<u64, String>> {
    let answer = acknowledgement::read(payload, "a", stream)?;
    Some(match answer {
        Ok(stored) => Ok(stored.offset.get()),
        Err(error) => Err(error.to_string()),
    })
}

/// What is understood of the text of an `-ERR`.
pub fn read_complaint(text: &str) -> String {
    format!("{:?}", Complaint::of(text))
}
