//! Hooks: services decide who connects and who subscribes, by what the edge shows them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater_tests::raw_nats::RawMessage;
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::service::Answer;
use tailwater_tests::{Edge, NatsServer, RawSocket, Service, eventually};

const NAMESPACES: &str = r#"
[namespace.news]
channels = "news.>"
anonymous = true
subscribe_hook = true
[namespace.stored]
channels = "stored.>"
anonymous = true
durable = true
subscribe_hook = true
[namespace.open]
channels = "open.>"
anonymous = true
"#;

/// Namespaces, a hook for subscriptions, and more keys of it.
fn subscribing(more: &str) -> String {
    format!("{NAMESPACES}[hook.subscribe]\nsubject = \"_hooks.subscribe\"\n{more}\n")
}

/// Makes a handshake with these headers besides, and gives the socket once the edge has answered it.
async fn handshake(edge: &Edge, more: &[&str]) -> RawSocket {
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let response = socket
        .request("GET /ws HTTP/1.1", &[&HANDSHAKE[..], more].concat())
        .await;
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    socket
}

/// A JSON session that has been welcomed, and its name.
async fn session(edge: &Edge, more: &[&str]) -> (RawSocket, String) {
    let mut socket = handshake(edge, more).await;
    let connected = socket.next_json().await;
    assert_eq!(connected["type"], "connected", "{connected}");
    let name = connected["session"].as_str().expect("a name").to_owned();
    (socket, name)
}

fn subscribe(channel: &str) -> String {
    json!({"type": "subscribe", "id": 1, "channel": channel}).to_string()
}

/// Subscribes, which must be refused with this code.
async fn refused(socket: &mut RawSocket, channel: &str, code: &str) -> Value {
    let answer = socket.ask(&subscribe(channel)).await;
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!(code)),
        "{answer}"
    );
    assert_eq!(
        (&answer["id"], &answer["channel"]),
        (&json!(1), &json!(channel)),
        "{answer}"
    );
    answer
}

async fn subscribed(socket: &mut RawSocket, channel: &str) {
    let answer = socket.ask(&subscribe(channel)).await;
    assert_eq!(answer["type"], "subscribed", "{answer}");
}

fn question(message: &RawMessage) -> Value {
    serde_json::from_slice(&message.payload).expect("a question is JSON")
}

/// Allows channels that end with `yes`.
fn by_name(message: &RawMessage) -> Option<Answer> {
    let channel = question(message)["channel"]
        .as_str()
        .expect("a channel")
        .to_owned();
    Some(Answer::of(if channel.ends_with("yes") {
        r#"{"allow": true}"#
    } else {
        r#"{"allow": false, "reason": "members only"}"#
    }))
}

#[tokio::test]
async fn the_service_decides_about_channels_patterns_and_history_where_the_namespace_says_so() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &subscribing("")).await;
    let service = Service::start(&nats, "_hooks.subscribe", by_name).await;
    let (mut socket, _) = session(&edge, &[]).await;
    for channel in ["news.yes", "stored.yes"] {
        subscribed(&mut socket, channel).await;
        // It has it already.
        subscribed(&mut socket, channel).await;
    }
    assert_eq!(service.asked().len(), 2);
    for channel in ["news.no", "news.*", "news.>", "stored.no", "stored.>"] {
        let answer = refused(&mut socket, channel, "forbidden").await;
        assert_eq!(answer["message"], "members only");
    }
    let history = |channel: &str| json!({"type": "history", "id": 2, "channel": channel}).to_string();
    assert_eq!(socket.ask(&history("stored.no")).await["code"], "forbidden");
    assert_eq!(socket.ask(&history("stored.yes")).await["type"], "history");
    let before = service.asked().len();
    subscribed(&mut socket, "open.no").await;
    assert_eq!(service.asked().len(), before, "no hook there");
    // Nobody who was refused is on the channel.
    let publisher = nats.client().await;
    for channel in ["news.no", "news.yes"] {
        publisher
            .publish(channel, channel.into())
            .await
            .expect("the connection lives");
    }
    assert_eq!(socket.next_json().await["channel"], "news.yes");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn the_service_sees_the_session_its_address_and_of_its_headers_only_those_named() {
    let nats = NatsServer::start().await;
    let config = subscribing("headers = [\"cookie\", \"X-Tenant\"]")
        + "[hook.connect]\nsubject = \"_hooks.connect\"\nheaders = \"origin\"\n[origin]\nallow = \"*\"\n";
    let edge = Edge::start_with(nats.url(), &config).await;
    let service = Service::start(&nats, "_hooks.*", |_| Some(Answer::of(r#"{"allow":true}"#))).await;
    let headers = [
        "Cookie: a=1",
        "Authorization: Bearer secret",
        "x-tenant: tea",
        "Origin: https://a.example",
        "cookie: b=2",
    ];
    let (mut socket, name) = session(&edge, &headers).await;
    let address = socket.stream().local_addr().expect("an address").to_string();
    subscribed(&mut socket, "news.a").await;
    let asked: Vec<_> = service.asked().iter().map(question).collect();
    let connect = json!({
        "event": "connect", "session": name, "remote_addr": address, "user": null, "claims": {},
        "headers": {"origin": "https://a.example"}, "client": null,
    });
    let subscribe = json!({
        "event": "subscribe", "session": name, "remote_addr": address, "user": null, "claims": {},
        "headers": {"cookie": "a=1; b=2", "x-tenant": "tea"}, "channel": "news.a",
    });
    assert_eq!(asked, [connect, subscribe]);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn whom_the_service_does_not_let_in_is_told_why_and_closed() {
    let nats = NatsServer::start().await;
    let config = format!("{NAMESPACES}[hook.connect]\nsubject = \"_hooks.connect\"\nheaders = \"cookie\"\n");
    let config = config.replace("subscribe_hook = true", "");
    let edge = Edge::start_with(nats.url(), &config).await;
    let service = Service::start(&nats, "_hooks.connect", |message| {
        Some(Answer::of(
            match question(message)["headers"]["cookie"].as_str() {
                Some("sid=7") => r#"{"allow":true,"user":"ada","subscribe":["news.>"]}"#,
                Some("sid=8") => r#"{"alow":true}"#,
                _ => r#"{"allow":false,"reason":"log in first"}"#,
            },
        ))
    })
    .await;
    let (mut socket, _) = session(&edge, &["Cookie: sid=7"]).await;
    subscribed(&mut socket, "news.a").await;
    for (headers, code, message, close) in [
        (&[][..], "forbidden", "log in first", 4403),
        (&["Cookie: sid=9"][..], "forbidden", "log in first", 4403),
        (&["Cookie: sid=8"][..], "unavailable", "does not answer", 1013),
    ] {
        let mut socket = handshake(&edge, headers).await;
        // What it asks meanwhile is not carried out.
        socket.send(&frame(0x81, subscribe("news.b").as_bytes())).await;
        let error = socket.next_json().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)));
        assert!(
            error["message"].as_str().expect("a sentence").contains(message),
            "{error}"
        );
        assert_eq!(socket.close_code().await, close);
    }
    // No service at all.
    service.stop().await;
    eventually("nobody listens", async || {
        let mut socket = handshake(&edge, &["Cookie: sid=7"]).await;
        let first = socket.next_json().await;
        (first["code"] == "unavailable").then_some(())
    })
    .await;
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn where_nobody_comes_in_unknown_the_service_lets_in_by_what_it_grants() {
    let nats = NatsServer::start().await;
    let config = r#"
[namespace.users]
channels = "users.>"
allow_subscribe = "users.{sub}.>"
[hook.connect]
subject = "_hooks.connect"
headers = "cookie"
"#;
    let edge = Edge::start_with(nats.url(), config).await;
    let _service = Service::start(&nats, "_hooks.connect", |message| {
        Some(Answer::of(
            match question(message)["headers"]["cookie"].as_str() {
                Some("sid=7") => r#"{"allow":true,"user":"ada"}"#,
                Some("sid=8") => r#"{"allow":true,"subscribe":["users.all"],"channels":["users.all"]}"#,
                _ => r#"{"allow":true}"#,
            },
        ))
    })
    .await;
    // A name alone fills the placeholders.
    let (mut ada, _) = session(&edge, &["Cookie: sid=7"]).await;
    subscribed(&mut ada, "users.ada.inbox").await;
    refused(&mut ada, "users.bob.inbox", "forbidden").await;
    // Rights alone are enough, and are all that there is.
    let (mut nobody, _) = session(&edge, &["Cookie: sid=8"]).await;
    let joined = nobody.next_json().await;
    assert_eq!(
        (&joined["type"], &joined["channel"]),
        (&json!("subscribed"), &json!("users.all"))
    );
    refused(&mut nobody, "users.ada.inbox", "forbidden").await;
    // Who gets neither has to say who it is.
    let mut unknown = handshake(&edge, &[]).await;
    let answer = unknown.ask(&subscribe("users.all")).await;
    assert_eq!(answer["code"], "unauthenticated", "{answer}");
    drop((ada, nobody, unknown));
    edge.stop().await;
}

#[tokio::test]
async fn without_a_decision_nothing_is_allowed_unless_the_hook_says_so() {
    let nats = NatsServer::start().await;
    let timeout = Duration::from_millis(1500);
    for (on_failure, allows) in [("deny", false), ("allow", true)] {
        let config = subscribing(&format!("timeout_ms = 1500\non_failure = \"{on_failure}\""));
        let edge = Edge::start_with(nats.url(), &config).await;
        let (mut socket, _) = session(&edge, &[]).await;
        // Nobody there; silence; an error instead of a decision.
        let begin = Instant::now();
        check(&mut socket, "news.nobody", allows).await;
        assert!(begin.elapsed() < timeout, "{:?}", begin.elapsed());
        let silent = Service::start(&nats, "_hooks.subscribe", |_| None).await;
        let begin = Instant::now();
        check(&mut socket, "news.silent", allows).await;
        assert!(begin.elapsed() >= timeout, "{:?}", begin.elapsed());
        assert_eq!(silent.asked().len(), 1);
        silent.stop().await;
        let failing = Service::start(&nats, "_hooks.subscribe", |_| {
            Some(Answer::error("500", "no database", r#"{"allow":true}"#))
        })
        .await;
        check(&mut socket, "news.failing", allows).await;
        failing.stop().await;
        // A service that speaks nonsense may have meant no.
        for nonsense in [
            "",
            "yes",
            "{}",
            r#"{"allow":"yes"}"#,
            r#"{"allow":true,"reson":"x"}"#,
            r#"{"allow":true} {}"#,
            r#"{"allow":true,"user":"ada"}"#,
        ] {
            let service =
                Service::start(&nats, "_hooks.subscribe", move |_| Some(Answer::of(nonsense))).await;
            check(&mut socket, "news.nonsense", false).await;
            service.stop().await;
        }
        drop(socket);
        edge.stop().await;
    }
}

async fn check(socket: &mut RawSocket, channel: &str, allows: bool) {
    if allows {
        subscribed(socket, channel).await;
    } else {
        let answer = refused(socket, channel, "unavailable").await;
        assert!(answer["retry_after_ms"].is_u64(), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_holds_for_the_same_question_alone_and_a_failure_never() {
    let nats = NatsServer::start().await;
    let config = subscribing("cache_secs = 3600\nheaders = \"cookie\"");
    let edge = Edge::start_with(nats.url(), &config).await;
    let (mut one, _) = session(&edge, &["Cookie: sid=1"]).await;
    refused(&mut one, "news.yes", "unavailable").await;
    let service = Service::start(&nats, "_hooks.subscribe", by_name).await;
    let (mut same, _) = session(&edge, &["Cookie: sid=1", "X-Else: 1"]).await;
    let (mut other, _) = session(&edge, &["Cookie: sid=2"]).await;
    for socket in [&mut one, &mut same] {
        subscribed(socket, "news.yes").await;
        refused(socket, "news.no", "forbidden").await;
        refused(socket, "news.no", "forbidden").await;
    }
    assert_eq!(service.asked().len(), 2, "one question a channel");
    subscribed(&mut other, "news.yes").await;
    assert_eq!(service.asked().len(), 3, "another cookie is another question");
    subscribed(&mut one, "news.2.yes").await;
    assert_eq!(service.asked().len(), 4, "another channel is another question");
    drop((one, other, same));
    edge.stop().await;
}

#[tokio::test]
async fn only_so_many_questions_wait_for_the_service() {
    let nats = NatsServer::start().await;
    let config = subscribing("max_in_flight = 1\ntimeout_ms = 3000");
    let edge = Edge::start_with(nats.url(), &config).await;
    let silent = Service::start(&nats, "_hooks.subscribe", |_| None).await;
    let (mut waiting, _) = session(&edge, &[]).await;
    waiting.send(&frame(0x81, subscribe("news.a").as_bytes())).await;
    eventually("a question", async || (silent.asked().len() == 1).then_some(())).await;
    let (mut other, _) = session(&edge, &[]).await;
    refused(&mut other, "news.a", "unavailable").await;
    assert_eq!(silent.asked().len(), 1, "it was not asked twice");
    // The first one gives up in the end.
    silent.stop().await;
    let _service = Service::start(&nats, "_hooks.subscribe", |_| {
        Some(Answer::of(r#"{"allow":true}"#))
    })
    .await;
    eventually("a place", async || {
        let answer = other.ask(&subscribe("news.a")).await;
        (answer["type"] == "subscribed").then_some(())
    })
    .await;
    assert_eq!(waiting.next_json().await["code"], "unavailable");
    drop((other, waiting));
    edge.stop().await;
}
