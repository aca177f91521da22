//! How each peer is spoken to.

use std::net::SocketAddr;

use crate::dialect::{Dialect, Publish, PusherApp, Step};

/// A message that subscribes, and the answers to it.
fn step(send: &str, expect: &str, refused: &str) -> Step {
    let some = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
    Step {
        send: some(send),
        expect: some(expect),
        refused: some(refused),
    }
}

/// What most servers have in common: text frames at `/`, and nothing that keeps a connection alive.
fn dialect(subscribe: Step, publish: Publish) -> Dialect {
    Dialect {
        path: "/".to_owned(),
        subprotocol: None,
        headers: Vec::new(),
        binary: false,
        hello: Vec::new(),
        subscribe,
        keep_alive: None,
        publish,
    }
}

fn by_websocket(message: &str) -> Publish {
    Publish::WebSocket {
        before: Vec::new(),
        message: message.as_bytes().to_vec(),
        binary: false,
    }
}

pub(super) fn floor() -> Dialect {
    dialect(
        step("sub {channel}", "subscribed", ""),
        by_websocket("pub {channel} {payload}"),
    )
}

/// The scripts speak alike.
pub(super) fn script() -> Dialect {
    dialect(
        step(
            r#"{"type":"subscribe","channel":"{channel}"}"#,
            r#""subscribed""#,
            "",
        ),
        by_websocket(r#"{"type":"publish","channel":"{channel}","payload":{payload}}"#),
    )
}

/// NATS' own protocol in binary frames, which hold any part of its stream of bytes.
pub(super) fn nats_server(nats: SocketAddr) -> Dialect {
    let subscribe = step("SUB {channel} 1\r\nPING\r\n", "PONG", "-ERR");
    let publish = Publish::Nats {
        url: format!("nats://{nats}"),
    };
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"bench\",\"version\":\"1\"}\r\n";
    Dialect {
        binary: true,
        hello: vec![step("", "INFO ", ""), step(connect, "", "")],
        keep_alive: Some((b"PING", b"PONG\r\n")),
        ..dialect(subscribe, publish)
    }
}

/// The protocol of Pusher, version 7, and its HTTP API.
pub(super) fn sockudo(app_id: &str, app: PusherApp) -> Dialect {
    let subscribe = step(
        r#"{"event":"pusher:subscribe","data":{"channel":"{channel}"}}"#,
        "subscription_succeeded",
        "error",
    );
    let publish = Publish::Http {
        address: None,
        request: format!("POST /apps/{app_id}/events"),
        headers: Vec::new(),
        body: br#"{"name":"update","channel":"{channel}","data":{payload_string}}"#.to_vec(),
        pusher: Some(app),
    };
    Dialect {
        path: format!("/app/{}?protocol=7&client=bench&version=1", app.key),
        hello: vec![step("", "connection_established", "pusher:error")],
        keep_alive: Some((
            br#"{"event":"pusher:ping""#,
            br#"{"event":"pusher:pong","data":{}}"#,
        )),
        ..dialect(subscribe, publish)
    }
}

/// The bidirectional protocol of Centrifugo in JSON, and its HTTP API.
pub(super) fn centrifugo(api_key: &str) -> Dialect {
    let subscribe = step(
        r#"{"id":2,"subscribe":{"channel":"{channel}"}}"#,
        r#""subscribe":"#,
        r#""error":"#,
    );
    let publish = Publish::Http {
        address: None,
        request: "POST /api/publish".to_owned(),
        headers: vec![
            format!("X-API-Key: {api_key}"),
            // Else a refusal is an answer of status 200.
            "X-Centrifugo-Error-Mode: transport".to_owned(),
        ],
        body: br#"{"channel":"{channel}","data":{payload}}"#.to_vec(),
        pusher: None,
    };
    Dialect {
        path: "/connection/websocket".to_owned(),
        hello: vec![step(r#"{"id":1,"connect":{}}"#, r#""connect":"#, r#""error":"#)],
        keep_alive: Some((b"{}", b"{}")),
        ..dialect(subscribe, publish)
    }
}
