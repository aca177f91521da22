use std::time::{Duration, Instant};

use tailwater_broker::config::{Credentials, NatsConfig};
use tailwater_broker::error::BrokerError;
use tailwater_broker::wire::{Incident, Outgoing};

use crate::server::Server;
use crate::witness::{Client, DEADLINE, Heard, config, since};

fn users(subscribe: &str) -> String {
    format!(
        "authorization {{ users: [\n\
         {{ user: edge, password: p, permissions: {{ publish: [\"ask.>\"], subscribe: [{subscribe}] }} }},\n\
         {{ user: admin, password: p }}\n] }}"
    )
}

fn edge(server: &Server) -> NatsConfig {
    let mut config = config(&[server.url()]);
    config.credentials = Credentials::UserPassword {
        user: "edge".to_owned(),
        password: "p".to_owned(),
    };
    config
}

async fn publish(server: &Server, subject: &str) {
    let options = "{\"verbose\":false,\"user\":\"admin\",\"pass\":\"p\"}";
    let mut raw = crate::server::Raw::connect(&server.address(), options).await;
    raw.publish(subject, b"hello").await;
}

fn ask(subject: &str) -> Outgoing<'_> {
    Outgoing {
        subject,
        headers: &[],
        payload: b"",
    }
}

#[tokio::test]
async fn a_refused_subscription_is_told_to_whoever_made_it_and_to_nobody_else() {
    let server = Server::start(&users("\"live.>\", \"_INBOX_edge.>\"")).await;
    let client = Client::connect(&edge(&server)).await;
    for subject in ["live.a", "secret.a", "live.b", "secret.b", "secret.\"q\""] {
        client
            .wire
            .subscribe(subject, subject.to_owned())
            .await
            .expect("room");
    }
    client.wire.barrier(DEADLINE).await.expect("connected");
    let heard = client.witness.all().clone();
    for subject in ["live.a", "live.b"] {
        assert!(heard.contains(&Heard::Confirmed(subject.to_owned())), "{heard:?}");
    }
    for subject in ["secret.a", "secret.b", "secret.\"q\""] {
        assert!(heard.contains(&Heard::Refused(subject.to_owned())), "{heard:?}");
        assert!(
            !heard.contains(&Heard::Confirmed(subject.to_owned())),
            "{heard:?}"
        );
    }
    publish(&server, "live.b").await;
    client.receives("live.b", &["hello"]).await;
}

#[tokio::test]
async fn a_request_that_we_may_not_make_fails_at_once() {
    let server = Server::start(&users("\"live.>\", \"_INBOX_edge.>\"")).await;
    let client = Client::connect(&edge(&server)).await;
    let begin = Instant::now();
    let refused = client
        .wire
        .request(ask("forbidden"), Duration::from_secs(60))
        .await;
    assert!(
        matches!(&refused, Err(BrokerError::Refused { subject }) if subject == "forbidden"),
        "{refused:?}"
    );
    let nobody = client
        .wire
        .request(ask("ask.nobody"), Duration::from_secs(60))
        .await;
    assert!(matches!(nobody, Err(BrokerError::NoResponders { .. })));
    assert!(since(begin) < Duration::from_secs(2));
    client.wire.publish(ask("forbidden")).await.expect("sent");
    let said = "Permissions Violation for Publish to \"forbidden\"".to_owned();
    client
        .witness
        .hears(&Heard::Incident(Incident::ServerError(said)))
        .await;
}

#[tokio::test]
async fn without_an_inbox_requests_fail_at_once_and_say_so() {
    let server = Server::start(&users("\"live.>\"")).await;
    let client = Client::connect(&edge(&server)).await;
    let refused = client.wire.request(ask("ask.a"), Duration::from_secs(60)).await;
    let Err(BrokerError::Refused { subject }) = refused else {
        panic!("{refused:?}");
    };
    assert!(subject.starts_with("_INBOX_edge.") && subject.ends_with(".*"));
    assert!(
        client
            .witness
            .incidents()
            .contains(&Incident::SubscriptionRefused { subject })
    );
    client.subscribe("live.a").await;
}

#[tokio::test]
async fn a_subscription_that_is_forbidden_later_is_told_too() {
    let server = Server::start(&users("\"live.>\", \"old.>\", \"_INBOX_edge.>\"")).await;
    let client = Client::connect(&edge(&server)).await;
    client.subscribe("live.a").await;
    client.subscribe("old.a").await;
    server.reload(&users("\"live.>\", \"_INBOX_edge.>\""));
    client.witness.hears(&Heard::Refused("old.a".to_owned())).await;
    client
        .wire
        .wait_until_connected(DEADLINE)
        .await
        .expect("connected");
    publish(&server, "live.a").await;
    client.receives("live.a", &["hello"]).await;
    assert!(
        !client
            .witness
            .all()
            .contains(&Heard::Refused("live.a".to_owned()))
    );
}
