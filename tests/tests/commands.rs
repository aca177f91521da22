//! Commands that cannot be carried out are answered by an `error` that says why, where and for which
//! command; the connection stays.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, NatsServer, RawSocket, soon};

const NAMESPACES: &str = r#"
[namespace.open]
channels = "open.>"
anonymous = true
publish = true
[namespace.deep]
channels = "open.deep.>"
anonymous = true
[namespace.staff]
channels = "staff.>"
publish = true
[namespace.exact]
channels = "exact.>"
anonymous = true
wildcards = false
[namespace.single]
channels = "single.*"
anonymous = true
[websocket]
max_message_bytes = 4_000_000
"#;

/// An edge with these namespaces, and a JSON session that has been welcomed.
async fn conversation() -> (NatsServer, Edge, RawSocket) {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), NAMESPACES).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    (nats, edge, socket)
}

/// Asks and expects an `error` with this code and id, whose message holds `says`; and then that the
/// session still answers.
async fn refused(socket: &mut RawSocket, text: &str, code: &str, id: Option<u32>, says: &str) -> Value {
    let shown: String = text.chars().take(100).collect();
    let answer = socket.ask(text).await;
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!(code)),
        "{shown}: {answer}"
    );
    assert_eq!(answer["id"], json!(id), "{shown}: {answer}");
    let message = answer["message"].as_str().expect("a sentence");
    assert!(message.contains(says), "{shown}: {message}");
    assert_eq!(
        socket.ask(r#"{"type":"ping","id":99}"#).await,
        json!({"type": "pong", "id": 99}),
        "{shown}"
    );
    answer
}

#[tokio::test]
async fn unreadable_json_is_refused_with_the_place_of_the_mistake_and_the_id_that_could_be_read() {
    let (_nats, edge, mut socket) = conversation().await;
    let deep = "[".repeat(100_000);
    let deep_field = format!(
        r#"{{"type":"ping","id":4,"x":{}{}}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let long_type = format!(r#"{{"id":4,"type":"{}"}}"#, "x".repeat(100_000));
    #[rustfmt::skip]
    let cases: Vec<(&str, Option<u32>, &str)> = vec![
        ("", None, "line 1, column 0"),
        (" \n\n ", None, "line 3"),
        ("{", None, "line 1, column 1"),
        ("}", None, "line 1, column 1"),
        ("nonsense", None, "line 1, column 2"),
        ("\u{feff}{}", None, "line 1"),
        ("\"subscribe\"", None, "an object"),
        ("17", None, "an object"),
        ("null", None, "an object"),
        ("{}", None, "`type` is missing"),
        ("{\"id\":4}", Some(4), "`type` is missing"),
        ("{\"type\":null,\"id\":4}", Some(4), "`type` is not a string"),
        ("{\"id\":4,\"type\":[\"ping\"]}", Some(4), "`type` is not a string"),
        ("{\"type\":\"ping\",\"id\":4,\"type\":\"ping\"}", Some(4), "`type` appears twice"),
        ("{\"type\":\"ping\",\"id\":-1}", None, "`id`"),
        ("{\"type\":\"ping\",\"id\":4294967296}", None, "`id`"),
        ("{\"type\":\"ping\",\"id\":1.5}", None, "`id`"),
        ("{\"type\":\"ping\",\"id\":\"4\"}", None, "`id`"),
        ("{\"type\":\"ping\",\"id\":4", Some(4), "line 1, column 21"),
        ("{\"type\":\"ping\",\"id\":4,\n \"x\": tru}", Some(4), "line 2, column 10"),
        ("{\"type\":\"ping\",\"id\":4} {}", Some(4), "line 1, column 24"),
        ("{'type':'ping'}", None, "line 1, column 2"),
        (&deep, None, "line 1"),
    ];
    for (text, id, says) in cases {
        refused(&mut socket, text, "bad_message", id, says).await;
    }
    // What is unknown is ignored, however deep it goes.
    assert_eq!(socket.ask(&deep_field).await, json!({"type": "pong", "id": 4}));
    let answer = refused(
        &mut socket,
        &long_type,
        "unknown_type",
        Some(4),
        "one of connect, subscribe",
    )
    .await;
    assert!(
        answer.to_string().len() < 1024,
        "what was sent is not sent back: {answer}"
    );
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn fields_that_are_missing_or_wrong_are_named_with_their_place() {
    let (_nats, edge, mut socket) = conversation().await;
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let too_deep = format!(r#""channel":"open.a","payload":{deep}"#);
    let long_key = format!(r#""channel":"open.a","payload":1,"key":"{}""#, "k".repeat(65));
    #[rustfmt::skip]
    let cases: Vec<(&str, &str, &str, &str)> = vec![
        ("subscribe", r#""x":0"#, "bad_message", "`channel`"),
        ("subscribe", r#""channel":null"#, "bad_message", "`channel`"),
        ("subscribe", r#""channel":5"#, "bad_message", "`channel`"),
        ("subscribe", r#""channel":["open.a"]"#, "bad_message", "`channel`"),
        ("unsubscribe", r#""x":0"#, "bad_message", "`channel`"),
        ("subscribe", r#""channel":"open.a","latest":"yes""#, "bad_message", "`latest`"),
        ("subscribe", r#""channel":"open.a","latest":true,"since":"beginning""#, "bad_message", "exclude"),
        ("subscribe", r#""channel":"open.a","since":"yesterday""#, "bad_cursor", "`since`"),
        ("subscribe", r#""channel":"open.a","since":7"#, "bad_cursor", "`since`"),
        ("subscribe", r#""channel":"open.a","since":{}"#, "bad_cursor", "`since`"),
        ("subscribe", r#""channel":"open.a","since":{"offset":1}"#, "bad_cursor", "`since"),
        ("subscribe", r#""channel":"open.a","since":{"offset":-1,"epoch":"a"}"#, "bad_cursor", "`since.offset`"),
        (
            "subscribe", r#""channel":"open.a","since":{"offset":9007199254740992,"epoch":"a"}"#,
            "bad_cursor",
            "`since.offset`",
        ),
        ("subscribe", r#""channel":"open.a","since":{"time":"noon"}"#, "bad_cursor", "`since.time`"),
        ("publish", r#""channel":"open.a""#, "bad_message", "`payload`"),
        ("publish", r#""payload":1"#, "bad_message", "`channel`"),
        ("publish", r#""channel":"open.a","payload":1,"payload_b64":"AA==""#, "bad_message", "`payload`"),
        ("publish", r#""channel":"open.a","payload_b64":"%""#, "bad_message", "`payload_b64`"),
        ("publish", r#""channel":"open.a","payload":1,"key":"""#, "bad_message", "`key`"),
        ("publish", r#""channel":"open.a","payload":1,"key":"a\r\nb""#, "bad_message", "`key`"),
        ("publish", r#""channel":"open.*","payload":1"#, "bad_message", "pattern"),
        ("publish", &long_key, "bad_message", "`key`"),
        ("publish", &too_deep, "bad_message", "line 1"),
        ("Subscribe", r#""channel":"open.a""#, "unknown_type", "Subscribe"),
        ("", r#""x":0"#, "unknown_type", "one of"),
        ("history", r#""channel":"open.a""#, "not_durable", "`open.a`"),
        ("request", r#""channel":"open.a""#, "bad_message", "`payload`"),
        ("request", r#""channel":"open.*","payload":1"#, "bad_message", "pattern"),
        ("request", r#""channel":"open.a","payload":1"#, "forbidden", "requests to `open.a`"),
        ("connect", r#""token":0"#, "bad_message", "`token`"),
        ("connect", r#""token":"x""#, "unauthenticated", "tokens"),
        ("refresh", r#""x":0"#, "bad_message", "`token`"),
        ("refresh", r#""token":"x""#, "unauthenticated", "anonymous"),
        // A command whose side of the server does not exist yet.
        ("presence", r#""channel":"open.a""#, "unknown_type", "`presence`"),
    ];
    for (kind, fields, code, says) in cases {
        let text = format!(r#"{{"type":"{kind}","id":7,{fields}}}"#);
        let answer = refused(&mut socket, &text, code, Some(7), says).await;
        // Where it is wrong, not where it is only incomplete, there is a place.
        let message = answer["message"].as_str().unwrap();
        let wrong = code == "bad_cursor" || message.contains("invalid type");
        assert!(!wrong || message.contains("line 1, column "), "{message}");
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn channels_that_are_malformed_unknown_or_forbidden_are_refused_with_their_own_code() {
    let (_nats, edge, mut socket) = conversation().await;
    let long = format!("open.{}", "x".repeat(251));
    let tokens = format!("open{}", ".x".repeat(16));
    let cases: Vec<(&str, &str, &str)> = vec![
        ("", "bad_message", "`channel`"),
        (".", "bad_message", "byte 0"),
        ("open.", "bad_message", "byte 5"),
        (".open", "bad_message", "byte 0"),
        ("open..a", "bad_message", "byte 5"),
        ("open.a b", "bad_message", "byte 6"),
        ("open.ä", "bad_message", "byte 5"),
        ("open.a\u{0}", "bad_message", "byte 6"),
        ("open.a\r\nPUB open.b 0\r\n", "bad_message", "byte 6"),
        ("open.a*", "bad_message", "byte 6"),
        ("open.>.a", "bad_message", "byte 5"),
        (&long, "bad_message", "255"),
        (&tokens, "bad_message", "16"),
        ("*", "bad_message", "first token"),
        (">", "bad_message", "first token"),
        ("*.a", "bad_message", "first token"),
        ("$SYS.>", "bad_message", "`$`"),
        ("$JS.API.>", "bad_message", "`$`"),
        ("_INBOX.>", "bad_message", "`_`"),
        ("_tw.live.>", "bad_message", "`_`"),
        ("nowhere.1", "no_such_channel", "no such channel"),
        ("nowhere.*", "no_such_channel", "no such channel"),
        ("open", "no_such_channel", "no such channel"),
        ("OPEN.a", "no_such_channel", "no such channel"),
        ("single.a.b", "no_such_channel", "no such channel"),
        ("staff.1", "forbidden", "anonymous"),
        ("staff.>", "forbidden", "anonymous"),
        ("exact.*", "forbidden", "`exact`"),
        ("exact.a.>", "forbidden", "`exact`"),
        ("open.>", "forbidden", "`deep`"),
        ("open.*.a", "forbidden", "`deep`"),
        ("single.>", "forbidden", "`single`"),
    ];
    for (channel, code, says) in cases {
        let command = json!({"type": "subscribe", "id": 3, "channel": channel}).to_string();
        let answer = refused(&mut socket, &command, code, Some(3), says).await;
        let repeated = if channel.len() > 255 {
            Value::Null
        } else {
            json!(channel)
        };
        assert_eq!(answer["channel"], repeated, "{answer}");
    }
    for channel in [
        "open.*",
        "open.a.>",
        "open.deep.>",
        "open.deep.x",
        "exact.a",
        "single.*",
        "single.1",
    ] {
        let command = json!({"type": "subscribe", "id": 3, "channel": channel}).to_string();
        let expected = json!({"type": "subscribed", "id": 3, "channel": channel, "durable": false});
        assert_eq!(socket.ask(&command).await, expected);
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_live_channel_has_no_past_and_says_so() {
    let (_nats, edge, mut socket) = conversation().await;
    let pasts = [
        r#""latest":true"#,
        r#""since":"beginning""#,
        r#""since":{"offset":5,"epoch":"e-1"}"#,
        r#""since":{"last":3}"#,
        r#""since":{"time":"2026-01-02T03:04:05Z"}"#,
    ];
    for past in pasts {
        let command = format!(r#"{{"type":"subscribe","id":8,"channel":"open.a",{past}}}"#);
        let answer = refused(
            &mut socket,
            &command,
            "not_durable",
            Some(8),
            "`since` and `latest`",
        )
        .await;
        assert_eq!(answer["channel"], "open.a");
        // Who may not know the channel does not learn what kind it is.
        let command = command.replace("open.a", "staff.a");
        refused(&mut socket, &command, "forbidden", Some(8), "anonymous").await;
    }
    let absent = r#"{"type":"subscribe","channel":"open.a","since":null,"latest":false,"more":[{}]}"#;
    assert_eq!(
        socket.ask(absent).await["type"],
        "subscribed",
        "null is absent, unknown fields are ignored"
    );
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn publications_that_may_not_be_are_refused_and_reach_nobody() {
    let (nats, edge, mut socket) = conversation().await;
    let mut everything = nats.listen(">").await;
    let large = "x".repeat(1024 * 1024);
    let cases = [
        ("staff.a", "\"x\"", "forbidden"),
        ("exact.a", "\"x\"", "forbidden"),
        ("open.deep.a", "\"x\"", "forbidden"),
        ("nowhere", "\"x\"", "no_such_channel"),
        ("open.a", &format!("\"{large}\""), "too_large"),
    ];
    for (channel, payload, code) in cases {
        let command = format!(r#"{{"type":"publish","id":2,"channel":"{channel}","payload":{payload}}}"#);
        let answer = refused(&mut socket, &command, code, Some(2), "").await;
        assert_eq!(answer["channel"], channel);
    }
    let marker = r#"{"type":"publish","id":2,"channel":"open.a","payload":"after all"}"#;
    assert_eq!(socket.ask(marker).await["type"], "published");
    loop {
        let message = soon("a publication", everything.next()).await.unwrap();
        if !message.subject.starts_with('_') {
            assert_eq!(
                (message.subject.as_str(), &message.payload[..]),
                ("open.a", &b"\"after all\""[..])
            );
            break;
        }
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn commands_of_a_batch_are_answered_in_order_and_a_wrong_one_costs_only_itself() {
    let (_nats, edge, mut socket) = conversation().await;
    let batch = r#" [{"type":"ping","id":1}, 7, {"type":"dance","id":2}, [{"type":"ping"}], {"type":"subscribe","channel":"open.a","id":3},
        {"type":"subscribe","channel":9,"id":4}, {"type":"subscribe","channel":"open.a","id":5}, {"type":"unsubscribe","channel":"open.a","id":6}, {"type":"unsubscribe","channel":"open.z","id":7}]"#;
    socket.send(&frame(0x81, batch.as_bytes())).await;
    let expected = [
        ("pong", Some(1)),
        ("bad_message", None),
        ("unknown_type", Some(2)),
        ("bad_message", None),
        ("subscribed", Some(3)),
        ("bad_message", Some(4)),
        ("subscribed", Some(5)),
        ("unsubscribed", Some(6)),
        ("unsubscribed", Some(7)),
    ];
    for (kind, id) in expected {
        let answer = socket.next_json().await;
        let found = if answer["type"] == "error" {
            &answer["code"]
        } else {
            &answer["type"]
        };
        assert_eq!((found, &answer["id"]), (&json!(kind), &json!(id)), "{answer}");
        if id == Some(4) {
            assert!(answer["message"].as_str().unwrap().contains("line 2"), "{answer}");
        }
    }
    // What is no list as a whole is one mistake, and nothing of it is carried out.
    refused(&mut socket, "[]", "bad_message", None, "no command").await;
    refused(
        &mut socket,
        r#"[{"type":"ping","id":1},"#,
        "bad_message",
        None,
        "line 1, column 24",
    )
    .await;
    refused(
        &mut socket,
        r#"[{"type":"ping","id":1}]]"#,
        "bad_message",
        None,
        "column",
    )
    .await;
    let many = |count: usize| format!("[{}]", vec![r#"{"type":"ping"}"#; count].join(","));
    refused(&mut socket, &many(1025), "limit", None, "1024").await;
    socket.send(&frame(0x81, many(1024).as_bytes())).await;
    for _ in 0..1024 {
        assert_eq!(socket.next_json().await, json!({"type": "pong"}));
    }
    drop(socket);
    edge.stop().await;
}
