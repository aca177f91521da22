//! Drops and replacements never tear a frame, are always announced, and keep to the bound.

use tailwater_protocol::batch::{Batch, BatchBuilder};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::{Payload, PayloadRef};
use tailwater_protocol::push::{Push, UpdateRef};

use super::*;

const NO_LIMIT: OutboxLimits = OutboxLimits {
    bytes: usize::MAX,
    frames: usize::MAX,
};

fn channel(name: &str) -> Channel {
    Channel::new(name).unwrap()
}

/// A batch of numbers, each on the subject `<channel>.<number modulo subjects>`.
fn batch(channel: &Channel, numbers: Range<u32>, subjects: u32) -> Batch {
    let mut builder = BatchBuilder::new(Codec::Json);
    for number in numbers {
        let payload = number.to_string();
        let subject = format!("x.{}", number % subjects);
        let payload = PayloadRef::classify(payload.as_bytes());
        builder.push(&UpdateRef {
            subject: Some(&subject),
            ..UpdateRef::new(channel, payload)
        });
    }
    builder.finish()
}

/// What a client reads: updates as their number, losses as minus their count.
fn read(mut bytes: &[u8]) -> Vec<i64> {
    let mut read = Vec::new();
    while let [_, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            length => (usize::from(*length), rest),
        };
        for message in Codec::Json.decode_server(&rest[..length]).expect("whole frames") {
            read.push(match message.body {
                ServerBody::Push(Push::Update(update)) => match update.payload {
                    Payload::Json(json) => json.get().parse().unwrap(),
                    Payload::Binary(_) => panic!("not binary"),
                },
                ServerBody::Push(Push::Lost(lost)) => -i64::try_from(lost.count.unwrap()).unwrap(),
                other => panic!("{other:?}"),
            });
        }
        bytes = &rest[length..];
    }
    read
}

/// Writes everything, `step` bytes at a time.
fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = outbox.fill(Codec::Json.into(), &mut slices);
        let next: Vec<u8> = slices[..used]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        assert!(
            !next.is_empty(),
            "an outbox that is not empty has something to write"
        );
        let count = step.min(next.len());
        written.extend_from_slice(&next[..count]);
        outbox.advance(count);
    }
    assert_eq!((outbox.bytes(), outbox.frames, outbox.written), (0, 0, 0));
    written
}

#[test]
fn what_the_socket_did_not_take_follows_to_the_byte() {
    let channel = channel("a");
    let batch = batch(&channel, 0..10, 1);
    for written in 0..batch.bytes().len() {
        for step in [1, 7, 1000] {
            let mut outbox = Outbox::default();
            outbox
                .push_batch(&batch, written, &channel, SlowConsumer::DropOldest, NO_LIMIT)
                .unwrap();
            assert_eq!(
                drain(&mut outbox, step),
                batch.bytes()[written..],
                "after {written}, by {step}"
            );
        }
    }
}

#[test]
fn drop_oldest_keeps_to_the_bound_and_announces_exactly_what_is_missing() {
    let channel = channel("a");
    let limits = OutboxLimits {
        bytes: usize::MAX,
        frames: 10,
    };
    for written in [0, 1, 30, 100] {
        let mut outbox = Outbox::default();
        let first = batch(&channel, 0..20, 1);
        outbox
            .push_batch(&first, written, &channel, SlowConsumer::DropOldest, limits)
            .unwrap();
        for start in [20, 40, 60] {
            let more = batch(&channel, start..start + 20, 1);
            outbox
                .push_batch(&more, 0, &channel, SlowConsumer::DropOldest, limits)
                .unwrap();
            assert!(outbox.frames <= 10, "{}", outbox.frames);
        }
        let mut all = first.bytes()[..written].to_vec();
        all.extend(drain(&mut outbox, 13));
        let read = read(&all);
        assert_eq!(read.last(), Some(&79));
        let mut expected = 0;
        for number in read {
            if number < 0 {
                expected -= number;
            } else {
                assert_eq!(number, expected, "in order, and every gap announced where it is");
                expected += 1;
            }
        }
        assert_eq!(expected, 80);
    }
}

#[test]
fn drop_oldest_counts_each_channel_by_itself() {
    let (a, b) = (channel("a"), channel("b"));
    let limits = OutboxLimits {
        bytes: usize::MAX,
        frames: 6,
    };
    let mut outbox = Outbox::default();
    for number in 0..20 {
        let of = if number % 2 == 0 { &a } else { &b };
        let next = batch(of, number..number + 1, 1);
        outbox
            .push_batch(&next, 0, of, SlowConsumer::DropOldest, limits)
            .unwrap();
    }
    let read = read(&drain(&mut outbox, 1000));
    let lost: i64 = read.iter().filter(|number| **number < 0).sum();
    let got = read.iter().filter(|number| **number >= 0).count();
    assert_eq!(i64::try_from(got).unwrap() - lost, 20);
    assert!(
        read.iter().filter(|number| **number < 0).count() <= 2,
        "one notice a channel: {read:?}"
    );
}

#[test]
fn the_newest_frame_is_kept_however_large() {
    let channel = channel("a");
    let limits = OutboxLimits { bytes: 10, frames: 1 };
    let mut outbox = Outbox::default();
    for policy in [
        SlowConsumer::DropOldest,
        SlowConsumer::Latest,
        SlowConsumer::Disconnect,
    ] {
        outbox
            .push_batch(&batch(&channel, 5..6, 1), 0, &channel, policy, limits)
            .unwrap();
        assert_eq!(read(&drain(&mut outbox, 1000)), [5], "{policy:?}");
    }
}

#[test]
fn latest_keeps_the_newest_of_each_subject_and_says_nothing_of_the_others() {
    let channel = channel("x.*");
    for written in [0, 1] {
        let mut outbox = Outbox::default();
        let first = batch(&channel, 0..3, 3);
        outbox
            .push_batch(&first, written, &channel, SlowConsumer::Latest, NO_LIMIT)
            .unwrap();
        let more = batch(&channel, 3..13, 3);
        outbox
            .push_batch(&more, 0, &channel, SlowConsumer::Latest, NO_LIMIT)
            .unwrap();
        let mut all = first.bytes()[..written].to_vec();
        all.extend(drain(&mut outbox, 1000));
        // A frame of which a part is out stays.
        let expected: &[i64] = if written == 0 {
            &[10, 11, 12]
        } else {
            &[0, 10, 11, 12]
        };
        assert_eq!(read(&all), expected);
    }
}

#[test]
fn disconnect_overflows_instead_of_dropping() {
    let channel = channel("a");
    let limits = OutboxLimits {
        bytes: usize::MAX,
        frames: 10,
    };
    let mut outbox = Outbox::default();
    let ten = batch(&channel, 0..10, 1);
    assert_eq!(
        outbox.push_batch(&ten, 0, &channel, SlowConsumer::Disconnect, limits),
        Ok(())
    );
    let one = batch(&channel, 10..11, 1);
    assert_eq!(
        outbox.push_batch(&one, 0, &channel, SlowConsumer::Disconnect, limits),
        Err(Overflow)
    );
}

#[test]
fn clearing_leaves_only_the_frame_that_has_been_started() {
    let channel = channel("a");
    let batch = batch(&channel, 0..10, 1);
    let second = batch.entries()[1].start as usize;
    for (written, left) in [(0, 0), (second, 0), (second + 3, 1)] {
        let mut outbox = Outbox::default();
        outbox
            .push_batch(&batch, written, &channel, SlowConsumer::DropOldest, NO_LIMIT)
            .unwrap();
        outbox.clear();
        assert_eq!(outbox.frames, left);
        let mut all = batch.bytes()[..written].to_vec();
        all.extend(drain(&mut outbox, 5));
        let whole = i64::try_from(left).unwrap() + i64::from(written >= second);
        assert_eq!(read(&all), (0..whole).collect::<Vec<_>>());
    }
}

#[test]
fn a_flood_of_pings_costs_one_pong() {
    let mut outbox = Outbox::default();
    outbox.push_message(Bytes::from_static(b"m"));
    for body in 0..100_u8 {
        outbox.push_pong(Bytes::from(vec![body]));
    }
    assert_eq!(drain(&mut outbox, 1), b"m\x63");
}

#[test]
fn what_waits_of_durable_channels_costs_live_ones_nothing_and_is_never_dropped() {
    let (stored, live) = (channel("stored"), channel("live"));
    let limits = OutboxLimits {
        bytes: 400,
        frames: 3,
    };
    for policy in [SlowConsumer::Disconnect, SlowConsumer::DropOldest] {
        let mut outbox = Outbox::default();
        let many = batch(&stored, 0..50, 1);
        outbox.push_kept(&many, 0..50, 0, &stored);
        let few = batch(&live, 100..102, 1);
        outbox
            .push_batch(&few, 0, &live, policy, limits)
            .expect("two fit");
        assert_eq!(outbox.kept_bytes(), many.bytes().len());
        let read = read(&drain(&mut outbox, 17));
        assert_eq!(read, (0..50).chain(100..102).collect::<Vec<i64>>());
        assert_eq!(outbox.kept_bytes(), 0);
    }
}

#[test]
fn a_part_of_a_durable_batch_goes_on_behind_what_was_written() {
    let stored = channel("stored");
    let all = batch(&stored, 0..9, 1);
    for cut in 0..9_usize {
        let mut outbox = Outbox::default();
        let begun = 3.min(all.bytes().len());
        outbox.push_kept(&all, cut..9, begun, &stored);
        let rest = drain(&mut outbox, 5);
        assert_eq!(rest, all.slice(cut..9)[begun..]);
    }
}
