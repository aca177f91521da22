use tailwater_broker::wire::{Headers, Incident, Limits, Outgoing};

use crate::requests::create_stream;
use crate::server::Server;
use crate::witness::{Client, DEADLINE, Heard, config};

/// Header blocks that are none, each of which makes the client library close its connection.
const BAD: [&[u8]; 7] = [
    b"NATS/1.0\r\nName: caf\xe9\r\n\r\n",
    b"NATS/1.0\r\nno colon here\r\n\r\n",
    b"NATS/1.0\r\na name: v\r\n\r\n",
    b"NATS/9.9\r\nK: v\r\n\r\n",
    b"NATS/1.0 abc\r\nK: v\r\n\r\n",
    b"\xff\xfe\xfd",
    b"\r\nMSG a 1 5\r\nhello\r\n-ERR 'no'\r\n",
];

#[tokio::test]
async fn malformed_headers_disturb_nobody() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    client.subscribe("live.*").await;
    let mut raw = server.raw().await;
    for block in BAD {
        raw.publish("live.good", b"before").await;
        raw.publish_headers("live.bad", block, b"poison").await;
        raw.publish("live.good", b"after").await;
    }
    let expected = ["before", "poison", "after"].repeat(BAD.len());
    client.receives("live.*", &expected).await;
    let heard = client.witness.all().clone();
    let passed: Vec<_> = heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Message { headers, subject, .. } if subject == "live.bad" => Some(headers.as_slice()),
            _ => None,
        })
        .collect();
    assert_eq!(passed, BAD);
    assert_eq!(client.witness.incidents(), [Incident::Connected { again: false }]);
}

#[tokio::test]
async fn malformed_headers_in_history_do_not_keep_it_from_being_read() {
    let server = Server::start("").await;
    let client = Client::connect(&config(&[server.url()])).await;
    create_stream(&client, "EDGE", "ch.>", "live.>").await;
    client.subscribe("live.>").await;
    let mut raw = server.raw().await;
    for (n, block) in BAD.iter().enumerate() {
        raw.publish_headers("ch.a", block, n.to_string().as_bytes()).await;
    }
    let expected: Vec<_> = (0..BAD.len()).map(|n| n.to_string()).collect();
    client
        .receives("live.>", &expected.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let get = Outgoing {
        subject: "$JS.API.DIRECT.GET.EDGE",
        headers: &[],
        payload: br#"{"seq":1,"next_by_subj":"ch.a","batch":100}"#,
    };
    let limits = Limits {
        replies: 200,
        bytes: 1_000_000,
    };
    let replies = client
        .wire
        .request_batch(get, limits, DEADLINE)
        .await
        .expect("a batch");
    assert_eq!(replies.len(), BAD.len() + 1);
    for (n, reply) in replies[..BAD.len()].iter().enumerate() {
        assert_eq!(&reply.payload[..], n.to_string().as_bytes());
        assert_eq!(reply.headers().last_number("Nats-Sequence"), Some(n as u64 + 1));
    }
    // Live, too, the server's own headers stand behind whatever was there.
    for heard in client.witness.all().iter() {
        if let Heard::Message { headers, payload, .. } = heard {
            let sequence = Headers::new(headers).last_number("Nats-Sequence");
            let n = std::str::from_utf8(payload)
                .expect("digits")
                .parse::<u64>()
                .expect("a number");
            assert_eq!(sequence, Some(n + 1), "{}", headers.escape_ascii());
        }
    }
}
