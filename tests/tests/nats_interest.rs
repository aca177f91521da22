//! Which subscriptions the edge has in NATS: one a channel, shared by all its sessions, and kept for a
//! while after the last of them.

use std::time::{Duration, Instant};

use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Unsubscribe};
use tailwater_tests::edge::OPEN;
use tailwater_tests::{Edge, NatsProcess, eventually, next, next_update, soon, subscriber};

#[tokio::test]
async fn sessions_share_one_subscription_which_outlives_the_last_of_them_by_the_linger() {
    let nats = NatsProcess::start("").await;
    let linger = Duration::from_millis(1500);
    let edge = Edge::start_with(&nats.url(), &format!("{OPEN}[feed]\nlinger_ms = 1500\n")).await;
    let mut clients = [
        subscriber(&edge, None, &["shared"]).await,
        subscriber(
            &edge,
            Some(tailwater_protocol::codec::Codec::MessagePack),
            &["shared"],
        )
        .await,
    ];
    assert_eq!(nats.subscriptions("shared").await.len(), 1);
    for client in &mut clients {
        assert_eq!(nats.subscriptions("shared").await.len(), 1);
        let channel = Channel::new("shared").unwrap();
        client
            .send(None, Command::Unsubscribe(Unsubscribe { channel }))
            .await
            .unwrap();
        assert_eq!(next(client).await.kind(), "unsubscribed");
    }
    let left = Instant::now();
    eventually("NATS has no such subscription", async || {
        nats.subscriptions("shared").await.is_empty().then_some(())
    })
    .await;
    assert!(
        left.elapsed() >= linger * 9 / 10,
        "gone after {:?}",
        left.elapsed()
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_page_that_is_loaded_again_keeps_its_subscription_in_nats() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    let client = subscriber(&edge, None, &["page"]).await;
    let before = nats.subscriptions("page").await;
    soon("the close", client.close()).await.unwrap();
    let mut client = subscriber(&edge, None, &["page"]).await;
    assert_eq!(nats.subscriptions("page").await, before);
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    publisher.publish("page", "1".into()).await.unwrap();
    assert_eq!(next_update(&mut client).await.payload.to_bytes(), "1");
    edge.stop().await;
}
