//! What comes live on a durable channel.

use tailwater_protocol::codec::Codec;
use tailwater_protocol::position::Offset;
use tailwater_tests::durable::{DURABLE, Publisher, connect, expect, join, next_stored, text};
use tailwater_tests::{Edge, NatsServer};

#[tokio::test]
async fn a_plain_publication_arrives_with_the_offset_at_which_it_is_stored() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    for codec in Codec::ALL {
        let mut client = connect(&edge, Some(codec)).await;
        let subscribed = join(&mut client, "d.a", None).await;
        assert!(subscribed.durable && subscribed.recovered.is_none());
        let before = publisher.store("d.a", "1").await;
        let update = next_stored(&mut client).await;
        assert_eq!(update.offset.map(Offset::get), Some(before));
        assert!(before > subscribed.offset.expect("durable").get());
        assert_eq!(text(&update.payload), "1");
        assert!(update.time.is_some_and(|time| time.len() == 24));
        // As services do that need no acknowledgement.
        let plain = publisher.client().publish("d.a", "2".into()).await;
        plain.expect("the connection lives");
        let update = next_stored(&mut client).await;
        assert_eq!(
            (update.offset.map(Offset::get), text(&update.payload)),
            (Some(before + 1), "2".to_owned())
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_pattern_and_an_exact_channel_each_get_everything_in_order() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut exact = connect(&edge, None).await;
    let mut pattern = connect(&edge, Some(Codec::MessagePack)).await;
    join(&mut exact, "d.a", None).await;
    join(&mut pattern, "d.>", None).await;
    let (mut a, mut all) = (Vec::new(), Vec::new());
    for number in 0..200_u64 {
        let subject = if number % 2 == 0 { "d.a" } else { "d.b.c" };
        let offset = publisher.store(subject, number.to_string()).await;
        all.push(offset);
        if number % 2 == 0 {
            a.push(offset);
        }
    }
    expect(&mut exact, &a, (0..200).step_by(2)).await;
    expect(&mut pattern, &all, 0..200).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_message_that_somebody_forges_where_the_stream_republishes_reaches_nobody() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    join(&mut client, "d.a", None).await;
    let forge = async |headers: &[(&str, &str)]| {
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let sent = publisher
            .client()
            .publish_with_headers("_tw.live.d.a", map, "forged".into());
        sent.await.expect("the connection lives");
    };
    forge(&[]).await;
    let genuine = [("Nats-Stream", "D"), ("Nats-Sequence", "500")];
    forge(&[&genuine[..], &[("Nats-Subject", "d.b")]].concat()).await;
    forge(&[
        ("Nats-Stream", "OTHER"),
        ("Nats-Subject", "d.a"),
        ("Nats-Sequence", "500"),
    ])
    .await;
    let offset = publisher.store("d.a", "7").await;
    expect(&mut client, &[offset], [7]).await;
    edge.stop().await;
}

#[tokio::test]
async fn forged_and_malformed_headers_of_a_publication_disturb_nobody() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    let subscribed = join(&mut client, "d.a", None).await;
    let address = nats.url().strip_prefix("nats://").expect("a URL");
    let mut offsets = vec![publisher.store("d.a", "0").await];
    for block in [
        &b"NATS/1.0\r\nNats-Sequence: 999999\r\nNats-Stream: OTHER\r\nNats-Last-Sequence: 5000\r\nNats-Subject: x\r\n\r\n"[..],
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
        b"NATS/1.0\r\n\xff\xfe: \xff\r\nno colon\r\n\r\n",
        b"NATS/9.9 abc\r\n\r\n",
    ] {
        raw_publish(address, "d.a", block, b"1").await;
        raw_publish(address, "d.a", block, b"").await;
        offsets.extend([offsets[offsets.len() - 1] + 1, offsets[offsets.len() - 1] + 2]);
    }
    offsets.push(publisher.store("d.a", "2").await);
    let mut again = connect(&edge, None).await;
    let since = tailwater_tests::durable::position(&subscribed, offsets[0]);
    let resumed = join(&mut again, "d.a", Some(since)).await;
    assert_eq!(resumed.recovered, Some(true));
    for (reader, from) in [(&mut client, 0), (&mut again, 1)] {
        for offset in &offsets[from..] {
            let update = next_stored(reader).await;
            assert_eq!(update.offset.map(Offset::get), Some(*offset));
        }
    }
    edge.stop().await;
}

/// Publishes with a header block as it is.
pub(super) async fn raw_publish(address: &str, subject: &str, block: &[u8], payload: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("nats-server listens");
    let head = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {subject} {} {}\r\n",
        block.len(),
        block.len() + payload.len()
    );
    let lines = [head.as_bytes(), block, payload, b"\r\nPING\r\n"].concat();
    socket.write_all(&lines).await.expect("it takes lines");
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        assert_ne!(
            socket.read_buf(&mut said).await.expect("it answers"),
            0,
            "{:?}",
            String::from_utf8_lossy(&said)
        );
    }
}
