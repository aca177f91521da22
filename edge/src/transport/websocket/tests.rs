use tailwater_protocol::deflate::deflate;

use super::*;

/// A client's frame, masked.
pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match body.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(
        body.iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

fn read(limit: usize, bytes: &[u8]) -> (Vec<Inbound>, Result<(), Violation>) {
    let mut messages = Vec::new();
    let result = MessageReader::new(limit, false).read(bytes, &mut messages);
    (messages, result)
}

fn text(body: &'static str) -> Inbound {
    Inbound::Text(Bytes::from_static(body.as_bytes()))
}

#[test]
fn messages_come_whole_however_the_bytes_are_cut() {
    let mut bytes = frame(0x81, b"one");
    bytes.extend(frame(0x01, b"tw"));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x80, "ö".as_bytes()));
    bytes.extend(frame(0x82, &[7; 300]));
    for step in 1..bytes.len() {
        let mut reader = MessageReader::new(1000, false);
        let mut messages = Vec::new();
        for piece in bytes.chunks(step) {
            reader.read(piece, &mut messages).unwrap();
        }
        let binary = Inbound::Binary(Bytes::from_static(&[7; 300]));
        let ping = Inbound::Ping(Bytes::from_static(b"ping"));
        assert_eq!(
            messages,
            [text("one"), ping, text("twö"), binary],
            "cut every {step} bytes"
        );
        assert_eq!(reader.partial.capacity(), 0, "a silent session holds no buffer");
    }
}

#[test]
fn a_violation_has_the_close_code_of_the_rfc_and_spares_what_came_before() {
    let unmasked = vec![0x81, 2, b'h', b'i'];
    let mut long_text = frame(0x01, &[b'a'; 60]);
    long_text.extend(frame(0x00, &[b'a'; 60]));
    let mut interleaved = frame(0x01, b"a");
    interleaved.extend(frame(0x81, b"b"));
    let mut cut_character = frame(0x01, &"ö".as_bytes()[..1]);
    cut_character.extend(frame(0x00, b"x"));
    let cases: [(&str, Vec<u8>, u16); 13] = [
        ("unmasked", unmasked, 1002),
        ("reserved bit", frame(0xC1, b"x"), 1002),
        ("reserved opcode", frame(0x83, b"x"), 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("long close", frame(0x88, &[0; 126]), 1002),
        ("half a close code", frame(0x88, &[3]), 1002),
        ("illegal close code", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("interleaved", interleaved, 1002),
        ("invalid text", frame(0x81, &[0xff]), 1007),
        ("invalid fragmented text", cut_character, 1007),
        ("fragments beyond the limit", long_text, 1009),
    ];
    for (name, bytes, code) in cases {
        let mut all = frame(0x81, b"before");
        all.extend(bytes);
        let (messages, result) = read(100, &all);
        assert_eq!(messages.first(), Some(&text("before")), "{name}");
        assert_eq!(result.unwrap_err().code.code(), code, "{name}");
    }
}

/// `Hello` as RFC 7692 section 7.2.3.1 has it.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn inflated(limit: usize, bytes: &[u8]) -> Vec<Result<Vec<u8>, Violation>> {
    let mut messages = Vec::new();
    let result = MessageReader::new(limit, true).read(bytes, &mut messages);
    let mut read: Vec<_> = messages
        .into_iter()
        .map(|message| match message {
            Inbound::Deflated(deflated) => deflated.inflate(limit),
            Inbound::Text(body) | Inbound::Binary(body) => Ok(body.to_vec()),
            other => panic!("{other:?}"),
        })
        .collect();
    read.extend(result.err().map(Err));
    read
}

#[test]
fn compressed_messages_come_whole_however_the_bytes_are_cut() {
    let mut bytes = frame(0xC1, &HELLO);
    bytes.extend(frame(0x81, b"plain"));
    // In two fragments (section 7.2.3.1), with a ping between them.
    bytes.extend(frame(0x41, &HELLO[..3]));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x80, &HELLO[3..]));
    bytes.extend(frame(0xC2, &HELLO));
    for step in 1..=bytes.len() {
        let mut reader = MessageReader::new(1000, true);
        let mut messages = Vec::new();
        for piece in bytes.chunks(step) {
            reader.read(piece, &mut messages).unwrap();
        }
        let hello = |text| Inbound::of(text, true, Bytes::from_static(&HELLO));
        let ping = Inbound::Ping(Bytes::from_static(b"ping"));
        let all = [hello(true), text("plain"), ping, hello(true), hello(false)];
        assert_eq!(messages, all, "cut every {step} bytes");
        assert_eq!(reader.partial.capacity(), 0, "a silent session holds no buffer");
    }
    assert_eq!(inflated(7, &frame(0xC1, &HELLO)), [Ok(b"Hello".to_vec())]);
}

#[test]
fn a_compressed_message_that_cannot_be_taken_has_a_close_code_of_its_own() {
    let mut continued = frame(0x41, &HELLO[..3]);
    continued.extend(frame(0xC0, &HELLO[3..]));
    let mut interleaved = frame(0x41, &HELLO[..3]);
    interleaved.extend(frame(0xC1, &HELLO));
    let mut long = frame(0x41, &[0; 60]);
    long.extend(frame(0x80, &[0; 60]));
    let latin = "é".repeat(600).as_bytes()[1..].to_vec();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("marked continuation", continued, 1002),
        ("marked ping", frame(0xC9, b""), 1002),
        ("another reserved bit", frame(0xE1, &HELLO), 1002),
        ("interleaved", interleaved, 1002),
        ("not UTF-8", frame(0xC1, &deflate(&latin).unwrap()), 1007),
        ("no DEFLATE data", frame(0xC1, b"Hello"), 1007),
        ("cut DEFLATE data", frame(0xC1, &HELLO[..4]), 1007),
        ("a bomb", frame(0xC1, &deflate(&[b'a'; 5000]).unwrap()), 1009),
        ("fragments beyond the limit", long, 1009),
    ];
    for (name, bytes, code) in cases {
        let mut all = frame(0x81, b"before");
        all.extend(bytes);
        let read = inflated(if code == 1009 { 100 } else { 2000 }, &all);
        assert_eq!(read.len(), 2, "{name}");
        assert_eq!(read[0], Ok(b"before".to_vec()), "{name}");
        assert_eq!(read[1].as_ref().unwrap_err().code.code(), code, "{name}");
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
    let mut header = vec![0x82, 0x80 | 127];
    header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    assert_eq!(read(100, &header).1.unwrap_err().code, CloseCode::TooLarge);
    assert!(read(100, &frame(0x82, &[0; 100])).1.is_ok());
    assert_eq!(
        read(100, &frame(0x82, &[0; 101])).1.unwrap_err().code,
        CloseCode::TooLarge
    );
}

#[test]
fn a_close_gives_its_code() {
    assert_eq!(read(100, &frame(0x88, &[])).0, [Inbound::Close(None)]);
    assert_eq!(
        read(100, &frame(0x88, &1000_u16.to_be_bytes())).0,
        [Inbound::Close(Some(1000))]
    );
    assert_eq!(
        read(100, &frame(0x88, &4242_u16.to_be_bytes())).0,
        [Inbound::Close(Some(4242))]
    );
}
