use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tailwater_broker::error::BrokerError;
use tailwater_broker::wire::{Limits, Outgoing, OwnedMessage};

use crate::server::Server;
use crate::witness::{Client, DEADLINE, config, since};

const WIDE: Limits = Limits {
    replies: 2000,
    bytes: 10_000_000,
};

fn ask<'a>(subject: &'a str, payload: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        subject,
        headers: &[],
        payload,
    }
}

/// A stream that republishes.
pub(crate) async fn create_stream(client: &Client, name: &str, subjects: &str, to: &str) {
    let config = format!(
        "{{\"name\":\"{name}\",\"subjects\":[\"{subjects}\",\"esync\"],\"storage\":\"memory\",\"allow_direct\":true,\
         \"republish\":{{\"src\":\"{subjects}\",\"dest\":\"{to}\"}}}}"
    );
    let subject = format!("$JS.API.STREAM.CREATE.{name}");
    let reply = client
        .wire
        .request(ask(&subject, config.as_bytes()), DEADLINE)
        .await
        .expect("JetStream");
    let text = String::from_utf8_lossy(&reply.payload).into_owned();
    assert!(!text.contains("\"error\""), "{text}");
}

fn status(message: &OwnedMessage) -> Option<u16> {
    message.headers().status().map(|status| status.code)
}

#[tokio::test]
async fn a_request_gets_its_answer_with_headers_both_ways() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    let other = async_nats::connect(server.url()).await.expect("connected");
    let mut requests = other.subscribe("svc").await.expect("subscribed");
    // A flush is written, no more; the server answers in order that nobody serves this.
    other.request("nobody", "".into()).await.expect_err("nobody");
    let responder = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let mut headers = async_nats::HeaderMap::new();
            let asked = request.headers.as_ref().and_then(|headers| headers.get("Ask"));
            headers.insert("Answer", asked.expect("a header").as_str());
            let reply = request.reply.expect("a reply subject");
            other
                .publish_with_headers(reply, headers, request.payload)
                .await
                .expect("published");
        }
    });
    client.wire.barrier(DEADLINE).await.expect("connected");
    let asked = (0..100).map(|n| {
        let wire = client.wire.clone();
        tokio::spawn(async move {
            let text = n.to_string();
            let outgoing = Outgoing {
                subject: "svc",
                headers: &[("Ask", &text)],
                payload: text.as_bytes(),
            };
            let reply = wire.request(outgoing, DEADLINE).await.expect("answered");
            assert_eq!(&reply.payload[..], text.as_bytes());
            assert_eq!(reply.headers().last("answer"), Some(text.as_bytes()));
        })
    });
    for task in asked.collect::<Vec<_>>() {
        task.await.expect("a right answer");
    }
    responder.abort();
}

#[tokio::test]
async fn where_nobody_listens_a_request_fails_at_once_and_where_nobody_answers_in_time() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    let begin = Instant::now();
    for _ in 0..100 {
        let nobody = client
            .wire
            .request(ask("nobody", b""), Duration::from_secs(60))
            .await;
        assert!(matches!(nobody, Err(BrokerError::NoResponders { subject }) if subject == "nobody"));
    }
    assert!(since(begin) < Duration::from_secs(5));
    client.subscribe("silent").await;
    let wait = Duration::from_millis(100);
    let late = client.wire.request(ask("silent", b""), wait).await;
    assert!(matches!(late, Err(BrokerError::Unavailable { timeout }) if timeout == wait));
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("silent").await;
    let many = (0..tailwater_broker::wire::MAX_REQUESTS + 50).map(|_| {
        let wire = client.wire.clone();
        tokio::spawn(async move { wire.request(ask("silent", b""), Duration::from_secs(2)).await })
    });
    let mut busy = 0;
    for task in many.collect::<Vec<_>>() {
        match task.await.expect("no panic") {
            Err(BrokerError::Busy) => busy += 1,
            Err(BrokerError::Unavailable { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy, 50);
    // Who gave up makes room.
    let nobody = client.wire.request(ask("nobody", b""), DEADLINE).await;
    assert!(
        matches!(nobody, Err(BrokerError::NoResponders { .. })),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn a_batch_is_read_up_to_its_end() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    create_stream(&client, "EDGE", "ch.>", "live.>").await;
    let mut raw = server.raw().await;
    let mut lines = Vec::new();
    for n in 0..1000 {
        let payload = format!("{n:0>500}");
        lines.extend_from_slice(format!("PUB ch.a {}\r\n{payload}\r\n", payload.len()).as_bytes());
    }
    raw.send(&lines).await;
    let stored = client
        .wire
        .request(ask("ch.a", b"last"), DEADLINE)
        .await
        .expect("stored");
    assert!(stored.payload.starts_with(b"{\"stream\":\"EDGE\""));

    let get = "$JS.API.DIRECT.GET.EDGE";
    let all = br#"{"seq":1,"next_by_subj":"ch.a","batch":1000}"#;
    let replies = client
        .wire
        .request_batch(ask(get, all), WIDE, DEADLINE)
        .await
        .expect("a batch");
    assert_eq!(replies.len(), 1001);
    for (n, reply) in replies[..1000].iter().enumerate() {
        assert_eq!(reply.headers().last_number("Nats-Sequence"), Some(n as u64 + 1));
        assert_eq!(reply.payload.len(), 500);
    }
    assert_eq!(status(&replies[1000]), Some(204));

    let heads = br#"{"multi_last":["ch.a","esync"]}"#;
    let replies = client
        .wire
        .request_batch(ask(get, heads), WIDE, DEADLINE)
        .await
        .expect("heads");
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[1].headers().last_number("Nats-UpTo-Sequence"), Some(1001));

    let beyond = br#"{"seq":5000,"next_by_subj":"ch.a","batch":10}"#;
    let replies = client
        .wire
        .request_batch(ask(get, beyond), WIDE, DEADLINE)
        .await
        .expect("an answer");
    assert_eq!((replies.len(), status(&replies[0])), (1, Some(404)));

    let narrow = Limits { replies: 10, ..WIDE };
    let too_many = client.wire.request_batch(ask(get, all), narrow, DEADLINE).await;
    assert!(matches!(too_many, Err(BrokerError::ReplyTooLarge { .. })));
    let no_stream = client
        .wire
        .request_batch(ask("$JS.API.DIRECT.GET.NONE", all), WIDE, DEADLINE)
        .await;
    assert!(
        matches!(no_stream, Err(BrokerError::NoResponders { .. })),
        "{no_stream:?}"
    );
}

#[tokio::test]
async fn a_publish_that_must_be_rejected_tells_the_head_of_the_stream() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    create_stream(&client, "EDGE", "ch.>", "live.>").await;
    client
        .wire
        .request(ask("ch.a", b"1"), DEADLINE)
        .await
        .expect("stored");
    let barrier = Outgoing {
        subject: "esync",
        headers: &[("Nats-Expected-Last-Sequence", "9223372036854775807")],
        payload: b"",
    };
    let reply = client.wire.request(barrier, DEADLINE).await.expect("rejected");
    let text = String::from_utf8_lossy(&reply.payload).into_owned();
    assert!(text.contains("wrong last sequence: 1"), "{text}");
}
