//! `POST /command` and `POST /publish`.

use rustix::process::Signal;
use serde_json::{Value, json};
use tailwater_tests::durable::Publisher;
use tailwater_tests::service::Answer;
use tailwater_tests::token::{IDENTITY, now, token};
use tailwater_tests::{Edge, NatsProcess, NatsServer, Service, eventually};

use super::{ask, edge};

#[tokio::test]
async fn commands_are_answered_as_over_a_websocket() {
    let asks = "[namespace.services]\nchannels = \"services.>\"\nanonymous = true\nrequest = true\n";
    let (nats, edge) = edge(asks).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store("d.1", "1").await;
    let service = Service::start(&nats, "services.double", |message| {
        let number: u64 = serde_json::from_slice(&message.payload).expect("a number");
        Some(Answer::of(&*(2 * number).to_string()))
    })
    .await;
    let commands = json!([
        {"type": "ping", "id": 1},
        {"type": "history", "id": 2, "channel": "d.1"},
        {"type": "request", "id": 3, "channel": "services.double", "payload": 21},
        {"type": "publish", "id": 4, "channel": "chat.a", "payload": "hello"},
        {"type": "publish", "id": 5, "channel": "d.1", "payload": 1},
        {"type": "subscribe", "id": 6, "channel": "d.1"},
        {"type": "refresh", "id": 7, "token": "x"},
        {"type": "nonsense", "id": 8},
    ]);
    let (status, _, answers) = ask(&edge, "POST /command", &[], &commands.to_string()).await;
    assert_eq!(status, 200);
    let of = |id: u64| {
        let answers = answers.as_array().expect("a list");
        let mut found = answers.iter().filter(|answer| answer["id"] == id);
        let answer = found.next().expect("an answer").clone();
        assert_eq!(found.next(), None, "one answer each");
        answer
    };
    assert_eq!(of(1)["type"], "pong");
    assert_eq!(of(2)["publications"][0]["payload"], 1);
    assert_eq!(of(3)["payload"], 42);
    assert_eq!(of(4)["type"], "published");
    for (id, code) in [
        (5, "forbidden"),
        (6, "bad_message"),
        (7, "bad_message"),
        (8, "unknown_type"),
    ] {
        assert_eq!(of(id)["code"], code, "{}", of(id));
    }
    assert_eq!(answers.as_array().map(Vec::len), Some(8));
    let (status, _, answers) = ask(&edge, "POST /command", &[], "{").await;
    assert_eq!((status, &answers[0]["code"]), (200, &json!("bad_message")));
    drop(service);
    edge.stop().await;
}

#[tokio::test]
async fn a_request_with_more_than_64_commands_is_refused_as_a_whole() {
    let (_nats, edge) = edge("").await;
    let ping = |id| json!({"type": "ping", "id": id});
    for (count, expected) in [(64, 64), (65, 1), (1025, 1)] {
        let commands: Value = (0..count).map(ping).collect();
        let (status, _, answers) = ask(&edge, "POST /command", &[], &commands.to_string()).await;
        let answers = answers.as_array().expect("a list");
        assert_eq!((status, answers.len()), (200, expected), "{count}");
        let last = answers.last().expect("an answer");
        match expected {
            1 => assert_eq!(last["code"], "limit", "{last}"),
            _ => assert_eq!(last["type"], "pong", "{last}"),
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn answers_to_one_request_are_bounded_and_what_is_left_out_is_said() {
    // What one may have, and what is left for all of them.
    for bound in ["max_bytes = 4096", "max_total_bytes = 12288"] {
        bounded_answers(&format!("[outbox]\n{bound}\n")).await;
    }
}

async fn bounded_answers(bound: &str) {
    let (nats, edge) = edge(bound).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store("d.1", json!("x".repeat(3000)).to_string()).await;
    let history = |id| json!({"type": "history", "id": id, "channel": "d.1"});
    let commands: Value = (0..9).map(history).collect();
    let (status, _, answers) = ask(&edge, "POST /command", &[], &commands.to_string()).await;
    assert_eq!(status, 200);
    let answers = answers.as_array().expect("a list");
    assert_eq!(answers.len(), 9, "each has an answer");
    assert_eq!(answers[1]["type"], "history");
    assert_eq!(
        (&answers[8]["code"], &answers[8]["id"]),
        (&json!("limit"), &json!(8))
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_service_publishes_what_clients_may_not() {
    let nats = NatsServer::start().await;
    let config = format!(
        "[namespace.d]\nchannels = \"d.>\"\ndurable = true\nanonymous = true\n[namespace.chat]\nchannels = \"chat.>\"\nallow_publish = \"chat.{{sub}}\"\npublish = true\n{IDENTITY}"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let bearer = |user: &str, grants: Value| {
        format!(
            "Authorization: Bearer {}",
            token(user, json!({"tailwater": grants}))
        )
    };
    let service = bearer("billing", json!({"publish": ["d.*"], "service": true}));
    let client = bearer("ann", json!({"publish": ["d.*"]}));
    let publish = async |target: &str, authorization: &[&str], body: &str| {
        let (status, _, answer) = ask(&edge, &format!("POST /publish?{target}"), authorization, body).await;
        (status, answer)
    };
    // The body is the payload, whatever it is.
    let mut offsets = Vec::new();
    for (key, body, duplicate) in [
        ("a", "{\"n\": 1}", false),
        ("a", "{\"n\": 1}", true),
        ("b", "plain text", false),
    ] {
        let (status, answer) = publish(&format!("channel=d.1&key={key}"), &[&service], body).await;
        assert_eq!((status, &answer["type"]), (200, &json!("published")), "{answer}");
        assert_eq!(answer["duplicate"] == true, duplicate, "{answer}");
        offsets.push(answer["offset"].as_u64().expect("it is stored"));
    }
    assert_eq!(offsets[0], offsets[1]);
    assert!(offsets[1] < offsets[2]);
    let (_, _, history) = ask(
        &edge,
        "POST /command",
        &[],
        r#"{"type":"history","channel":"d.1"}"#,
    )
    .await;
    assert_eq!(
        history[0]["publications"][0]["payload"], "plain text",
        "newest first: {history}"
    );
    let large = "x".repeat(70_000);
    for (target, authorization, body, status, code) in [
        ("channel=d.1", &client, "1", 403, "forbidden"),
        ("channel=d.1.2", &service, "1", 403, "forbidden"),
        ("channel=d.*", &service, "1", 400, "bad_message"),
        ("channel=no.such", &service, "1", 404, "no_such_channel"),
        ("key=a", &service, "1", 400, "bad_message"),
        ("channel=d.1&key=", &service, "1", 400, "bad_message"),
        ("channel=d.1", &service, &large, 413, "too_large"),
        ("channel=chat.bob", &client, "1", 403, "forbidden"),
    ] {
        let (found, answer) = publish(target, &[authorization], body).await;
        assert_eq!(
            (found, &answer["code"]),
            (status, &json!(code)),
            "{target}: {answer}"
        );
    }
    assert_eq!(publish("channel=chat.ann", &[&client], "1").await.0, 200);
    let (status, answer) = publish("channel=d.1", &[], "1").await;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("forbidden")),
        "who says nothing may nothing"
    );
    edge.stop().await;
}

#[tokio::test]
async fn what_a_session_is_told_beside_is_no_answer_to_its_publication() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let nats = NatsProcess::start(&format!("jetstream {{ store_dir: {:?} }}", store.path())).await;
    let edge = |grace| {
        let identity = IDENTITY.replace("grace_secs = 2", grace);
        let config = format!("[namespace.d]\nchannels = \"d.>\"\ndurable = true\npublish = true\n{identity}");
        let url = nats.url();
        async move { Edge::start_with(&url, &config).await }
    };
    let (patient, strict) = (edge("grace_secs = 60").await, edge("grace_secs = 0").await);
    let permanent = token("ann", json!({"tailwater": {"publish": ["d.*"]}}));
    let publish = async |edge: &Edge, bearer: &str| {
        let bearer = format!("Authorization: Bearer {bearer}");
        let (status, head, answer) = ask(edge, "POST /publish?channel=d.1&key=k", &[&bearer], "1").await;
        (status, head.contains("retry-after"), answer)
    };
    for edge in [&patient, &strict] {
        eventually("the stream is there", async || {
            (publish(edge, &permanent).await.0 == 200).then_some(())
        })
        .await;
    }

    // It expires while NATS does not answer: the session is ended, or its publication given up first.
    let brief = |exp| token("ann", json!({"exp": exp, "tailwater": {"publish": ["d.*"]}}));
    nats.freeze().await;
    let (status, says_when, answer) = publish(&strict, &brief(now() + 1)).await;
    assert!([503, 504].contains(&status) && says_when, "{status}: {answer}");
    assert_eq!(answer["type"], "error", "{answer}");
    nats.signal(Signal::CONT);

    // The session is only warned.
    let exp = now() + 1;
    let last = brief(exp);
    nats.freeze().await;
    let ((status, _, answer), ()) = tokio::join!(publish(&patient, &last), async {
        eventually("the session was looked at", async || {
            (now() >= exp + 3).then_some(())
        })
        .await;
        nats.signal(Signal::CONT);
    });
    assert_eq!((status, &answer["type"]), (200, &json!("published")), "{answer}");
    for edge in [patient, strict] {
        edge.stop().await;
    }
}
