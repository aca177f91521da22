//! NATS goes and comes back; the edge leaves.

use tailwater_tests::edge::OPEN;
use tailwater_tests::{Edge, NatsProcess, Scrape, eventually, next, subscriber};

const QUICK: &str =
    "[nats]\nping_interval_secs = 1\nconnect_timeout_secs = 1\nreconnect_max_delay_secs = 1\n";

const ROLES: [&str; 5] = ["live", "history", "publish", "request", "control"];

fn role(role: &str) -> String {
    format!("role=\"{role}\"")
}

#[tokio::test]
async fn an_outage_of_nats_shows_on_every_connection_and_what_it_cost_on_every_subscription() {
    let services = "[namespace.services]\nchannels = \"services.>\"\nanonymous = true\nrequest = true\n";
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), &format!("{OPEN}{services}{QUICK}")).await;
    let mut clients = [
        subscriber(&edge, None, &["a"]).await,
        subscriber(&edge, None, &["a", "b"]).await,
    ];
    let scrape = Scrape::of(&edge).await;
    assert_eq!(scrape.value("tailwater_ready", ""), 1.0);
    for each in ROLES {
        assert_eq!(
            scrape.value("tailwater_nats_connected", &role(each)),
            1.0,
            "{each}"
        );
        assert_eq!(
            scrape.value("tailwater_nats_reconnects_total", &role(each)),
            0.0,
            "{each}"
        );
    }
    let port = nats.kill();
    eventually("no connection is there", async || {
        let scrape = Scrape::of(&edge).await;
        let is_away = |each: &&str| scrape.value("tailwater_nats_connected", &role(each)) == 0.0;
        (ROLES.iter().all(is_away) && scrape.value("tailwater_ready", "") == 0.0).then_some(())
    })
    .await;
    let _nats = NatsProcess::start_on(port, "").await;
    eventually("all of them are again", async || {
        let scrape = Scrape::of(&edge).await;
        let is_back = |each: &&str| {
            scrape.value("tailwater_nats_connected", &role(each)) == 1.0
                && scrape.value("tailwater_nats_reconnects_total", &role(each)) == 1.0
        };
        ROLES.iter().all(is_back).then_some(())
    })
    .await;
    for (client, channels) in clients.iter_mut().zip([1, 2]) {
        for _ in 0..channels {
            assert_eq!(next(client).await.kind(), "lost");
        }
    }
    let scrape = Scrape::of(&edge).await;
    assert_eq!(
        scrape.value("tailwater_lost_total", "reason=\"nats_disconnected\""),
        3.0
    );
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_not_about_to_leave_says_so() {
    let edge = Edge::start_alone("").await;
    let scrape = Scrape::of(&edge).await;
    assert_eq!(scrape.value("tailwater_draining", ""), 0.0);
    assert_eq!(scrape.value("tailwater_drain_remaining_sessions", ""), 0.0);
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.value("tailwater_build_info", &version), 1.0);
}
