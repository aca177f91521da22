//! What a client is told about its mistakes, and the corners of payloads. That every message reads and writes as the
//! vectors say is tested in `tests/vectors.rs`, round trips in `tests/properties.rs`.

use super::*;
use crate::channel::Channel;
use crate::command::Command;
use crate::error::ErrorCode;
use crate::limits::MAX_COMMANDS_PER_FRAME;
use crate::payload::{Payload, PayloadRef};
use crate::push::{Push, UpdateRef};

fn json_error(text: &str) -> ErrorMessage {
    let mut results = Codec::Json.decode_commands(text.as_bytes());
    assert_eq!(results.len(), 1, "{text}");
    results.remove(0).unwrap_err()
}

fn msgpack_error(body: &[u8]) -> ErrorMessage {
    let mut results = Codec::MessagePack.decode_commands(body);
    assert_eq!(results.len(), 1, "{body:x?}");
    results.remove(0).unwrap_err()
}

/// The MessagePack of any JSON value.
fn packed(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

#[test]
fn an_error_names_the_field_the_place_and_what_was_expected() {
    let error = json_error("{\"type\":\"subscribe\",\n \"id\":9,\"channel\":5}");
    assert_eq!(
        (error.code, error.id, error.channel),
        (ErrorCode::BadMessage, Some(9), None)
    );
    assert_eq!(
        error.message,
        "`channel`: invalid type: integer `5`, expected a channel: a string such as `deployments.42` \
         (line 2, column 19)"
    );
    let body = packed(&serde_json::json!({"channel": 5, "id": 9, "type": "subscribe"}));
    let error = msgpack_error(&body);
    assert_eq!(
        (error.code, error.id, error.channel),
        (ErrorCode::BadMessage, Some(9), None)
    );
    assert_eq!(
        error.message,
        "`channel`: invalid type: integer `5`, expected a channel: a string such as `deployments.42` (byte 9)"
    );
}

#[test]
fn a_missing_field_is_named() {
    let error = json_error(r#"{"type":"subscribe","id":1}"#);
    assert_eq!(error.message, "missing field `channel` (line 1, column 27)");
    assert!(json_error("{}").message.contains("`type` is missing"));
    assert!(
        json_error(r#"{"type":"publish","channel":"a"}"#)
            .message
            .contains("payload_b64")
    );
}

#[test]
fn the_channel_is_repeated_even_if_it_is_no_channel() {
    let error = json_error(r#"{"type":"subscribe","channel":"$SYS.>"}"#);
    assert_eq!(error.channel.as_deref(), Some("$SYS.>"));
    assert!(
        error.message.contains("may not start with `$`"),
        "{}",
        error.message
    );
}

#[test]
fn a_malformed_cursor_is_told_apart_and_its_field_named() {
    for (text, field) in [
        (
            r#"{"type":"subscribe","channel":"a","since":{"offset":-1,"epoch":"e"}}"#,
            "`since.offset`",
        ),
        (
            r#"{"type":"subscribe","channel":"a","since":{"offset":1}}"#,
            "`since`",
        ),
        (r#"{"type":"subscribe","channel":"a","since":"end"}"#, "`since`"),
        (
            r#"{"type":"subscribe","channel":"a","since":{"time":"noon"}}"#,
            "`since.time`",
        ),
        (
            r#"{"type":"history","channel":"a","before":{"offset":"1","epoch":"e"}}"#,
            "`before.offset`",
        ),
    ] {
        let error = json_error(text);
        assert_eq!(error.code, ErrorCode::BadCursor, "{text}");
        assert!(error.message.contains(field), "{}", error.message);
        let error = msgpack_error(&packed(&serde_json::from_str(text).unwrap()));
        assert_eq!(error.code, ErrorCode::BadCursor, "{text}");
        assert!(
            error.message.contains(field) && error.message.contains("byte"),
            "{}",
            error.message
        );
    }
    let error = json_error(r#"{"type":"subscribe","channel":"a","since":"beginning","latest":true}"#);
    assert_eq!(error.code, ErrorCode::BadMessage);
}

#[test]
fn the_id_is_repeated_from_a_message_that_breaks_off() {
    assert_eq!(json_error(r#"{"id":7,"type":"subscribe","channel":"#).id, Some(7));
    let mut body = packed(&serde_json::json!({"id": 7, "type": "ping", "x": "yz"}));
    body.pop();
    assert_eq!(msgpack_error(&body).id, Some(7));
    assert_eq!(json_error(r#"{"id":7,"type":"dance"}"#).id, Some(7));
    assert_eq!(
        json_error(r#"{"id":7,"type":"dance"}"#).code,
        ErrorCode::UnknownType
    );
}

#[test]
fn an_id_or_type_that_is_none_or_comes_twice_is_refused() {
    for text in [
        r#"{"type":"ping","id":-1}"#,
        r#"{"type":"ping","id":4294967296}"#,
        r#"{"type":"ping","id":"1"}"#,
        r#"{"type":"ping","id":[1]}"#,
        r#"{"type":5}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"id":1,"id":2,"type":"ping"}"#,
        "5",
        "null",
        "",
        " ",
        "[]",
        "{\"type\":\"ping\"} x",
        "\u{feff}{\"type\":\"ping\"}",
    ] {
        assert_eq!(json_error(text).code, ErrorCode::BadMessage, "{text}");
    }
}

#[test]
fn what_another_type_would_need_is_ignored() {
    let text = br#"{"type":"ping","channel":{"not":"a channel"},"since":5,"id":null,"token":[]}"#;
    let message = Codec::Json.decode_commands(text).remove(0).unwrap();
    assert_eq!(message, Command::Ping.into());
}

#[test]
fn each_command_of_a_batch_fails_alone_and_the_place_is_that_in_the_frame() {
    let text = "[{\"type\":\"ping\",\"id\":1},\n  5,\n  {\"id\":3,\"type\":\"refresh\",\"token\":false}]";
    let results = Codec::Json.decode_commands(text.as_bytes());
    assert_eq!(results[0].as_ref().unwrap().id, Some(1));
    assert!(
        results[1]
            .as_ref()
            .unwrap_err()
            .message
            .contains("line 2, column 3")
    );
    let error = results[2].as_ref().unwrap_err();
    assert_eq!(error.id, Some(3));
    assert!(error.message.contains("line 3, column 40"), "{}", error.message);

    let mut body = packed(&serde_json::json!({"type": "ping"}));
    body.extend(packed(
        &serde_json::json!({"id": 3, "token": false, "type": "refresh"}),
    ));
    let results = Codec::MessagePack.decode_commands(&body);
    assert!(results[0].is_ok());
    let error = results[1].as_ref().unwrap_err();
    assert!(error.message.contains("byte 22"), "{}", error.message);
}

#[test]
fn a_frame_with_too_many_commands_is_one_error() {
    let many = vec![r#"{"type":"ping"}"#; MAX_COMMANDS_PER_FRAME];
    assert_eq!(
        Codec::Json
            .decode_commands(format!("[{}]", many.join(",")).as_bytes())
            .len(),
        many.len()
    );
    let error = json_error(&format!("[{},1]", many.join(",")));
    assert_eq!(error.code, ErrorCode::Limit);
    let ping = packed(&serde_json::json!({"type": "ping"}));
    assert_eq!(
        Codec::MessagePack
            .decode_commands(&ping.repeat(MAX_COMMANDS_PER_FRAME))
            .len(),
        many.len()
    );
    assert_eq!(
        msgpack_error(&ping.repeat(MAX_COMMANDS_PER_FRAME + 1)).code,
        ErrorCode::Limit
    );
}

#[test]
fn a_message_quotes_no_more_than_its_bound() {
    let long = "é".repeat(100_000);
    for text in [
        format!(r#"{{"type":"{long}"}}"#),
        format!(r#"{{"type":"subscribe","channel":"a","since":"{long}"}}"#),
        format!("\"{long}\""),
    ] {
        assert!(
            json_error(&text).message.len() <= 512,
            "{}",
            json_error(&text).message.len()
        );
    }
}

#[test]
fn a_payload_of_null_is_a_payload() {
    let json = br#"{"type":"publish","channel":"a","payload":null}"#;
    let packed = packed(&serde_json::from_slice(json).unwrap());
    for (codec, body) in [(Codec::Json, &json[..]), (Codec::MessagePack, &packed)] {
        let message = codec.decode_commands(body).remove(0).unwrap();
        let Command::Publish(publish) = message.command else {
            panic!("a publish")
        };
        assert_eq!(publish.payload, Payload::from_json(&()).unwrap());
    }
}

#[test]
fn messagepack_that_json_cannot_say_is_refused() {
    // {"type": "publish", "channel": "a", "payload": …}
    let head = b"\x83\xa4type\xa7publish\xa7channel\xa1a\xa7payload";
    for (payload, what) in [
        (&b"\xcb\x7f\xf8\0\0\0\0\0\0"[..], "NaN"),
        (b"\xca\x7f\x80\0\0", "infinity"),
        (b"\xd4\x01\x00", "extension"),
        (b"\x91\xd7\xff\0\0\0\0\0\0\0\0", "extension"),
        (b"\x91\xc4\x01\x00", "binary"),
        (b"\x81\x01\x02", "key"),
        (b"\x81\xc4\x01a\x02", "key"),
        (b"\xa1\xff", "UTF-8"),
        (b"\xc1", "0xc1"),
        (b"\xdf\xff\xff\xff\xff", "ends"),
        (b"\xc6\xff\xff\xff\xff", "ends"),
        (&[0x91; 1 << 20], "nested"),
        (&[&[0x91; 129][..], b"\x01"].concat(), "nested"),
    ] {
        let error = msgpack_error(&[head, payload].concat());
        assert_eq!(error.code, ErrorCode::BadMessage);
        assert!(error.message.contains(what), "{what}: {}", error.message);
        assert!(error.message.contains("(byte "), "{}", error.message);
    }
    let deep = [head, &[0x91; 128][..], b"\x01"].concat();
    assert!(Codec::MessagePack.decode_commands(&deep)[0].is_ok());
}

#[test]
fn json_nested_too_deeply_is_refused_as_a_payload() {
    let nested = |depth: usize| {
        let payload = "[".repeat(depth) + &"]".repeat(depth);
        format!(r#"{{"type":"publish","channel":"a","payload":{payload}}}"#)
    };
    assert!(Codec::Json.decode_commands(nested(128).as_bytes())[0].is_ok());
    let error = json_error(&nested(129));
    assert!(
        error.message.contains("`payload`") && error.message.contains("128"),
        "{}",
        error.message
    );
    json_error(&nested(100_000));
    json_error(&"[".repeat(1 << 20));
    json_error(&"{\"id\":".repeat(1 << 18));
}

/// The `payload` of an update as MessagePack carries it, after its name.
fn packed_payload(json: &str) -> Vec<u8> {
    let channel = Channel::new("c").unwrap();
    let mut out = Vec::new();
    Codec::MessagePack.encode_update(&UpdateRef::new(&channel, PayloadRef::Json(json)), &mut out);
    let head = b"\x83\xa4type\xa6update\xa7channel\xa1c\xa7payload";
    out.strip_prefix(head).unwrap().to_vec()
}

#[test]
fn json_becomes_the_same_value_in_messagepack() {
    assert_eq!(
        packed_payload("{\"a\":[1,-1,true,null]}"),
        b"\x81\xa1a\x94\x01\xff\xc3\xc0"
    );
    assert_eq!(
        packed_payload("18446744073709551615"),
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
    );
    assert_eq!(
        packed_payload("18446744073709551616"),
        b"\xcb\x43\xf0\0\0\0\0\0\0"
    );
    assert_eq!(packed_payload("1.5"), b"\xcb\x3f\xf8\0\0\0\0\0\0");
    assert_eq!(packed_payload("\"\\u00e9\""), b"\xa2\xc3\xa9");
    // What has no value travels as its text.
    assert_eq!(packed_payload("[1e999]"), b"\xa7[1e999]");
    assert_eq!(packed_payload("\"\\ud800\""), b"\xa8\"\\ud800\"");
}

#[test]
fn containers_of_every_header_width_read_back() {
    for count in [0, 15, 16, 65_535, 65_536] {
        let array = serde_json::Value::from(vec![1; count]);
        assert_eq!(packed_payload(&array.to_string()), packed(&array));
        let map: serde_json::Map<_, _> = (0..count).map(|key| (format!("{key:05}"), 0.into())).collect();
        let nested = serde_json::json!([map, "end"]);
        assert_eq!(packed_payload(&nested.to_string()), packed(&nested));
    }
    let deep = "[".repeat(128) + &"]".repeat(128);
    assert_eq!(packed_payload(&deep).len(), 128);
}

#[test]
fn a_client_leaves_out_what_it_does_not_know() {
    let body =
        br#"[{"type":"pong","news":1},{"type":"confetti"},{"type":"error","code":"novel","message":"m"}]"#;
    let messages = Codec::Json.decode_server(body).unwrap();
    assert_eq!(messages.len(), 2);
    let error = ErrorMessage::new(ErrorCode::Internal, "m");
    assert_eq!(messages[1], Push::Error(error).into());
    assert!(Codec::Json.decode_server(br#"{"type":"update"}"#).is_err());
    assert!(Codec::MessagePack.decode_server(b"\x80").is_err());
}

#[test]
fn the_subprotocol_chooses_the_codec() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_subprotocol(codec.subprotocol()), Some(codec));
    }
    assert_eq!(Codec::from_subprotocol("graphql-ws"), None);
}
