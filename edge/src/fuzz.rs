//! What the fuzz targets reach of what is private. Only there: `cfg(fuzzing)`.

use tailwater_protocol::close::CloseCode;

use crate::transport::websocket::{Inbound, MessageReader};

/// What a client's bytes are read as: each message, and the code that the connection is closed with. Compressed messages
/// are taken if `deflate` says so; none may have more than `limit_bytes`.
pub fn read_messages<'b>(
    reads: impl IntoIterator<Item = &'b [u8]>,
    limit_bytes: usize,
    deflate: bool,
) -> (Vec<String>, Option<CloseCode>) {
    let mut reader = MessageReader::new(limit_bytes, deflate);
    let mut seen = Vec::new();
    for bytes in reads {
        let mut messages = Vec::new();
        let result = reader.read(bytes, &mut messages);
        for message in messages {
            let Inbound::Deflated(deflated) = &message else {
                seen.push(format!("{message:?}"));
                continue;
            };
            match deflated.inflate(limit_bytes) {
                Ok(body) => {
                    assert!(body.len() <= limit_bytes, "{} bytes", body.len());
                    seen.push(format!("{:?} {body:?}", deflated.codec()));
                }
                Err(violation) => return (seen, Some(violation.code)),
            }
        }
        if let Err(violation) = result {
            return (seen, Some(violation.code));
        }
    }
    (seen, None)
}
