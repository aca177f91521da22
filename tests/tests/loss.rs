//! Nothing is lost on durable channels, whatever fails: the loss checker for a minute, and proof that it can fail.
//!
//! `LOSS_SEED` repeats the faults of a run, `LOSS_SECONDS` makes it longer; `--bin loss-checker` runs it by hand.

use std::time::Duration;

use tailwater_tests::checker::{Checker, Options, report::Report};

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Publishers and subscribers without faults: what fails is chosen by the test.
fn calm() -> Options {
    Options {
        subscribers: 40,
        publishers: 0,
        channels: 6,
        habits: false,
        ..Options::default()
    }
}

/// Everybody has begun, and has all there is.
async fn begun(options: Options) -> Checker {
    let checker = Box::pin(Checker::start(options)).await;
    let level = checker.level(Duration::from_secs(60)).await;
    assert!(level.is_some(), "everybody has begun");
    checker
}

/// Publishes on the first channel.
async fn publish(checker: &Checker, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let offset = checker.publishing().acknowledge("acked", 0, 0, number).await;
        assert!(offset.is_some(), "the stream takes it");
    }
}

/// Where the edges hear of the first channel.
const LIVE: &str = "_tw.live.check.a.0";

#[track_caller]
fn clean(report: &Report) {
    assert!(report.is_clean(), "{report}");
    // The retention is far above what a run stores.
    assert!(report.told.is_empty(), "nothing is trimmed: {report}");
}

#[tokio::test]
async fn every_publication_arrives_once_and_in_order_whatever_fails() {
    let mut options = Options::default();
    options.seed = setting("LOSS_SEED").unwrap_or(options.seed);
    options.time = setting("LOSS_SECONDS").map_or(options.time, Duration::from_secs);
    eprintln!("LOSS_SEED={}", options.seed);
    let report = Box::pin(Checker::run(options)).await;
    eprintln!("{report}");
    clean(&report);
    assert!(!report.rounds.is_empty(), "something was broken: {report}");
}

#[tokio::test]
async fn a_dropped_live_message_is_healed() {
    let mut checker = begun(calm()).await;
    let sabotage = checker.deployment().sabotage.clone();
    // One subscription of one edge misses it; then all of both do. The next one tells of the hole.
    sabotage.drop_messages(LIVE, 1);
    publish(&checker, 0..10).await;
    let level = checker.level(Duration::from_secs(30)).await;
    assert!(level.is_some(), "the hole of one subscription is filled");
    assert_eq!(sabotage.dropped(), 1);
    sabotage.drop_publications(LIVE, 3);
    publish(&checker, 10..20).await;
    let level = checker.level(Duration::from_secs(30)).await;
    assert!(level.is_some(), "the hole of all is filled");
    assert!(sabotage.dropped() > 3, "{}", sabotage.dropped());
    clean(&checker.finish().await);
}

#[tokio::test]
async fn a_dropped_last_message_of_a_quiet_channel_is_healed_by_the_audit() {
    let mut checker = begun(calm()).await;
    let sabotage = checker.deployment().sabotage.clone();
    sabotage.drop_publications(LIVE, 1);
    publish(&checker, 0..1).await;
    let level = checker.quiet_level(Duration::from_secs(30)).await;
    assert!(level.is_some(), "the audit notices");
    assert!(sabotage.dropped() > 0);
    clean(&checker.finish().await);
}

/// Gap healing is turned off from outside: what would tell the edges is taken off the wire.
#[tokio::test]
async fn without_gap_healing_the_checker_sees_the_loss() {
    let mut options = calm();
    options.patience = Duration::from_secs(15);
    let mut checker = begun(options).await;
    let sabotage = checker.deployment().sabotage.clone();
    sabotage.swallow_history(true);
    sabotage.drop_publications(LIVE, 1);
    publish(&checker, 0..10).await;
    let report = checker.finish().await;
    assert!(sabotage.dropped() > 0, "{report}");
    assert!(!report.is_clean(), "{report}");
    let missing = report
        .wrongs
        .iter()
        .any(|wrong| wrong.contains("missing: check.a.0 at "));
    assert!(missing, "{report}");
}
