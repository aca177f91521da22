//! From the bytes that NATS sends to what a worker takes from its inbox.

use std::hint::black_box;

use tailwater_broker::feed::Delivery;
use tailwater_broker::feed::bench::BenchFeed;
use tailwater_protocol::codec::Codec;

use super::{BATCH, PAYLOAD, open_feed};
use crate::case::{Case, Stage};

const JSON: &[Codec] = &[Codec::Json];
const STREAM: &str = "DEPLOYMENTS";

pub(super) fn cases() -> Vec<Case> {
    vec![
        read("feed/live, JSON", "deployments.42", JSON, None),
        read("feed/live, both codecs", "deployments.42", &Codec::ALL, None),
        read("feed/live pattern, JSON", "deployments.*", JSON, None),
        read("feed/stored, JSON", "deployments.42", JSON, Some(STREAM)),
        read("feed/stored pattern, JSON", "deployments.*", JSON, Some(STREAM)),
        Case::new("feed/join and leave", BATCH, || {
            let feed = open_feed("deployments.42", JSON, None);
            move || {
                for _ in 0..BATCH {
                    feed.join_and_leave(Codec::Json);
                }
            }
        }),
    ]
}

/// One operation is one publication of a read that brings a batch of them.
fn read(
    name: &'static str,
    channel: &'static str,
    codecs: &'static [Codec],
    stream: Option<&'static str>,
) -> Case {
    Case::new(name, BATCH, move || Read {
        feed: open_feed(channel, codecs, stream),
        codecs: codecs.len(),
        is_stored: stream.is_some(),
        offset: 0,
        deliveries: Vec::new(),
    })
}

struct Read {
    feed: BenchFeed,
    codecs: usize,
    is_stored: bool,
    offset: u64,
    deliveries: Vec<Delivery>,
}

impl Stage for Read {
    fn prepare(&mut self) {
        self.deliveries.clear();
        let mut lines = Vec::new();
        for _ in 0..BATCH {
            lines.extend_from_slice(&self.message());
        }
        self.feed.send(&lines).expect("the socket takes a batch");
    }

    fn run(&mut self) {
        self.feed.receive(BATCH * self.codecs, &mut self.deliveries);
        black_box(&self.deliveries);
    }
}

impl Read {
    /// The next publication as NATS sends it.
    fn message(&mut self) -> Vec<u8> {
        let (sid, size) = (self.feed.sid(), PAYLOAD.len());
        if !self.is_stored {
            return format!("MSG deployments.42 {sid} {size}\r\n{PAYLOAD}\r\n").into_bytes();
        }
        let previous = self.offset;
        self.offset += 1;
        let headers = format!(
            "NATS/1.0\r\nNats-Stream: {STREAM}\r\nNats-Subject: deployments.42\r\nNats-Sequence: {}\r\n\
             Nats-Time-Stamp: 2026-11-22T13:57:39.564299912Z\r\nNats-Last-Sequence: {previous}\r\n\r\n",
            self.offset
        );
        let (head, all) = (headers.len(), headers.len() + size);
        format!("HMSG _tw.live.deployments.42 {sid} {head} {all}\r\n{headers}{PAYLOAD}\r\n").into_bytes()
    }
}
