//! MessagePack that cannot be read is answered by an `error` as well, however it lies about its lengths.

use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::error::ErrorMessage;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::Push;
use tailwater_tests::{Edge, next, subscriber};

/// Sends the bytes and expects an `error`; and then that the session still answers.
async fn refused(client: &mut Client, bytes: &[u8]) -> ErrorMessage {
    client.send_body(bytes).await.expect("the connection lives");
    let answer = next(client).await;
    let ServerBody::Push(Push::Error(error)) = answer.body else {
        panic!("{bytes:02x?}: {answer:?}");
    };
    client
        .send_body(b"\x82\xa4type\xa4ping\xa2id\x63")
        .await
        .expect("the connection lives");
    let pong = next(client).await;
    assert_eq!((pong.kind(), pong.id), ("pong", Some(99)), "{bytes:02x?}");
    error
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_place_of_the_mistake_and_the_id_that_could_be_read() {
    let edge = Edge::start_alone("[websocket]\nmax_message_bytes = 200_000").await;
    let mut client = subscriber(&edge, Some(Codec::MessagePack), &[]).await;
    let deep = [0x91; 100_000];
    let deep_field = [b"\x83\xa4type\xa4ping\xa2id\x04\xa1x", &deep[..]].concat();
    #[rustfmt::skip]
    let cases: Vec<(&[u8], &str, Option<u32>, &str)> = vec![
        (b"", "bad_message", None, "no command"),
        (b"\xc1", "bad_message", None, "byte 0"),
        (b"\x07", "bad_message", None, "byte 0"),
        (b"\x91\x81\xa4type\xa4ping", "bad_message", None, "byte 0"),
        (b"\x81\xa4type", "bad_message", None, "byte 6"),
        (b"\x82\xa2id\x04\xa4ty", "bad_message", Some(4), "byte"),
        (b"\x81\x01\x02", "bad_message", None, "byte"),
        (b"\x82\xa2id\x04\xa4type\xa4\xff\xff\xff\xff", "bad_message", Some(4), "byte"),
        (
            b"\x84\xa4type\xa7publish\xa2id\x04\xa7channel\xa6open.a\xa7payload\xd4\x05\x00",
            "bad_message",
            Some(4),
            "`payload`",
        ),
        (b"\x81\xa2id\x04", "bad_message", Some(4), "`type` is missing"),
        (b"\x82\xa4type\x05\xa2id\x04", "bad_message", Some(4), "`type` is not a string"),
        (b"\x82\xa4type\xa4ping\xa2id\xff", "bad_message", None, "`id`"),
        (b"\x82\xa4type\xa5dance\xa2id\x04", "unknown_type", Some(4), "dance"),
        (b"\x82\xa4type\xa9subscribe\xa2id\x04", "bad_message", Some(4), "`channel`"),
        (b"\x83\xa4type\xa9subscribe\xa2id\x04\xa7channel\x01", "bad_message", Some(4), "`channel`"),
        (b"\x83\xa4type\xa9subscribe\xa2id\x04\xa7channel\xa6$SYS.>", "bad_message", Some(4), "`$`"),
        // Neither an ext type nor NaN is JSON.
        (
            b"\x84\xa4type\xa7publish\xa2id\x04\xa7channel\xa6open.a\xa7payload\xca\x7f\xc0\x00\x00",
            "bad_message",
            Some(4),
            "`payload`",
        ),
        // Lengths that nothing follows: nothing is set aside for them.
        (b"\xdf\xff\xff\xff\xff", "bad_message", None, "byte"),
        (b"\xdd\xff\xff\xff\xff", "bad_message", None, "byte"),
        (b"\x82\xa2id\x04\xa1x\xdb\xff\xff\xff\xff", "bad_message", Some(4), "byte"),
        (b"\x82\xa2id\x04\xa1x\xc6\xff\xff\xff\xff", "bad_message", Some(4), "byte"),
        (b"\x82\xa2id\x04\xa1x\xdd\xff\xff\xff\xff", "bad_message", Some(4), "byte"),
        (&deep, "bad_message", None, "byte"),
        (&deep_field, "bad_message", Some(4), "byte"),
    ];
    for (bytes, code, id, says) in cases {
        let error = refused(&mut client, bytes).await;
        let shown = &bytes[..bytes.len().min(60)];
        assert_eq!(
            (error.code.as_str(), error.id),
            (code, id),
            "{shown:02x?}: {error}"
        );
        assert!(error.message.contains(says), "{shown:02x?}: {error}");
    }
    drop(client);
    edge.stop().await;
}

#[tokio::test]
async fn commands_behind_one_another_are_answered_in_order_and_a_wrong_one_costs_only_itself() {
    let edge = Edge::start_alone("").await;
    let mut client = subscriber(&edge, Some(Codec::MessagePack), &[]).await;
    let ping = b"\x82\xa4type\xa4ping\xa2id\x01";
    let dance = b"\x82\xa4type\xa5dance\xa2id\x02";
    let batch = [&ping[..], dance, ping].concat();
    client.send_body(&batch).await.unwrap();
    for expected in [("pong", Some(1)), ("error", Some(2)), ("pong", Some(1))] {
        let answer = next(&mut client).await;
        assert_eq!((answer.kind(), answer.id), expected);
    }
    // A frame that cannot be told apart into commands is one mistake, and nothing of it is carried out.
    let error = refused(&mut client, &[ping, &dance[..5]].concat()).await;
    assert_eq!(error.code.as_str(), "bad_message");
    let error = refused(&mut client, &ping.repeat(1025)).await;
    assert_eq!(error.code.as_str(), "limit");
    drop(client);
    edge.stop().await;
}
