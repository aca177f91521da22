//! What holds for all requests: which are served, how many one address may make, and TLS.

use tailwater_tests::{Edge, NatsServer, RawSocket};

use super::{CHANNELS, ask, ask_on, edge};

#[tokio::test]
async fn what_is_not_named_is_not_served_and_all_are_siblings_of_the_websocket() {
    let nats = NatsServer::start().await;
    let config = CHANNELS.replace("[websocket]", "[websocket]\npath = \"/realtime/ws\"");
    let config = format!("{config}[http]\ntransports = [\"poll\"]\n");
    let edge = Edge::start_with(nats.url(), &config).await;
    for (line, status) in [
        ("GET /realtime/poll?channel=live.a&wait=0", 200),
        ("GET /poll?channel=live.a&wait=0", 404),
        ("GET /realtime/sse?channel=live.a", 404),
        ("POST /realtime/command", 404),
        ("POST /realtime/publish?channel=chat.a", 404),
        ("PUT /realtime/poll", 405),
    ] {
        assert_eq!(ask(&edge, line, &[], "").await.0, status, "{line}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_asks_again_and_again_on_one_connection_is_sent_away_whatever_it_asks() {
    let config = format!("{CHANNELS}[limits]\nhandshakes_per_address_per_sec = 2\nburst_secs = 1\n");
    for (line, header, last) in [
        ("GET /nothing", "X-Any: 1", 429),
        ("GET /ws", "X-Any: 1", 429),
        ("DELETE /publish", "X-Any: 1", 429),
        ("OPTIONS /poll", "Origin: http://edge", 429),
        ("GET /sse", "X-Any: 1", 429),
        (
            "GET /poll?channel=live.a&wait=0",
            "Origin: http://evil.example",
            403,
        ),
        ("GET /sse?channel=live.a", "Origin: http://evil.example", 403),
    ] {
        let edge = Edge::start_unconnected("nats://127.0.0.1:1", &config).await;
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        let mut ended = None;
        for _ in 0..20 {
            let (status, head, _) = ask_on(&mut socket, line, &[header], "").await;
            if head.contains("connection: close") {
                ended = Some(status);
                break;
            }
        }
        assert_eq!(ended, Some(last), "{line}, {header}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn requests_count_as_connections_of_their_address() {
    let (_nats, edge) = edge("[limits]\nhandshakes_per_address_per_sec = 2\nburst_secs = 1\n").await;
    // A connection that stays makes no difference.
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let mut last = None;
    for _ in 0..20 {
        let (status, head, body) = ask_on(&mut socket, "GET /poll?channel=live.a&wait=0", &[], "").await;
        if status != 200 {
            assert_eq!(body["code"], "rate_limited", "{body}");
            last = Some((status, head));
            break;
        }
    }
    let (status, head) = last.expect("twenty at once are too many");
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("retry-after: "), "{head}");
    edge.stop().await;
}
