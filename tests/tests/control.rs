//! Orders about sessions: over NATS and by the admin listener, on every edge; revocations that outlive edges and NATS.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};
use tailwater_edge::client::{Client, ClientError};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tailwater_tests::edge::OPEN;
use tailwater_tests::nats_process::send_signal;
use tailwater_tests::{
    Edge, NatsProcess, NatsServer, Process, RawSocket, eventually, next, raw_socket, soon, subscribe,
};

/// A client, and its session as the server calls it.
async fn client(edge: &Edge) -> (Client, String) {
    let mut client = soon("a connection", Client::connect(edge.ws(), None))
        .await
        .expect("the edge answers");
    match next(&mut client).await.body {
        ServerBody::Push(Push::Connected(connected)) => (client, connected.session),
        other => panic!("expected `connected`, got {other:?}"),
    }
}

async fn clients(edge: &Edge, count: usize) -> Vec<(Client, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(client(edge).await);
    }
    all
}

/// The code with which the server closes.
async fn closed(client: &mut Client) -> u16 {
    match soon("a close", client.next()).await {
        Err(ClientError::Closed { code, .. }) => code,
        other => panic!("expected a close, got {other:?}"),
    }
}

/// Still there, and nothing has come meanwhile.
async fn lives(client: &mut Client) {
    client
        .send_body(br#"{"type":"ping","id":9}"#)
        .await
        .expect("the connection lives");
    assert_eq!(next(client).await.kind(), "pong");
}

/// Gives an order over NATS, and reads the answers of so many edges.
async fn order(nats: &NatsServer, verb: &str, body: &str, edges: usize) -> Vec<Value> {
    use futures_util::StreamExt as _;
    let nats = nats.client().await;
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.expect("a subscription");
    let subject = format!("_tw.control.{verb}");
    nats.publish_with_reply(subject, inbox, body.to_owned().into())
        .await
        .expect("the connection lives");
    let mut all = Vec::new();
    for _ in 0..edges {
        let answer = soon("an answer", answers.next())
            .await
            .expect("the connection lives");
        all.push(serde_json::from_slice(&answer.payload).expect("JSON"));
    }
    all
}

fn sum(answers: &[Value]) -> u64 {
    answers
        .iter()
        .map(|answer| {
            assert_eq!(answer["ok"], true, "{answer}");
            answer["sessions"].as_u64().expect("a number")
        })
        .sum()
}

/// Asks the admin listener, with these headers beside `Host`.
async fn admin(edge: &Edge, line: &str, headers: &[&str], body: &str) -> (u16, Value) {
    admin_at(edge.server().admin_addr(), line, headers, body).await
}

async fn admin_at(address: SocketAddr, line: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let mut socket = RawSocket::open(address).await;
    let length = format!("Content-Length: {}", body.len());
    let mut all = vec!["Host: localhost", length.as_str()];
    all.extend_from_slice(headers);
    let head = format!("{line} HTTP/1.1\r\n{}\r\n\r\n{body}", all.join("\r\n"));
    socket.send(head.as_bytes()).await;
    let answer = String::from_utf8(socket.read_to_end().await).expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    (
        status.expect("a status"),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

const JSON: &[&str] = &["Content-Type: application/json"];

/// Writes a key of the bucket as other programs do, with an empty value.
async fn put(nats: &NatsServer, key: &str, operation: Option<&str>) {
    let mut headers = async_nats::HeaderMap::new();
    if let Some(operation) = operation {
        headers.insert("KV-Operation", operation);
    }
    let subject = format!("$KV.tailwater_revocations.{key}");
    let client = nats.client().await;
    let stored = client.request_with_headers(subject, headers, "".into());
    let stored: Value =
        serde_json::from_slice(&soon("an answer", stored).await.expect("an answer").payload).expect("JSON");
    assert_eq!(stored["stream"], "KV_tailwater_revocations", "{stored}");
}

async fn is_revoked(edge: &Edge, query: &str) -> bool {
    let (status, answer) = admin(edge, &format!("GET /revocations?{query}"), &[], "").await;
    assert_eq!(status, 200, "{answer}");
    answer["revoked"].as_bool().expect("a boolean")
}

async fn becomes_revoked(edge: &Edge, query: &str, wanted: bool) {
    eventually(&format!("{query} revoked: {wanted}"), async || {
        (is_revoked(edge, query).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_over_nats_closes_one_session_whichever_edge_has_it() {
    let nats = NatsServer::start().await;
    let edges = [Edge::start(&nats).await, Edge::start(&nats).await];
    let mut here = clients(&edges[0], 4).await;
    let mut there = clients(&edges[1], 4).await;
    let body = json!({"session": there[2].1, "reason": "a test"}).to_string();
    assert_eq!(sum(&order(&nats, "disconnect", &body, 2).await), 1);
    assert_eq!(closed(&mut there[2].0).await, 4410);
    let body = json!({"session": here[1].1}).to_string();
    assert_eq!(sum(&order(&nats, "revoke", &body, 2).await), 1);
    assert_eq!(closed(&mut here[1].0).await, 4403);
    there.remove(2);
    here.remove(1);
    for (client, _) in here.iter_mut().chain(&mut there) {
        lives(client).await;
    }
    // Nobody has it any more.
    assert_eq!(sum(&order(&nats, "disconnect", &body, 2).await), 0);
}

#[tokio::test]
async fn unsubscribe_takes_what_the_pattern_includes_and_tells_the_client() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let (mut client, session) = client(&edge).await;
    for channel in ["rooms.1", "rooms.*", "news"] {
        client
            .send(None, subscribe(channel))
            .await
            .expect("the connection lives");
        assert_eq!(next(&mut client).await.kind(), "subscribed");
    }
    let body = json!({"session": session, "channel": "rooms.*"}).to_string();
    assert_eq!(sum(&order(&nats, "unsubscribe", &body, 1).await), 1);
    let mut ended = Vec::new();
    for _ in 0..2 {
        let message = next(&mut client).await;
        assert_eq!(message.id, None);
        match message.body {
            ServerBody::Reply(Reply::Unsubscribed { channel }) => ended.push(channel.to_string()),
            other => panic!("expected `unsubscribed`, got {other:?}"),
        }
    }
    ended.sort();
    assert_eq!(ended, ["rooms.*", "rooms.1"]);
    let publisher = nats.client().await;
    for subject in ["rooms.1", "news"] {
        publisher
            .publish(subject, "x".into())
            .await
            .expect("the connection lives");
    }
    match next(&mut client).await.body {
        ServerBody::Push(Push::Update(update)) => assert_eq!(update.channel.as_str(), "news"),
        other => panic!("expected an update, got {other:?}"),
    }
    // Narrower than what it holds.
    let body = json!({"session": session, "channel": "new"}).to_string();
    assert_eq!(sum(&order(&nats, "unsubscribe", &body, 1).await), 0);
    lives(&mut client).await;
}

#[tokio::test]
async fn a_malformed_order_is_answered_with_what_is_wrong_and_changes_nothing() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let (mut client, session) = client(&edge).await;
    let long = format!(r#"{{"session":"{session}","reason":"{}"}}"#, "x".repeat(20_000));
    for (verb, body, named) in [
        ("disconnect", "", "JSON object"),
        ("disconnect", "{", "EOF"),
        (
            "disconnect",
            &format!(r#"{{"session":"{session}","usr":"ann"}}"#),
            "`usr`",
        ),
        (
            "disconnect",
            &format!(r#"{{"session":"{session}","user":"ann"}}"#),
            "exactly one",
        ),
        ("disconnect", &long, "16384 bytes"),
        (
            "unsubscribe",
            &format!(r#"{{"session":"{session}"}}"#),
            "`channel`",
        ),
        ("revoke", r#"{"user":"ann","expires_at":12}"#, "`expires_at`"),
        ("ban", &format!(r#"{{"session":"{session}"}}"#), "`ban`"),
    ] {
        let answer = &order(&nats, verb, body, 1).await[0];
        assert_eq!(answer["ok"], false, "{verb} {body}");
        let error = answer["error"].as_str().expect("a sentence");
        assert!(error.contains(named), "{verb} {body}: {error}");
    }
    lives(&mut client).await;
}

#[tokio::test]
async fn a_revocation_outlives_edges_and_nats() {
    let nats = NatsServer::start().await;
    let first = Edge::start(&nats).await;
    let answers = order(
        &nats,
        "revoke",
        r#"{"user":"ann@example.org","issued_before":1000}"#,
        1,
    )
    .await;
    assert_eq!(
        (&answers[0]["ok"], &answers[0]["stored"]),
        (&json!(true), &json!(true))
    );
    let answers = order(&nats, "revoke", r#"{"token_id":"t-1"}"#, 1).await;
    assert_eq!(answers[0]["stored"], true, "{answers:?}");
    first.stop().await;

    let pid = nats.pid();
    send_signal(pid, Signal::KILL);
    eventually("another nats-server", async || (nats.pid() != pid).then_some(())).await;
    let second = Edge::start(&nats).await;
    for (query, revoked) in [
        ("user=ann%40example.org&issued_at=999", true),
        ("user=ann%40example.org&issued_at=1000", false),
        ("user=ann%40example.org", true),
        ("token_id=t-1&issued_at=5000", true),
        ("user=bob&token_id=t-2", false),
    ] {
        assert_eq!(is_revoked(&second, query).await, revoked, "{query}");
    }
    // Another edge beside it, and an outage in which neither hears anything.
    let third = Edge::start(&nats).await;
    let pid = nats.pid();
    send_signal(pid, Signal::KILL);
    eventually("another nats-server", async || (nats.pid() != pid).then_some(())).await;
    put(&nats, "user.bob", None).await;
    put(&nats, "token.t-1", Some("DEL")).await;
    for edge in [&second, &third] {
        becomes_revoked(edge, "user=bob&issued_at=1000", true).await;
        becomes_revoked(edge, "token_id=t-1", false).await;
        assert!(is_revoked(edge, "user=ann%40example.org&issued_at=999").await);
    }
}

#[tokio::test]
async fn without_jetstream_a_revocation_holds_until_the_edge_restarts_and_the_answer_says_so() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    let (mut client, session) = client(&edge).await;
    let revoke = json!({"token_id": "t-1"}).to_string();
    let (status, answer) = admin(&edge, "POST /revoke", JSON, &revoke).await;
    assert_eq!((status, &answer["stored"]), (200, &json!(false)), "{answer}");
    assert!(is_revoked(&edge, "token_id=t-1").await);
    let (status, _) = admin(
        &edge,
        "POST /revoke",
        JSON,
        &json!({"session": session}).to_string(),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(closed(&mut client).await, 4403);
    edge.stop().await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    assert!(!is_revoked(&edge, "token_id=t-1").await);
}

#[tokio::test]
async fn the_admin_listener_lists_sessions_in_pages_and_an_order_given_there_reaches_the_other_edge() {
    let nats = NatsServer::start().await;
    let edges = [Edge::start(&nats).await, Edge::start(&nats).await];
    let mut here = clients(&edges[0], 7).await;
    let mut there = client(&edges[1]).await;
    here[3]
        .0
        .send(None, subscribe("news.*"))
        .await
        .expect("the connection lives");
    assert_eq!(next(&mut here[3].0).await.kind(), "subscribed");

    let (mut listed, mut after) = (Vec::new(), String::new());
    for page in [3, 3, 1] {
        let (status, answer) = admin(&edges[0], &format!("GET /sessions?limit=3{after}"), &[], "").await;
        assert_eq!(status, 200, "{answer}");
        let sessions = answer["sessions"].as_array().expect("a list");
        assert_eq!(sessions.len(), page, "{answer}");
        listed.extend(
            sessions
                .iter()
                .map(|session| session["id"].as_str().expect("text").to_owned()),
        );
        after = answer["next"]
            .as_str()
            .map_or_else(String::new, |next| format!("&after={next}"));
    }
    assert_eq!(after, "");
    let mut expected: Vec<_> = here.iter().map(|(_, session)| session.clone()).collect();
    expected.sort();
    assert_eq!(listed, expected);

    let (status, one) = admin(&edges[0], &format!("GET /sessions/{}", here[3].1), &[], "").await;
    assert_eq!(status, 200, "{one}");
    assert_eq!(
        (&one["subscriptions"], &one["channels"]),
        (&json!(1), &json!(["news.*"]))
    );
    assert_eq!(
        (&one["transport"], &one["codec"], &one["user"]),
        (&json!("websocket"), &json!("json"), &Value::Null)
    );
    assert!(one["connected_at"].as_u64() > Some(1_700_000_000), "{one}");
    assert_eq!(
        admin(&edges[0], &format!("GET /sessions/{}", there.1), &[], "")
            .await
            .0,
        404
    );
    let (_, none) = admin(&edges[0], "GET /sessions?user=ann", &[], "").await;
    assert_eq!(none["sessions"], json!([]));

    // On the edge that was asked, and on the other one.
    let (status, answer) = admin(&edges[0], &format!("DELETE /sessions/{}", here[3].1), &[], "").await;
    assert_eq!((status, &answer["sessions"]), (200, &json!(1)), "{answer}");
    assert_eq!(closed(&mut here[3].0).await, 4410);
    let body = json!({"session": there.1}).to_string();
    let (status, answer) = admin(&edges[0], "POST /sessions/disconnect", JSON, &body).await;
    assert_eq!((status, &answer["sessions"]), (200, &json!(0)), "{answer}");
    assert_eq!(closed(&mut there.0).await, 4410);

    // What is no order.
    for (line, headers, body, expected) in [
        ("POST /sessions/disconnect", &[][..], "{}", 415),
        ("POST /revoke", JSON, r#"{"usr":"ann"}"#, 400),
        ("POST /sessions", JSON, "{}", 405),
        ("GET /sessions?limit=0", &[], "", 400),
        ("GET /sessions/ff", &[], "", 404),
        ("GET /nowhere", &[], "", 404),
    ] {
        assert_eq!(admin(&edges[0], line, headers, body).await.0, expected, "{line}");
    }
}

#[tokio::test]
async fn the_admin_listener_shows_nothing_but_its_probes_to_who_has_no_token() {
    let nats = NatsServer::start().await;
    let token = "[admin]\ntoken = \"0123456789abcdef\"\n";
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{token}")).await;
    for (line, headers, expected) in [
        ("GET /livez", &["Connection: close"][..], 200),
        ("GET /readyz", &["Connection: close"], 200),
        ("GET /sessions", &["Connection: close"], 401),
        ("GET /sessions", &["Authorization: Bearer 0123456789abcdeF"], 401),
        ("GET /sessions", &["Authorization: Bearer 0123456789abcdef"], 200),
        ("DELETE /sessions/0000000000000001", &["Connection: close"], 401),
        ("POST /revoke", JSON, 401),
    ] {
        assert_eq!(
            admin(&edge, line, headers, "").await.0,
            expected,
            "{line} {headers:?}"
        );
    }
}

#[tokio::test]
async fn an_edge_without_control_hears_no_orders_and_makes_no_bucket() {
    let nats = NatsServer::start().await;
    let off = "[control]\nenabled = false\n";
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{off}")).await;
    let (mut client, session) = client(&edge).await;
    let publisher = nats.client().await;
    let body = json!({"session": session}).to_string();
    let answered = publisher
        .request("_tw.control.disconnect", body.clone().into())
        .await;
    assert!(answered.is_err(), "{answered:?}");
    let info = publisher
        .request("$JS.API.STREAM.INFO.KV_tailwater_revocations", "".into())
        .await;
    let info: Value = serde_json::from_slice(&info.expect("an answer").payload).expect("JSON");
    assert_eq!(info["error"]["err_code"], 10059, "{info}");
    lives(&mut client).await;
    let (status, _) = admin(&edge, "POST /sessions/disconnect", JSON, &body).await;
    assert_eq!(status, 200);
    assert_eq!(closed(&mut client).await, 4410);
}

#[tokio::test]
async fn each_order_and_each_session_that_it_meets_is_a_line_of_the_audit_log_without_any_token() {
    let nats = NatsServer::start().await;
    let secret = "0123456789abcdef";
    let config = format!("{OPEN}[admin]\ntoken = \"{secret}\"\n[log]\nformat = \"json\"\n");
    let (mut edge, ready) = Process::serve(nats.url(), &config).await;
    let address = ready.address("admin");
    eventually("the edge is ready", async || {
        (raw_socket::get(address, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let mut client = soon("a connection", Client::connect(ready.text("ws"), None))
        .await
        .expect("the edge answers");
    let session = match next(&mut client).await.body {
        ServerBody::Push(Push::Connected(connected)) => connected.session,
        other => panic!("expected `connected`, got {other:?}"),
    };
    let bearer = format!("Authorization: Bearer {secret}");
    let body = json!({"session": session, "reason": "a\nreason"}).to_string();
    let asked = admin_at(address, "POST /revoke", &[JSON[0], &bearer], &body).await;
    assert_eq!((asked.0, &asked.1["sessions"]), (200, &json!(1)), "{asked:?}");
    assert_eq!(closed(&mut client).await, 4403);
    let publisher = nats.client().await;
    let refused = publisher.request("_tw.control.disconnect", r#"{"usr":"ann"}"#.into());
    assert!(soon("an answer", refused).await.is_ok());

    edge.signal(Signal::TERM);
    edge.end().await;
    let log = edge.stderr();
    assert!(!log.contains(secret), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let event = |event: &str| {
        let mut found = lines
            .iter()
            .filter(|line| line["target"] == "audit" && line["event"] == event);
        found.next().unwrap_or_else(|| panic!("no {event}: {log}"))
    };
    let order = event("control.revoke");
    assert_eq!(
        (&order["asker"], &order["session_id"]),
        (&json!("admin"), &json!(session))
    );
    assert_eq!(
        (&order["reason"], &order["sessions"]),
        (&json!("a\nreason"), &json!(1))
    );
    let ended = event("session.disconnected");
    assert_eq!(
        (&ended["session_id"], &ended["close_code"]),
        (&json!(session), &json!(4403))
    );
    assert!(
        ended["remote_addr"]
            .as_str()
            .is_some_and(|address| address.starts_with("127.0.0.1:"))
    );
    let refused = lines
        .iter()
        .find(|line| line["message"] == "a control message is refused");
    let error = refused.expect("a line")["error"].as_str().expect("text");
    assert!(error.contains("`usr`"), "{error}");
}
