//! Histories that were written down, and what must be said of them.

use super::*;
use crate::checker::truth::fingerprint;

const EXACT: &str = "check.a.1";
const PATTERN: &str = "check.a.*";

fn follower(channel: &str) -> Follower {
    Follower::new(Channel::new(channel).unwrap())
}

/// `check.a.1` at the odd offsets and `check.a.2` at the even ones, up to and with `upto`; the payload is the offset.
fn truth(upto: u64) -> Truth {
    let mut truth = Truth::default();
    for offset in 1..=upto {
        truth.store(subject_of(offset), offset, offset.to_string().as_bytes());
    }
    truth
}

fn subject_of(offset: u64) -> &'static str {
    if offset % 2 == 1 { "check.a.1" } else { "check.a.2" }
}

fn subscribed(since: Option<u64>, offset: u64) -> Event {
    Event::Subscribed {
        since,
        offset,
        epoch: "e-1".to_owned(),
        recovered: since.map(|_| true),
    }
}

fn update(offset: u64) -> Event {
    Event::Update {
        subject: usize::from(offset.is_multiple_of(2)),
        offset,
        print: fingerprint(offset.to_string().as_bytes()),
    }
}

fn lost(from: u64, to: u64) -> Event {
    Event::Lost {
        from: Some(from),
        to: Some(to),
        reason: "trimmed".to_owned(),
    }
}

fn position(offset: u64) -> Event {
    Event::Position { offset }
}

fn missing(offset: u64) -> Wrong {
    let subject = subject_of(offset).to_owned();
    Wrong::Missing { subject, offset }
}

fn again(offset: u64) -> Wrong {
    let subject = subject_of(offset).to_owned();
    Wrong::Again { subject, offset }
}

/// What is wrong with this history, if the stream holds everything up to `upto`. Said alike whether the stream is
/// known from the beginning, or only when everything has come.
#[track_caller]
fn judged(channel: &str, upto: u64, history: &[Event]) -> (Vec<Wrong>, Counts) {
    let judge = |mut first: Truth| {
        let whole = truth(upto);
        let mut follower = follower(channel);
        for event in history {
            follower.record(event.clone(), &first);
        }
        // As it is when the reader of the stream lags behind the subscriber.
        while first.upto() < upto {
            let offset = first.upto() + 1;
            first.store(subject_of(offset), offset, offset.to_string().as_bytes());
            follower.settle(&first);
        }
        follower.finish(&whole);
        (follower.wrongs().to_vec(), follower.counts().clone())
    };
    let known = judge(truth(upto));
    let mut nothing = Truth::default();
    nothing.id("check.a.1");
    nothing.id("check.a.2");
    let late = judge(nothing);
    assert_eq!(known, late);
    known
}

#[track_caller]
fn clean(channel: &str, upto: u64, history: &[Event]) -> Counts {
    let (wrongs, counts) = judged(channel, upto, history);
    assert_eq!(wrongs, []);
    counts
}

#[track_caller]
fn wrong(channel: &str, upto: u64, history: &[Event], expected: &[Wrong]) {
    assert_eq!(judged(channel, upto, history).0, expected);
}

#[test]
fn what_is_stored_on_the_channel_behind_the_first_offset_is_owed_and_nothing_else() {
    let counts = clean(EXACT, 10, &[subscribed(None, 5), update(7), update(9)]);
    assert_eq!((counts.updates, counts.repeats, counts.resumes), (2, 0, 0));
    clean(
        PATTERN,
        8,
        &[subscribed(None, 5), update(6), update(7), update(8)],
    );
}

#[test]
fn a_hole_is_missing_wherever_it_is() {
    wrong(
        EXACT,
        9,
        &[subscribed(None, 1), update(5), update(7), update(9)],
        &[missing(3)],
    );
    wrong(
        EXACT,
        9,
        &[subscribed(None, 1), update(3), update(9)],
        &[missing(5), missing(7)],
    );
    wrong(
        EXACT,
        9,
        &[subscribed(None, 1), update(3), update(5), update(7)],
        &[missing(9)],
    );
    wrong(
        PATTERN,
        4,
        &[subscribed(None, 0), update(1), update(3), update(4)],
        &[missing(2)],
    );
    wrong(EXACT, 3, &[subscribed(None, 0)], &[missing(1), missing(3)]);
    wrong(EXACT, 3, &[], &[Wrong::NeverSubscribed]);
}

#[test]
fn order_holds_within_a_subject_and_not_between_subjects() {
    clean(
        PATTERN,
        6,
        &[subscribed(None, 2), update(4), update(6), update(3), update(5)],
    );
    let swapped = [subscribed(None, 2), update(5), update(3), update(4), update(6)];
    wrong(PATTERN, 6, &swapped, &[missing(3), again(3)]);
}

#[test]
fn twice_in_one_connection_is_once_too_often() {
    for channel in [EXACT, PATTERN] {
        let twice = [subscribed(None, 2), update(3), update(3)];
        wrong(channel, 3, &twice, &[again(3)]);
    }
}

#[test]
fn a_cursor_goes_on_exactly_behind_itself() {
    let resumed = [subscribed(None, 0), update(1), subscribed(Some(1), 1), update(3)];
    assert_eq!(clean(EXACT, 3, &resumed).resumes, 1);
    let skipped = [subscribed(None, 0), update(1), subscribed(Some(1), 1), update(5)];
    wrong(EXACT, 5, &skipped, &[missing(3)]);
    let repeated = [
        subscribed(None, 0),
        update(1),
        subscribed(Some(1), 1),
        update(1),
        update(3),
    ];
    wrong(EXACT, 3, &repeated, &[again(1)]);
}

#[test]
fn a_pattern_may_repeat_what_lies_behind_its_cursor_in_the_next_connection() {
    let history = [
        subscribed(None, 0),
        update(1),
        update(2),
        position(2),
        update(3),
        update(4),
        subscribed(Some(2), 2),
        update(3),
        update(4),
        update(5),
    ];
    let counts = clean(PATTERN, 5, &history);
    assert_eq!((counts.updates, counts.repeats), (7, 2));
    // It went on further back than it was asked to, and said so.
    let further = [
        subscribed(None, 0),
        update(1),
        update(2),
        position(2),
        subscribed(Some(2), 0),
        update(1),
        update(2),
        update(3),
    ];
    assert_eq!(clean(PATTERN, 3, &further).repeats, 2);
}

#[test]
fn a_cursor_that_runs_ahead_of_what_was_delivered_is_found() {
    let early = [subscribed(None, 0), update(1), position(2), update(3)];
    wrong(PATTERN, 3, &early, &[missing(2)]);
    // The answer to a resume moves the cursor over what the broken connection never brought.
    let moved = [
        subscribed(None, 0),
        update(1),
        subscribed(Some(1), 5),
        subscribed(Some(5), 5),
        update(7),
    ];
    let ahead = |offset| Wrong::CursorAhead {
        cursor: 5,
        subject: EXACT.to_owned(),
        offset,
    };
    wrong(EXACT, 7, &moved, &[ahead(3), ahead(5)]);
}

#[test]
fn what_a_lost_names_is_counted_and_not_wrong() {
    let history = [subscribed(None, 0), update(1), lost(2, 5), update(7)];
    let counts = clean(EXACT, 7, &history);
    assert_eq!((counts.named, counts.lost["trimmed"]), (2, 1));
    wrong(
        EXACT,
        9,
        &[subscribed(None, 0), update(1), lost(2, 5), update(9)],
        &[missing(7)],
    );
    // It comes in the place of what it names, not behind.
    wrong(
        EXACT,
        5,
        &[subscribed(None, 0), update(5), lost(1, 3)],
        &[missing(1), missing(3)],
    );
}

#[test]
fn a_lost_says_which_range_and_follows_a_failed_recovery() {
    let unbounded = Event::Lost {
        from: None,
        to: Some(3),
        reason: "trimmed".to_owned(),
    };
    wrong(
        EXACT,
        3,
        &[subscribed(None, 3), unbounded],
        &[Wrong::LostWithoutRange],
    );
    let failed = Event::Subscribed {
        since: Some(1),
        offset: 3,
        epoch: "e-1".to_owned(),
        recovered: Some(false),
    };
    let told = [
        subscribed(None, 0),
        update(1),
        failed.clone(),
        lost(2, 3),
        update(5),
    ];
    assert_eq!(clean(EXACT, 5, &told).named, 1);
    let untold = [subscribed(None, 0), update(1), failed, update(5)];
    wrong(EXACT, 5, &untold, &[Wrong::NotRecovered, missing(3)]);
}

#[test]
fn what_is_not_stored_must_not_come() {
    let of = |subject, offset| Event::Update {
        subject,
        offset,
        print: fingerprint(b"3"),
    };
    let forged = |offset| Wrong::NeverStored {
        subject: EXACT.to_owned(),
        offset,
    };
    wrong(
        EXACT,
        3,
        &[subscribed(None, 1), of(0, 2), update(3)],
        &[forged(2)],
    );
    wrong(
        EXACT,
        3,
        &[subscribed(None, 1), update(3), of(0, 999)],
        &[forged(999)],
    );
    let altered = Wrong::Altered {
        subject: EXACT.to_owned(),
        offset: 5,
    };
    wrong(EXACT, 5, &[subscribed(None, 3), of(0, 5)], &[altered]);
    let stray = Wrong::Stray {
        subject: "check.a.2".to_owned(),
    };
    wrong(EXACT, 3, &[subscribed(None, 1), update(2), update(3)], &[stray]);
}

#[test]
fn another_epoch_is_wrong_because_nobody_made_one() {
    let changed = Event::Subscribed {
        since: Some(1),
        offset: 1,
        epoch: "e-2".to_owned(),
        recovered: Some(true),
    };
    let history = [subscribed(None, 0), update(1), changed, update(3)];
    wrong(EXACT, 3, &history, &[Wrong::EpochChanged]);
}

#[test]
fn level_is_who_has_all_that_is_known_to_be_stored() {
    let mut follower = follower(PATTERN);
    let four = truth(4);
    assert!(!follower.is_level(&four));
    follower.record(subscribed(None, 2), &four);
    assert!(!follower.is_level(&four));
    follower.record(update(4), &four);
    assert!(follower.has(&[(1, 4)], &four) && !follower.has(&[(1, 4), (0, 3)], &four));
    follower.record(update(3), &four);
    assert!(follower.is_level(&four) && follower.has(&[(1, 4), (0, 3)], &four));
    assert!(!follower.is_level(&truth(5)));
    // What came is not judged before the stream is known that far.
    follower.record(update(5), &four);
    assert!(!follower.is_level(&four));
    assert!(follower.is_level(&truth(5)));
}
