//! Whatever a stranger does, honest clients are served, and about as fast.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use tailwater_tests::hostile::{self, attack::Attack};

#[tokio::test]
async fn honest_clients_do_not_notice_an_attacker() {
    let program = Path::new(env!("CARGO_BIN_EXE_hostile-clients"));
    let verdicts = hostile::run(Attack::value_variants(), Duration::from_secs(2), program).await;
    let all: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    assert!(
        verdicts.iter().all(hostile::Verdict::is_well),
        "{}",
        all.join("\n")
    );
}
