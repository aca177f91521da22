//! The opening handshake and the paths around it: every mistake has an answer of its own, and none of
//! them takes the edge along.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tailwater_tests::raw_socket::{HANDSHAKE, frame, get};
use tailwater_tests::{Edge, NatsServer, RawSocket, eventually, soon};

/// The handshake's headers with those of `name` replaced by `with`.
fn headers<'a>(name: &str, with: &[&'a str]) -> Vec<&'a str> {
    let mut headers: Vec<&str> = HANDSHAKE.to_vec();
    headers.retain(|header| !header.starts_with(&format!("{name}:")));
    headers.extend(with);
    headers
}

/// Sends a request that is to be refused: the head of the response and its body.
async fn refused(address: SocketAddr, line: &str, headers: &[&str]) -> (String, String) {
    let mut socket = RawSocket::open(address).await;
    let head = socket.request(line, headers).await;
    let body = if line.starts_with("HEAD ") {
        String::new()
    } else {
        socket.body(&head).await
    };
    (head, body)
}

fn status(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {head:?}"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn each_missing_or_wrong_header_has_a_status_and_one_line_of_its_own() {
    let edge = Edge::start_alone("").await;
    let get = "GET /ws HTTP/1.1";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<&str>, u16, &str)> = vec![
        ("POST /ws HTTP/1.1", HANDSHAKE.to_vec(), 405, "GET"),
        ("HEAD /ws HTTP/1.1", HANDSHAKE.to_vec(), 405, ""),
        ("GET /ws HTTP/1.0", HANDSHAKE.to_vec(), 400, "HTTP/1.1"),
        (get, headers("Host", &[]), 400, "`Host`"),
        (get, headers("Host", &["Host: a", "Host: b"]), 400, "`Host`"),
        (get, headers("Upgrade", &[]), 426, "`Upgrade: websocket`"),
        (get, headers("Upgrade", &["Upgrade: h2c"]), 426, "`Upgrade: websocket`"),
        (get, headers("Connection", &[]), 400, "`Connection`"),
        (get, headers("Connection", &["Connection: keep-alive"]), 400, "`Connection`"),
        (get, headers("Sec-WebSocket-Version", &[]), 400, "`Sec-WebSocket-Version` is missing"),
        (get, headers("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]), 426, "version 13"),
        (get, headers("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 013"]), 426, "version 13"),
        (get, headers("Sec-WebSocket-Key", &[]), 400, "`Sec-WebSocket-Key` is missing"),
        (get, headers("Sec-WebSocket-Key", &["Sec-WebSocket-Key: c2hvcnQ="]), 400, "16 bytes in base64"),
        (get, headers("Sec-WebSocket-Key", &["Sec-WebSocket-Key: !!!"]), 400, "16 bytes in base64"),
        (get, headers("Sec-WebSocket-Key", &[key, key]), 400, "once"),
    ];
    let mut reasons = Vec::new();
    for (line, headers, expected, reason) in &cases {
        let (head, body) = refused(edge.server().public_addr(), line, headers).await;
        assert_eq!(status(&head), *expected, "{line} {headers:?}: {head}{body}");
        assert!(body.contains(reason), "{line} {headers:?}: {body}");
        assert!(body.lines().count() <= 1, "{body}");
        match expected {
            405 => assert_eq!(header(&head, "allow"), Some("GET")),
            426 if *reason == "version 13" => assert_eq!(header(&head, "sec-websocket-version"), Some("13")),
            426 => assert_eq!(header(&head, "upgrade"), Some("websocket")),
            _ => {}
        }
        reasons.push(body);
    }
    reasons.sort();
    reasons.dedup();
    assert!(
        reasons.len() >= 9,
        "different mistakes, different lines: {reasons:#?}"
    );
    // And after all of that:
    RawSocket::upgraded(edge.server().public_addr()).await;
    edge.stop().await;
}

#[tokio::test]
async fn header_names_and_tokens_are_read_whatever_their_case_and_company() {
    let edge = Edge::start_alone("").await;
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let headers = [
        "host: edge",
        "UPGRADE: h2c, WebSocket",
        "cOnNeCtIoN: keep-alive",
        "Connection: UPGRADE",
        "sec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version: 13",
        "oRIGIN: https://Edge:8443",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "X-Unknown: \u{fc}",
    ];
    let head = socket.request("GET /ws?a=b&x=%00 HTTP/1.1", &headers).await;
    assert_eq!(status(&head), 101, "{head}");
    // The example of RFC 6455 section 1.3.
    assert_eq!(
        header(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(header(&head, "sec-websocket-protocol"), None);
    assert_eq!(header(&head, "sec-websocket-extensions"), None, "none is spoken");
    assert_eq!(socket.next_json().await["type"], "connected");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_known_subprotocol_is_echoed_and_an_offer_of_unknown_ones_is_refused_with_the_list() {
    let edge = Edge::start_alone("").await;
    let address = edge.server().public_addr();
    #[rustfmt::skip]
    let offers: [(&[&str], &str, u8); 4] = [
        (&["tailwater.v1.json"], "tailwater.v1.json", 0x81),
        (&["tailwater.v1.msgpack"], "tailwater.v1.msgpack", 0x82),
        (&["soap, tailwater.v1.msgpack , tailwater.v1.json"], "tailwater.v1.msgpack", 0x82),
        (&["graphql-ws", "tailwater.v1.json"], "tailwater.v1.json", 0x81),
    ];
    for (offered, chosen, first_byte) in offers {
        let mut headers = HANDSHAKE.map(str::to_owned).to_vec();
        headers.extend(
            offered
                .iter()
                .map(|offer| format!("Sec-WebSocket-Protocol: {offer}")),
        );
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut socket = RawSocket::open(address).await;
        let head = socket.request("GET /ws HTTP/1.1", &headers).await;
        assert_eq!(status(&head), 101, "{head}");
        assert_eq!(header(&head, "sec-websocket-protocol"), Some(chosen));
        assert_eq!(socket.next_frame().await.unwrap().0, first_byte, "{chosen}");
    }
    for offer in [
        "graphql-ws",
        "tailwater.v2.json",
        "Tailwater.V1.Json",
        "tailwater.v1",
        "",
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offer}");
        let (head, body) = refused(address, "GET /ws HTTP/1.1", &headers("none", &[&offer])).await;
        assert_eq!(status(&head), 400, "{offer}: {head}");
        assert!(body.contains("tailwater.v1.json, tailwater.v1.msgpack"), "{body}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_are_answered_with_400_and_end_the_connection() {
    let edge = Edge::start_alone("").await;
    let long_name = format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", "x".repeat(100));
    let cases: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"EHLO example.org\r\n\r\n",
        b"GET /ws HTTP/9.9\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost edge\r\n\r\n",
        long_name.as_bytes(),
    ];
    for bytes in cases {
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        socket.send(bytes).await;
        let response = String::from_utf8(socket.read_to_end().await).unwrap();
        let shown = String::from_utf8_lossy(bytes);
        assert!(response.starts_with("HTTP/1.1 400 "), "{shown:?}: {response:?}");
    }
    RawSocket::upgraded(edge.server().public_addr()).await;
    edge.stop().await;
}

#[tokio::test]
async fn headers_beyond_the_limit_are_answered_with_431() {
    let edge = Edge::start_alone("[websocket]\nmax_header_bytes = 8192").await;
    let address = edge.server().public_addr();
    let large = format!("X-Large: {}", "x".repeat(9000));
    let many = vec!["X: y"; 200];
    for extra in [vec![large.as_str()], many] {
        let mut socket = RawSocket::open(address).await;
        let head = socket.request("GET /ws HTTP/1.1", &headers("none", &extra)).await;
        assert_eq!(status(&head), 431, "{head}");
        socket.read_to_end().await;
    }
    let fits = format!("X-Large: {}", "x".repeat(7000));
    let mut socket = RawSocket::open(address).await;
    let head = socket
        .request("GET /ws HTTP/1.1", &headers("none", &[&fits]))
        .await;
    assert_eq!(status(&head), 101, "{head}");
    edge.stop().await;
}

#[tokio::test]
async fn headers_that_do_not_come_in_time_end_the_connection_even_if_they_trickle() {
    let edge = Edge::start_alone("[websocket]\nheader_timeout_secs = 1").await;
    let address = edge.server().public_addr();
    let begin = Instant::now();
    let silent = async {
        RawSocket::open(address).await.read_to_end().await;
    };
    let half = async {
        let mut socket = RawSocket::open(address).await;
        socket.send(b"GET /ws HTTP/1.1\r\nHost: ed").await;
        socket.read_to_end().await;
    };
    let idle_after_a_response = async {
        let mut socket = RawSocket::open(address).await;
        let head = socket.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
        socket.body(&head).await;
        socket.read_to_end().await;
    };
    let without_the_body_it_announced = async {
        let mut socket = RawSocket::open(address).await;
        let head = socket
            .request(
                "POST /nothing HTTP/1.1",
                &["Host: edge", "Content-Length: 1000000"],
            )
            .await;
        assert_eq!(status(&head), 404, "{head}");
        socket.read_to_end().await;
    };
    let trickling = async {
        let socket = RawSocket::open(address).await;
        // One byte of an endless header each time, until the edge has had enough.
        eventually("the end of a trickle", async || {
            socket.stream().try_write(b"x").is_err().then_some(())
        })
        .await;
    };
    soon("the end of all of them", async {
        tokio::join!(
            silent,
            half,
            idle_after_a_response,
            without_the_body_it_announced,
            trickling
        )
    })
    .await;
    assert!(
        begin.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    edge.stop().await;
}

#[tokio::test]
async fn commands_right_behind_the_handshake_are_not_lost() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    let mut bytes = format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", HANDSHAKE.join("\r\n")).into_bytes();
    bytes.extend(frame(0x81, br#"{"type":"subscribe","channel":"early","id":1}"#));
    bytes.extend(frame(0x89, b"early too"));
    // The last frame is cut in the middle: its rest comes later.
    let last = frame(0x81, br#"{"type":"ping","id":2}"#);
    bytes.extend(&last[..9]);
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    socket.send(&bytes).await;
    let head = socket.head().await;
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(socket.next_json().await["type"], "connected");
    assert_eq!(socket.next_json().await["type"], "subscribed");
    assert_eq!(socket.next_answer().await, Some((0x8a, b"early too".to_vec())));
    publisher.publish("early", "1".into()).await.unwrap();
    assert_eq!(socket.next_json().await["payload"], 1);
    socket.send(&last[9..]).await;
    assert_eq!(socket.next_json().await["type"], "pong");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn the_body_of_a_handshake_is_never_read_as_frames() {
    let edge = Edge::start_alone("").await;
    let hidden = frame(0x81, br#"{"type":"ping","id":7}"#);
    let chunk = format!("{:x}\r\n", hidden.len()).into_bytes();
    let chunked = [chunk.as_slice(), &hidden, b"\r\n0\r\n\r\n"].concat();
    let length = format!("Content-Length: {}", hidden.len());
    for (extra, body) in [
        (length.as_str(), &hidden),
        ("Transfer-Encoding: chunked", &chunked),
    ] {
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        let head = format!(
            "GET /ws HTTP/1.1\r\n{}\r\n\r\n",
            headers("none", &[extra]).join("\r\n")
        );
        socket.send(&[head.as_bytes(), body].concat()).await;
        let head = socket.head().await;
        assert_eq!(status(&head), 400, "{extra}: {head}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_refused_handshake_may_be_repeated_on_the_same_connection() {
    let edge = Edge::start_alone("").await;
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    for wrong in [
        headers("Sec-WebSocket-Key", &[]),
        headers("Sec-WebSocket-Version", &[]),
    ] {
        let head = socket.request("GET /ws HTTP/1.1", &wrong).await;
        assert_eq!(status(&head), 400, "{head}");
        socket.body(&head).await;
    }
    let mut socket = socket.upgrade().await;
    assert_eq!(socket.next_json().await["type"], "connected");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_404_and_the_console_is_off_unless_it_is_asked_for() {
    let edge = Edge::start_alone("").await;
    let address = edge.server().public_addr();
    let paths = [
        "/",
        "/demo",
        "/console/",
        "/console/info.json",
        "/ws/",
        "/WS",
        "//ws",
        "/ws/../ws",
        "/livez",
        "/readyz",
    ];
    for path in paths {
        assert_eq!(
            get(address, path).await,
            (404, "there is nothing at this path\n".to_owned()),
            "{path}"
        );
    }
    let head = RawSocket::open(address)
        .await
        .request("GET / HTTP/1.1", &HANDSHAKE)
        .await;
    assert_eq!(status(&head), 404, "no WebSocket beside its path: {head}");
    edge.stop().await;
    let edge = Edge::start_alone("[console]\nenabled = true").await;
    let (status, page) = get(edge.server().public_addr(), "/").await;
    assert_eq!((status, page.contains("<html")), (200, true), "{page}");
    for path in [
        "/console/../../Cargo.toml",
        "/console/%2e%2e/main.rs",
        "/console/",
        "/livez",
    ] {
        assert_eq!(get(edge.server().public_addr(), path).await.0, 404, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn health_is_told_on_the_admin_listener_and_readiness_follows_nats() {
    let edge = Edge::start_alone("").await;
    assert_eq!(edge.admin("/livez").await.0, 200, "alive without NATS");
    let (status, why) = edge.admin("/readyz").await;
    assert_eq!((status, why.contains("NATS")), (503, true), "{why}");
    assert_eq!(edge.admin("/ws").await.0, 404);
    edge.stop().await;
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    assert_eq!(edge.admin("/readyz").await.0, 200);
    nats.stop().await;
    eventually("not ready any more", async || {
        (edge.admin("/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(edge.admin("/livez").await.0, 200);
    edge.stop().await;
}
