use std::io::Write;
use std::time::Duration;

use tailwater_broker::error::BrokerError;
use tailwater_broker::wire::{Incident, Outgoing};

use crate::server::Server;
use crate::witness::{Client, DEADLINE, Heard, config, eventually};

#[tokio::test]
async fn a_confirmed_subscription_misses_nothing_that_is_published_after() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    let mut raw = server.raw().await;
    for n in 0..300 {
        let subject = format!("a.{n}");
        let id = client
            .wire
            .subscribe(&subject, subject.clone())
            .await
            .expect("room");
        client.wire.barrier(DEADLINE).await.expect("connected");
        assert!(client.witness.all().contains(&Heard::Confirmed(subject.clone())));
        raw.publish(&subject, b"hello").await;
        client.receives(&subject, &["hello"]).await;
        client.wire.unsubscribe(id).await.expect("it runs");
        client.wire.barrier(DEADLINE).await.expect("connected");
        raw.publish(&subject, b"late").await;
        assert_eq!(client.witness.payloads(&subject), ["hello"]);
        client.witness.all().clear();
    }
}

#[tokio::test]
async fn messages_come_in_order_whatever_their_size() {
    let server = Server::start("max_payload: 8MB").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("sizes.*").await;
    let mut raw = server.raw().await;
    let sizes = [
        0, 1, 65_535, 65_536, 3, 5_000_000, 200_000, 0, 131_072, 8_000_000, 17,
    ];
    for size in sizes {
        raw.publish_headers("sizes.a", b"NATS/1.0\r\n\r\n", &vec![b'x'; size])
            .await;
    }
    eventually("all of them", async || {
        (client.witness.payloads("sizes.*").len() == sizes.len()).then_some(())
    })
    .await;
    let got: Vec<_> = client
        .witness
        .payloads("sizes.*")
        .iter()
        .map(String::len)
        .collect();
    assert_eq!(got, sizes);
}

#[tokio::test]
async fn a_blast_arrives_complete_and_in_order() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("blast").await;
    let mut raw = server.raw().await;
    let mut expected = Vec::new();
    for round in 0..20 {
        let mut lines = Vec::new();
        for n in 0..1000 {
            let payload = format!("{round}.{n}");
            lines.extend_from_slice(format!("PUB blast {}\r\n{payload}\r\n", payload.len()).as_bytes());
            expected.push(payload);
        }
        raw.send(&lines).await;
    }
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    client.receives("blast", &expected).await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_here() {
    let server = Server::start("max_payload: 1000").await;
    let client = Client::connect(&config(&[server.url()])).await;
    let malformed = client.wire.subscribe("a b", String::new()).await;
    assert!(matches!(malformed, Err(BrokerError::Malformed(_))));
    let outgoing = Outgoing {
        subject: "a",
        headers: &[("K", "v")],
        payload: &[b'x'; 990],
    };
    let too_large = client.wire.publish(outgoing).await;
    assert!(
        matches!(
            too_large,
            Err(BrokerError::TooLarge {
                size: 1008,
                limit: 1000
            })
        ),
        "{too_large:?}"
    );
    client.wire.barrier(DEADLINE).await.expect("still connected");
}

#[tokio::test]
async fn a_connection_ends_when_nobody_holds_it() {
    let server = Server::start("").await;
    let witness = crate::witness::Witness::default();
    let order = tailwater_broker::wire::ServerOrder::Shuffled;
    let (wire, driver) =
        tailwater_broker::wire::open(&config(&[server.url()]), "live", order, witness).expect("good");
    let task = tokio::spawn(driver.run());
    wire.wait_until_connected(DEADLINE).await.expect("connected");
    let last = Outgoing {
        subject: "last",
        headers: &[],
        payload: b"words",
    };
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("last").await;
    wire.publish(last).await.expect("connected");
    drop(wire);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("it ends")
        .expect("without panic");
    client.receives("last", &["words"]).await;
}

#[tokio::test]
async fn too_many_subscriptions_for_the_server_are_refused_and_the_others_stay() {
    let server = Server::start("max_subscriptions: 5").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("a").await;
    for n in 0..20 {
        let subject = format!("many.{n}");
        client
            .wire
            .subscribe(&subject, subject.clone())
            .await
            .expect("room here");
        client.wire.barrier(DEADLINE).await.expect("connected");
    }
    let refused = client
        .witness
        .all()
        .iter()
        .filter(|heard| matches!(heard, Heard::Refused(_)))
        .count();
    assert_eq!(refused, 17);
    server.raw().await.publish("a", b"hello").await;
    client.receives("a", &["hello"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn churn_beside_a_blast_mixes_nothing_up() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("blast").await;
    let mut raw = server.raw().await;
    let blast = tokio::spawn(async move {
        for n in 0..30_000 {
            raw.write(format!("PUB blast 5\r\n{n:05}\r\n").as_bytes()).await;
        }
        raw.send(b"").await;
    });
    let churners = (0..4).map(|who| {
        let wire = client.wire.clone();
        tokio::spawn(async move {
            for n in 0..300 {
                let subject = format!("churn.{who}.{n}");
                let id = wire.subscribe(&subject, subject.clone()).await.expect("room");
                let outgoing = Outgoing {
                    subject: &subject,
                    headers: &[],
                    payload: subject.as_bytes(),
                };
                wire.publish(outgoing).await.expect("connected");
                wire.barrier(DEADLINE).await.expect("connected");
                // Some of these reach a subscription that has just ended.
                wire.publish(outgoing).await.expect("connected");
                wire.unsubscribe(id).await.expect("it runs");
            }
        })
    });
    for churner in churners.collect::<Vec<_>>() {
        churner.await.expect("no panic");
    }
    blast.await.expect("no panic");
    let expected: Vec<_> = (0..30_000).map(|n| format!("{n:05}")).collect();
    client
        .receives("blast", &expected.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let mut first = 0;
    for heard in client.witness.all().iter() {
        if let Heard::Message {
            label,
            subject,
            payload,
            ..
        } = heard
            && label != "blast"
        {
            assert_eq!((label.as_bytes(), label), (payload.as_slice(), subject));
            first += 1;
        }
    }
    assert!((1200..=2400).contains(&first), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_too_slow_is_cut_by_the_server_and_hears_of_it() {
    let server = Server::start("max_pending: 1MB\nwrite_deadline: 500ms").await;
    let mut config = config(&[server.url()]);
    config.ping_interval = Duration::from_secs(5);
    let client = Client::connect(&config).await;
    client.subscribe("a").await;
    // From a thread of its own: a worker that sleeps may be the one that watches the sockets.
    let address = server.address();
    let blast = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).expect("it listens");
        socket.write_all(b"PUB a 5\r\nsleep\r\n").expect("sent");
        let large = [b"PUB a 500000\r\n".as_slice(), &[b'x'; 500_000], b"\r\n"].concat();
        for _ in 0..100 {
            socket.write_all(&large).expect("the publisher is not at fault");
        }
    });
    let cut = |heard: &Heard| matches!(heard, Heard::Incident(Incident::Disconnected { .. }));
    client.witness.hears_where("the cut", cut).await;
    client
        .witness
        .hears(&Heard::Incident(Incident::Connected { again: true }))
        .await;
    blast.await.expect("no panic");
    server.raw().await.publish("a", b"after").await;
    let last = async || client.witness.payloads("a").last().cloned();
    eventually("the connection works", async || {
        (last().await? == "after").then_some(())
    })
    .await;
    assert!(client.witness.payloads("a").len() < 101);
}
