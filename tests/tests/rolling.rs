//! A rolling restart that nobody notices, in little; `--bin rolling-restart` does it with thousands of clients.

use std::time::Duration;

use tailwater_tests::rolling::{self, Options};

#[tokio::test]
async fn a_rolling_restart_loses_nothing_and_is_no_storm_for_the_other_edges() {
    let options = Options {
        clients: 240,
        channels: 8,
        window_secs: 2,
        linger_secs: 1,
    };
    let report = Box::pin(rolling::run(options)).await;
    eprintln!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.told() <= 1.5, "{report}");
    // Of a busy machine nobody can ask more; the program asks for two.
    assert!(report.gap(0.99) < Duration::from_secs(10), "{report}");
    let moved: usize = report.restarts.iter().map(|restart| restart.clients).sum();
    assert_eq!(
        report.gaps.len(),
        moved,
        "everybody leaves once for each edge: {report}"
    );
}
