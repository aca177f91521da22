//! What a service reads, and what its client gets back.

use std::time::{Duration, Instant};

use serde_json::json;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Request};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tailwater_tests::service::Answer;
use tailwater_tests::{Edge, NatsServer, Service, next, subscriber};

use super::*;

#[tokio::test]
async fn a_service_reads_who_asks_what_on_which_channel_and_nothing_that_the_client_chose() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let service = Service::start(&nats, "prod.far.>", |_| Some(Answer::of(r#" {"price": 7} "#))).await;
    let (mut socket, name) = session(&edge).await;
    let command = json!({
        "type": "request", "id": 9, "channel": "far.price", "payload": {"of": "tea"},
        "headers": {"Tailwater-User": "root"}, "user": "root",
    });
    let answer = socket.ask(&command.to_string()).await;
    assert_eq!(answer, json!({"type": "reply", "id": 9, "payload": {"price": 7}}));
    let asked = service.asked();
    let [asked] = &asked[..] else {
        panic!("one request: {asked:?}");
    };
    assert_eq!(asked.subject, "prod.far.price");
    assert_eq!(asked.payload, br#"{"of":"tea"}"#);
    let expected = format!("NATS/1.0\r\nTailwater-Session: {name}\r\nTailwater-Channel: far.price\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&asked.headers), expected);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn answers_arrive_in_both_codecs_as_publications_would() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let _service = Service::start(&nats, "svc.echo", echo).await;
    let payloads = [
        Payload::from_json(&json!({"a": [1, 2]})).expect("JSON"),
        Payload::from_json("text").expect("JSON"),
        Payload::Binary(vec![0xff, 0x00].into()),
    ];
    for codec in [Codec::Json, Codec::MessagePack] {
        let mut client = subscriber(&edge, Some(codec), &[]).await;
        for payload in &payloads {
            let channel = Channel::new("svc.echo").expect("a channel");
            let command = Command::Request(Request {
                channel,
                payload: payload.clone(),
                timeout_ms: None,
            });
            client.send(Some(3), command).await.expect("the connection lives");
            let answer = next(&mut client).await;
            assert_eq!(answer.id, Some(3));
            let ServerBody::Reply(Reply::Reply { payload: answered }) = answer.body else {
                panic!("{answer:?}");
            };
            assert_eq!(&answered, payload, "{codec:?}");
        }
    }
    // What is no JSON becomes text, nothing becomes "".
    let _plain = Service::start(&nats, "svc.plain", |_| Some(Answer::of("out of tea"))).await;
    let _empty = Service::start(&nats, "svc.empty", |_| Some(Answer::default())).await;
    let (mut socket, _) = session(&edge).await;
    let answer = socket.ask(&request(1, "svc.plain", &json!(1))).await;
    assert_eq!(answer["payload"], "out of tea");
    let answer = socket.ask(&request(1, "svc.empty", &json!(1))).await;
    assert_eq!(answer["payload"], "");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn an_error_of_a_service_is_passed_on_with_its_code_and_payload() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let _service = Service::start(&nats, "svc.order", |_| {
        Some(Answer::error("404", "no such order", r#"{"order":7}"#))
    })
    .await;
    let (mut socket, _) = session(&edge).await;
    let answer = refused(&mut socket, &request(5, "svc.order", &json!(7)), "service_error").await;
    let expected = json!({
        "type": "error", "id": 5, "code": "service_error", "message": "no such order", "channel": "svc.order",
        "service_error": {"code": "404", "description": "no such order"}, "payload": {"order": 7},
    });
    assert_eq!(answer, expected);
    let mut client = subscriber(&edge, Some(Codec::MessagePack), &[]).await;
    let command = Command::Request(Request {
        channel: Channel::new("svc.order").expect("a channel"),
        payload: Payload::from_json(&7).expect("JSON"),
        timeout_ms: None,
    });
    client.send(Some(6), command).await.expect("the connection lives");
    let ServerBody::Push(Push::Error(error)) = next(&mut client).await.body else {
        panic!("expected an error");
    };
    let said = error.service_error.expect("what the service said");
    assert_eq!((error.id, said.code.as_str()), (Some(6), "404"));
    assert_eq!(
        said.payload,
        Payload::from_json(&json!({"order": 7})).expect("JSON")
    );
    // Headers that are none harm nobody.
    let _strange = Service::start(&nats, "svc.strange", |_| {
        Some(Answer {
            headers: b"NATS/1.0\r\n\xff\xfe no header\r\n\r\n".to_vec(),
            payload: b"7".to_vec(),
        })
    })
    .await;
    let answer = socket.ask(&request(1, "svc.strange", &json!(1))).await;
    assert_eq!(answer["payload"], 7);
    drop((socket, client));
    edge.stop().await;
}

#[tokio::test]
async fn where_nobody_listens_the_client_knows_at_once_and_where_nobody_answers_in_time() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let (mut socket, _) = session(&edge).await;
    let begin = Instant::now();
    let answer = refused(&mut socket, &request(1, "svc.nobody", &json!(1)), "no_responders").await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(
        (&answer["id"], &answer["channel"]),
        (&json!(1), &json!("svc.nobody"))
    );
    let silent = Service::start(&nats, "*.silent", |_| None).await;
    // The namespace's own limit holds, whatever the client asks for.
    for (channel, timeout_ms, least, most) in [
        ("quick.silent", None, 200, 4000),
        ("quick.silent", Some(60_000), 200, 4000),
        ("svc.silent", Some(100), 100, 4000),
    ] {
        let mut command = json!({"type": "request", "id": 2, "channel": channel, "payload": 1});
        command["timeout_ms"] = json!(timeout_ms);
        let begin = Instant::now();
        let answer = refused(&mut socket, &command.to_string(), "timeout").await;
        let took = begin.elapsed().as_millis();
        assert!(
            (least..most).contains(&took),
            "{channel} {timeout_ms:?} took {took} ms"
        );
        assert_eq!((&answer["id"], &answer["channel"]), (&json!(2), &json!(channel)));
    }
    assert_eq!(silent.asked().len(), 3);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn what_may_not_be_asked_reaches_no_service() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let service = Service::start(&nats, ">", |_| None).await;
    let (mut socket, _) = session(&edge).await;
    let large = "x".repeat(1024 * 1024);
    for (channel, payload, code) in [
        ("news.a", "1", "forbidden"),
        ("staff.a", "1", "forbidden"),
        ("nowhere", "1", "no_such_channel"),
        ("svc.*", "1", "bad_message"),
        ("svc.>", "1", "bad_message"),
    ] {
        let command = format!(r#"{{"type":"request","id":4,"channel":"{channel}","payload":{payload}}}"#);
        let answer = refused(&mut socket, &command, code).await;
        assert_eq!((&answer["id"], &answer["channel"]), (&json!(4), &json!(channel)));
    }
    let hasty = r#"{"type":"request","channel":"svc.a","payload":1,"timeout_ms":0}"#;
    refused(&mut socket, hasty, "bad_message").await;
    drop(socket);
    edge.stop().await;
    let wide = format!("[websocket]\nmax_message_bytes = 4194304\n{CONFIG}");
    let edge = Edge::start_with(nats.url(), &wide).await;
    let (mut socket, _) = session(&edge).await;
    refused(&mut socket, &request(1, "svc.a", &json!(large)), "too_large").await;
    edge.stop().await;
    let reached = service
        .asked()
        .into_iter()
        .filter(|message| !message.subject.starts_with(['_', '$']));
    assert_eq!(reached.collect::<Vec<_>>(), []);
}
