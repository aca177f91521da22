use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_broker::error::BrokerError;
use tailwater_broker::wire::{Incident, Outgoing};

use crate::ports::free_port;
use crate::server::Server;
use crate::witness::{Client, DEADLINE, Heard, config, eventually, since};

fn ask(subject: &str) -> Outgoing<'_> {
    Outgoing {
        subject,
        headers: &[],
        payload: b"",
    }
}

const AGAIN: Heard = Heard::Incident(Incident::Connected { again: true });

fn disconnected(heard: &Heard) -> bool {
    matches!(heard, Heard::Incident(Incident::Disconnected { .. }))
}

#[tokio::test]
async fn after_a_kill_everything_is_subscribed_again_before_it_is_said_to_be_connected() {
    let mut server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    let gone = client.subscribe("gone").await;
    for n in 0..3000 {
        let subject = format!("many.{n}");
        client
            .wire
            .subscribe(&subject, subject.clone())
            .await
            .expect("room");
    }
    client.subscribe("before").await;
    client.wire.unsubscribe(gone).await.expect("it runs");
    client.wire.barrier(DEADLINE).await.expect("connected");

    server.kill().await;
    client.witness.hears_where("the loss", disconnected).await;
    assert!(!client.wire.is_connected());
    assert!(client.wire.failure().is_some());
    assert!(matches!(
        client.wire.barrier(DEADLINE).await,
        Err(BrokerError::Away)
    ));
    assert!(matches!(
        client.wire.request(ask("a"), DEADLINE).await,
        Err(BrokerError::Away)
    ));
    client
        .wire
        .subscribe("meanwhile", "meanwhile".to_owned())
        .await
        .expect("it waits");

    client.witness.all().clear();
    server.restart().await;
    client.witness.hears(&AGAIN).await;
    let heard = client.witness.all().clone();
    let connected = heard.iter().position(|heard| *heard == AGAIN).expect("heard");
    let confirmed = heard[..connected]
        .iter()
        .filter(|heard| matches!(heard, Heard::Confirmed(_)))
        .count();
    assert_eq!(confirmed, 3002);

    let mut raw = server.raw().await;
    for subject in ["before", "meanwhile", "many.0", "many.2999", "gone"] {
        raw.publish(subject, b"hello").await;
    }
    for subject in ["before", "meanwhile", "many.0", "many.2999"] {
        client.receives(subject, &["hello"]).await;
    }
    assert_eq!(client.witness.payloads("gone"), Vec::<String>::new());
}

#[tokio::test]
async fn requests_in_flight_fail_as_soon_as_the_connection_breaks() {
    let mut server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    // Somebody who listens and never answers.
    client.subscribe("silent").await;
    let wire = client.wire.clone();
    let waiting = tokio::spawn(async move { wire.request(ask("silent"), Duration::from_secs(60)).await });
    client.receives("silent", &[""]).await;
    let begin = Instant::now();
    server.kill().await;
    assert!(matches!(waiting.await, Ok(Err(BrokerError::Away))));
    assert!(since(begin) < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_that_is_stopped_is_noticed_by_its_silence() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("a").await;
    let begin = Instant::now();
    server.signal(Signal::STOP);
    client.witness.hears_where("the loss", disconnected).await;
    let noticed = since(begin);
    // Pings go out every 200 ms.
    assert!(
        noticed > Duration::from_millis(350) && noticed < Duration::from_secs(5),
        "{noticed:?}"
    );
    assert!(
        client
            .wire
            .failure()
            .is_some_and(|reason| reason.contains("no ping"))
    );
    server.signal(Signal::CONT);
    client.witness.hears(&AGAIN).await;
    server.raw().await.publish("a", b"hello").await;
    client.receives("a", &["hello"]).await;
}

/// Two servers that know each other.
async fn cluster() -> [Server; 2] {
    let ports = [free_port(), free_port()];
    let start = async |name: &str, own: u16, other: u16| {
        let text = format!(
            "server_name: {name}\nlame_duck_duration: 30s\nlame_duck_grace_period: 5s\n\
             cluster {{ name: c, listen: 127.0.0.1:{own}, routes: [nats://127.0.0.1:{other}] }}"
        );
        Server::start(&text).await
    };
    [
        start("n1", ports[0], ports[1]).await,
        start("n2", ports[1], ports[0]).await,
    ]
}

/// Connected to the first, and told of the second.
async fn connected_to_first(servers: &[Server; 2]) -> Client {
    let client = Client::connect(&config(&[servers[0].url()])).await;
    eventually("both are known", async || {
        (client.wire.server().connect_urls.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(client.wire.server().server_name, "n1");
    client
}

#[tokio::test]
async fn when_a_server_of_a_cluster_is_killed_another_that_it_named_takes_over() {
    let mut servers = cluster().await;
    let client = connected_to_first(&servers).await;
    client.subscribe("a").await;
    let begin = Instant::now();
    servers[0].kill().await;
    client.witness.hears(&AGAIN).await;
    assert!(since(begin) < Duration::from_secs(2), "{:?}", since(begin));
    assert_eq!(client.wire.server().server_name, "n2");
    servers[1].raw().await.publish("a", b"hello").await;
    client.receives("a", &["hello"]).await;
}

#[tokio::test]
async fn a_lame_duck_is_left_at_once_for_another_server() {
    let servers = cluster().await;
    let client = connected_to_first(&servers).await;
    client.subscribe("a").await;
    let begin = Instant::now();
    servers[0].signal(Signal::USR2);
    client.witness.hears(&AGAIN).await;
    // Before the server ends its connections.
    assert!(since(begin) < Duration::from_secs(4), "{:?}", since(begin));
    assert_eq!(client.wire.server().server_name, "n2");
    assert!(client.witness.incidents().contains(&Incident::LameDuck));
    servers[1].raw().await.publish("a", b"hello").await;
    client.receives("a", &["hello"]).await;
}

#[tokio::test]
async fn a_lame_duck_without_another_server_is_used_until_it_closes() {
    let mut server = Server::start("lame_duck_duration: 30s\nlame_duck_grace_period: 1s").await;
    let client = Client::connect(&config(&[server.url()])).await;
    server.signal(Signal::USR2);
    client.witness.hears(&Heard::Incident(Incident::LameDuck)).await;
    client.subscribe("late").await;
    client.wire.barrier(DEADLINE).await.expect("still there");
    client.witness.hears_where("the end", disconnected).await;
    let mut goes = async || {
        server.restart().await;
    };
    goes().await;
    client.witness.hears(&AGAIN).await;
}

#[tokio::test]
async fn servers_are_tried_until_one_is_there() {
    let port = free_port();
    let servers = [
        "nats://127.0.0.1:1".to_owned(),
        format!("nats://127.0.0.1:{port}"),
    ];
    let client = Client::open(&config(&servers)).expect("a good configuration");
    let id = client
        .wire
        .subscribe("a", "a".to_owned())
        .await
        .expect("it waits");
    client.failure().await;
    let unreachable = client.wire.wait_until_connected(Duration::from_millis(50)).await;
    assert!(matches!(unreachable, Err(BrokerError::Unreachable { .. })));
    let server = Server::start_on(port, "").await;
    client
        .witness
        .hears(&Heard::Incident(Incident::Connected { again: false }))
        .await;
    server.raw().await.publish("a", b"hello").await;
    client.receives("a", &["hello"]).await;
    client.wire.unsubscribe(id).await.expect("it runs");
}
