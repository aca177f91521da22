//! Who a session is: by a token in its handshake or by `connect`; what that allows, how it is renewed and how it ends.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tailwater_tests::nats_server::handled;
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::token::{IDENTITY, now, token};
use tailwater_tests::{Edge, NatsServer, Proxy, RawSocket, eventually, soon};

/// Nothing here is open to anonymous clients.
const CLOSED: &str = r#"
[namespace.users]
channels = "users.>"
allow_subscribe = "users.{sub}.>"
allow_publish = "users.{sub}.outbox"
deny = "users.*.secret"
publish = true
[namespace.rooms]
channels = "rooms.>"
publish = true
"#;

/// Beside that, something is.
const OPEN: &str = r#"
[namespace.open]
channels = "open.>"
anonymous = true
"#;

async fn edge(config: &str) -> (NatsServer, Edge) {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{CLOSED}{config}{IDENTITY}")).await;
    (nats, edge)
}

/// A session whose handshake has this request line and these headers too.
async fn with(edge: &Edge, target: &str, headers: &[&str]) -> RawSocket {
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let headers = [&HANDSHAKE[..], headers].concat();
    let head = socket.request(&format!("GET {target} HTTP/1.1"), &headers).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

/// A session of the bearer of `token`, welcomed.
async fn bearer(edge: &Edge, token: &str) -> RawSocket {
    let mut socket = with(edge, "/ws", &[&format!("Authorization: Bearer {token}")]).await;
    let connected = socket.next_json().await;
    assert_eq!(connected["type"], "connected", "{connected}");
    socket
}

fn subscribe(channel: &str) -> String {
    json!({"type": "subscribe", "id": 1, "channel": channel}).to_string()
}

#[tokio::test]
async fn a_token_is_taken_from_each_of_its_five_places() {
    let (_nats, edge) = edge("").await;
    let token = token("ann", json!({}));
    let expected = |connected: Value| {
        assert_eq!(connected["type"], "connected", "{connected}");
        assert_eq!(connected["user"], "ann", "{connected}");
        assert!(connected["expires_at"].is_string(), "{connected}");
    };
    let places: [(&str, Vec<String>); 4] = [
        ("/ws", vec![format!("Authorization: Bearer {token}")]),
        ("/ws", vec![format!("Cookie: a=b; tailwater_token={token}")]),
        (&format!("/ws?token={token}"), vec![]),
        (
            "/ws",
            vec![format!(
                "Sec-WebSocket-Protocol: tailwater.v1.json, tailwater.bearer.{token}"
            )],
        ),
    ];
    for (target, headers) in places {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        let headers = [&HANDSHAKE[..], &headers].concat();
        let head = socket.request(&format!("GET {target} HTTP/1.1"), &headers).await;
        assert!(
            head.starts_with("HTTP/1.1 101 ") && !head.contains(&token),
            "{head}"
        );
        expected(socket.next_json().await);
    }
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let connect = json!({"type": "connect", "id": 5, "token": token});
    let connected = socket.ask(&connect.to_string()).await;
    assert_eq!(connected["id"], 5);
    expected(connected);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_answered_by_a_reason_and_4400() {
    let (_nats, edge) = edge(OPEN).await;
    let good = token("ann", json!({}));
    let forged = format!("{}x", good);
    let expired = token("ann", json!({"exp": now() - 60}));
    let cases = [
        ("nonsense", "unauthenticated", 4400),
        (&forged, "unauthenticated", 4400),
        (&expired, "token_expired", 4401),
    ];
    for (token, code, close) in cases {
        let mut socket = with(&edge, "/ws", &[&format!("Authorization: Bearer {token}")]).await;
        let error = socket.next_json().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{error}"
        );
        assert!(!error.to_string().contains(token), "{error}");
        assert_eq!(socket.close_code().await, close);
    }
}

#[tokio::test]
async fn where_nothing_is_open_to_anonymous_clients_a_session_says_first_who_it_is() {
    let (_nats, edge) = edge("[websocket]\nhello_timeout_secs = 1\n").await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let early = socket.ask(&subscribe("rooms.a")).await;
    assert_eq!(
        (&early["code"], &early["id"]),
        (&json!("unauthenticated"), &json!(1))
    );
    assert_eq!(socket.ask(r#"{"type":"ping","id":2}"#).await["type"], "pong");
    assert_eq!(socket.close_code().await, 4408);

    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let refused = socket
        .ask(r#"{"type":"connect","id":3,"token":"nonsense"}"#)
        .await;
    assert_eq!(
        (&refused["code"], &refused["id"]),
        (&json!("unauthenticated"), &json!(3))
    );
    assert_eq!(socket.close_code().await, 4400);
}

#[tokio::test]
async fn an_anonymous_session_becomes_somebody_once() {
    let (_nats, edge) = edge(OPEN).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    assert_eq!(socket.next_json().await.get("user"), None);
    assert_eq!(socket.ask(&subscribe("open.a")).await["type"], "subscribed");
    assert_eq!(
        socket.ask(&subscribe("users.ann.a")).await["code"],
        "unauthenticated"
    );
    let refused = socket.ask(r#"{"type":"connect","token":"nonsense"}"#).await;
    assert_eq!(refused["code"], "unauthenticated");
    let connect = json!({"type": "connect", "token": token("ann", json!({}))}).to_string();
    assert_eq!(socket.ask(&connect).await["user"], "ann");
    assert_eq!(socket.ask(&subscribe("users.ann.a")).await["type"], "subscribed");
    assert_eq!(socket.ask(&connect).await["code"], "bad_message");
}

#[tokio::test]
async fn a_session_may_do_what_its_namespace_and_its_token_allow_and_nothing_else() {
    let (nats, edge) = edge("").await;
    let claims = json!({"tailwater": {"subscribe": {"allow": ["rooms.*"], "deny": ["rooms.staff"]}, "publish": ["rooms.a"]}});
    let mut socket = bearer(&edge, &token("ann", claims)).await;
    for allowed in ["users.ann.inbox", "users.ann.inbox.>", "rooms.a"] {
        assert_eq!(
            socket.ask(&subscribe(allowed)).await["type"],
            "subscribed",
            "{allowed}"
        );
    }
    for forbidden in [
        "users.bob.inbox",
        "users.*.inbox",
        "users.>",
        "users.ann.secret",
        "users.ann.>",
        "rooms.staff",
        "rooms.*",
        "rooms.a.b",
    ] {
        let error = socket.ask(&subscribe(forbidden)).await;
        assert_eq!(error["code"], "forbidden", "{forbidden}: {error}");
    }
    let publish = |channel: &str| json!({"type": "publish", "channel": channel, "payload": 1}).to_string();
    assert_eq!(socket.ask(&publish("rooms.b")).await["code"], "forbidden");
    assert_eq!(
        socket.ask(&publish("users.bob.outbox")).await["code"],
        "forbidden"
    );
    let mut heard = nats.listen("users.ann.outbox").await;
    assert_eq!(
        socket.ask(&publish("users.ann.outbox")).await["type"],
        "published"
    );
    let message = soon("the publication", heard.next()).await.expect("it arrives");
    let user = message.headers.expect("it has headers");
    assert_eq!(user.get("Tailwater-User").map(|user| user.as_str()), Some("ann"));
}

#[tokio::test]
async fn the_server_joins_the_channels_of_the_token() {
    let (nats, edge) = edge("").await;
    let claims = json!({"tailwater": {"channels": ["rooms.a", "nowhere.b"]}});
    let mut socket = bearer(&edge, &token("ann", claims)).await;
    let subscribed = socket.next_json().await;
    assert_eq!(subscribed["channel"], "rooms.a", "{subscribed}");
    assert_eq!(
        (&subscribed["type"], subscribed.get("id")),
        (&json!("subscribed"), None)
    );
    let error = socket.next_json().await;
    assert_eq!(
        (&error["code"], &error["channel"]),
        (&json!("no_such_channel"), &json!("nowhere.b"))
    );
    let client = nats.client().await;
    client
        .publish("rooms.a", "1".into())
        .await
        .expect("NATS is there");
    assert_eq!(socket.next_json().await["payload"], 1);
}

#[tokio::test]
async fn refresh_replaces_the_token_of_the_same_user_and_ends_what_it_no_longer_allows() {
    let (_nats, edge) = edge("").await;
    let rooms = |pattern: &str| json!({"tailwater": {"subscribe": [pattern]}});
    let mut socket = bearer(&edge, &token("ann", rooms("rooms.*"))).await;
    for channel in ["rooms.a", "rooms.b", "users.ann.x"] {
        assert_eq!(socket.ask(&subscribe(channel)).await["type"], "subscribed");
    }
    let refresh = |token: String| json!({"type": "refresh", "id": 7, "token": token}).to_string();
    let other = socket.ask(&refresh(token("bob", json!({})))).await;
    assert_eq!(other["code"], "forbidden", "{other}");
    let wrong = socket.ask(&refresh("nonsense".into())).await;
    assert_eq!(wrong["code"], "unauthenticated", "{wrong}");
    let exp = now() + 1000;
    let mut claims = rooms("rooms.b");
    claims["exp"] = json!(exp);
    let refreshed = socket.ask(&refresh(token("ann", claims))).await;
    assert_eq!(
        (&refreshed["type"], &refreshed["id"]),
        (&json!("refreshed"), &json!(7))
    );
    assert!(refreshed["expires_at"].is_string());
    let ended = socket.next_json().await;
    assert_eq!(
        (&ended["type"], &ended["channel"]),
        (&json!("unsubscribed"), &json!("rooms.a"))
    );
    assert_eq!(socket.ask(&subscribe("rooms.a")).await["code"], "forbidden");
}

#[tokio::test]
async fn an_expired_token_is_announced_and_ends_the_session_after_the_grace() {
    let (_nats, edge) = edge("").await;
    let short = json!({"exp": now() + 2});
    let mut left = bearer(&edge, &token("ann", short.clone())).await;
    let mut renewed = bearer(&edge, &token("bob", short)).await;
    assert_eq!(left.next_json().await["code"], "token_expired");
    assert_eq!(renewed.next_json().await["code"], "token_expired");
    let refresh = json!({"type": "refresh", "token": token("bob", json!({}))}).to_string();
    assert_eq!(renewed.ask(&refresh).await["type"], "refreshed");
    assert_eq!(left.close_code().await, 4401);
    assert_eq!(renewed.ask(r#"{"type":"ping"}"#).await["type"], "pong");
}

#[tokio::test]
async fn a_place_that_is_not_open_takes_no_token() {
    let nats = NatsServer::start().await;
    let identity = IDENTITY.replace(
        r#"["header", "cookie", "query", "subprotocol", "connect"]"#,
        r#"["header"]"#,
    );
    let edge = Edge::start_with(nats.url(), &format!("{CLOSED}{OPEN}{identity}")).await;
    let token = token("ann", json!({}));
    let mut socket = with(&edge, &format!("/ws?token={token}"), &[]).await;
    assert_eq!(socket.next_json().await["code"], "unauthenticated");
    assert_eq!(socket.close_code().await, 4400);
    let mut socket = with(&edge, "/ws", &[&format!("Cookie: tailwater_token={token}")]).await;
    assert_eq!(socket.next_json().await.get("user"), None);
    let connect = json!({"type": "connect", "token": token}).to_string();
    socket.send(&frame(0x81, connect.as_bytes())).await;
    assert_eq!(socket.next_json().await["code"], "unauthenticated");
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_no_more() {
    let (_nats, edge) = edge("[limits]\nconnections_per_user = 2\n").await;
    let token = token("ann", json!({}));
    let first = bearer(&edge, &token).await;
    let _second = bearer(&edge, &token).await;
    let mut third = with(&edge, "/ws", &[&format!("Authorization: Bearer {token}")]).await;
    assert_eq!(third.next_json().await["code"], "limit");
    assert_eq!(third.close_code().await, 1013);
    drop(first);
    eventually("the place comes back", async || {
        let mut again = with(&edge, "/ws", &[&format!("Authorization: Bearer {token}")]).await;
        (again.next_json().await["type"] == "connected").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_service_revokes_ends_and_does_not_come_back() {
    let (nats, edge) = edge("").await;
    let ann = token("ann", json!({"jti": "t-1"}));
    let mut revoked = bearer(&edge, &ann).await;
    let mut other = bearer(&edge, &token("bob", json!({}))).await;
    let client = nats.client().await;
    let order = json!({"token_id": "t-1", "reason": "stolen"}).to_string();
    client
        .publish("_tw.control.revoke", order.into())
        .await
        .expect("NATS is there");
    client.flush().await.expect("NATS is there");
    assert_eq!(revoked.close_code().await, 4403);
    let mut again = with(&edge, "/ws", &[&format!("Authorization: Bearer {ann}")]).await;
    assert_eq!(again.next_json().await["code"], "forbidden");
    assert_eq!(again.close_code().await, 4403);
    assert_eq!(other.ask(r#"{"type":"ping"}"#).await["type"], "pong");
    let refresh = json!({"type": "refresh", "token": token("bob", json!({"jti": "t-1"}))}).to_string();
    assert_eq!(other.ask(&refresh).await["code"], "forbidden");
}

#[tokio::test]
async fn an_edge_that_has_not_read_what_is_revoked_lets_no_bearer_of_a_token_in() {
    let (nats, first) = edge("").await;
    let client = nats.client().await;
    let order = json!({"token_id": "t-1"}).to_string();
    let stored = client.request("_tw.control.revoke", order.into()).await;
    let stored: Value = serde_json::from_slice(&stored.expect("an answer").payload).expect("JSON");
    assert_eq!(stored["stored"], true, "{stored}");
    first.stop().await;

    let address = nats
        .url()
        .trim_start_matches("nats://")
        .parse()
        .expect("an address");
    let proxy = Proxy::start(address).await;
    proxy.cut();
    let second = Edge::start_unconnected(&proxy.url(), &format!("{CLOSED}{OPEN}{IDENTITY}")).await;
    let [revoked, good] = ["t-1", "t-2"].map(|id| token("ann", json!({"jti": id})));
    for token in [&revoked, &good] {
        let mut socket = with(&second, "/ws", &[&format!("Authorization: Bearer {token}")]).await;
        let error = socket.next_json().await;
        assert_eq!(error["code"], "unavailable", "{error}");
        assert!(error["retry_after_ms"].is_u64(), "{error}");
        assert_eq!(socket.close_code().await, 1013);
    }
    let mut anonymous = RawSocket::upgraded(second.server().public_addr()).await;
    assert_eq!(anonymous.next_json().await["type"], "connected");

    // Who comes while it connects waits for that.
    proxy.mend();
    eventually("it is read", async || {
        let mut socket = with(&second, "/ws", &[&format!("Authorization: Bearer {revoked}")]).await;
        let error = socket.next_json().await;
        assert_eq!(error["type"], "error", "{error}");
        (error["code"] == "forbidden").then_some(())
    })
    .await;
    bearer(&second, &good).await;
}

#[tokio::test]
async fn the_service_of_a_hook_knows_the_bearer_and_says_who_a_cookie_is() {
    let nats = NatsServer::start().await;
    let client = nats.client().await;
    let mut asked = client.subscribe("_hooks.connect").await.expect("NATS takes it");
    handled(&client).await;
    let service = tokio::spawn(async move {
        let mut questions = Vec::new();
        while let Some(message) = asked.next().await {
            let question: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let by_cookie = question["headers"]["cookie"] == "sid=7";
            let answer = if by_cookie {
                json!({"allow": true, "user": "cleo", "subscribe": ["rooms.c"], "channels": ["rooms.c"]})
            } else {
                json!({"allow": question["user"] != "mallory"})
            };
            questions.push(question);
            let reply = message.reply.expect("it is a request");
            client
                .publish(reply, answer.to_string().into())
                .await
                .expect("NATS is there");
            if questions.len() == 3 {
                client.flush().await.expect("NATS is there");
                return questions;
            }
        }
        questions
    });
    let hook = "[hook.connect]\nsubject = \"_hooks.connect\"\nheaders = \"cookie\"\n";
    let edge = Edge::start_with(nats.url(), &format!("{CLOSED}{hook}{IDENTITY}")).await;
    bearer(&edge, &token("ann", json!({"tenant": "acme"}))).await;
    let mallory = token("mallory", json!({}));
    let mut refused = with(&edge, "/ws", &[&format!("Authorization: Bearer {mallory}")]).await;
    assert_eq!(refused.next_json().await["code"], "forbidden");
    assert_eq!(refused.close_code().await, 4403);
    let mut cookie = with(&edge, "/ws", &["Cookie: sid=7"]).await;
    assert_eq!(cookie.next_json().await["user"], "cleo");
    assert_eq!(cookie.next_json().await["channel"], "rooms.c");
    let questions = service.await.expect("the service answers");
    assert_eq!(
        (&questions[0]["user"], &questions[0]["claims"]["tenant"]),
        (&json!("ann"), &json!("acme"))
    );
}
