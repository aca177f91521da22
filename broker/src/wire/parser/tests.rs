use proptest::prelude::*;

use super::*;

/// An event without its borrow, to compare.
fn owned(event: Event<'_>) -> String {
    match event {
        Event::Message(message) => format!(
            "{} {} {:?} {} {}",
            message.sid,
            message.subject.escape_ascii(),
            message.reply.map(|reply| reply.escape_ascii().to_string()),
            message.headers.as_bytes().escape_ascii(),
            message.payload.escape_ascii()
        ),
        other => format!("{other:?}"),
    }
}

/// Reads bytes that arrive in these pieces, as a connection does.
fn read(pieces: &[&[u8]]) -> (Vec<String>, Option<ProtocolError>) {
    let mut events = Vec::new();
    let mut buffer = Vec::new();
    let mut wanted = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if buffer.len() < wanted {
            continue;
        }
        let source = Bytes::from(std::mem::take(&mut buffer));
        let mut from = 0;
        loop {
            match parse(&source, from, 1_000_000) {
                Ok(Parsed::Event { event, end }) => {
                    assert!(end > from);
                    events.push(owned(event));
                    from = end;
                }
                Ok(Parsed::Incomplete { total }) => {
                    assert!(total > source.len());
                    wanted = total - from;
                    break;
                }
                Err(error) => return (events, Some(error)),
            }
        }
        buffer.extend_from_slice(&source[from..]);
    }
    (events, None)
}

fn events(bytes: &[u8]) -> Vec<String> {
    let (events, error) = read(&[bytes]);
    assert_eq!(error, None);
    events
}

fn error(bytes: &[u8]) -> Option<ProtocolError> {
    read(&[bytes]).1
}

#[test]
fn every_word_of_the_protocol_is_read() {
    let said = b"INFO {\"a\":1}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'Stale Connection'\r\nping\r\n\
        MSG a.b 9 5\r\nhello\r\nMSG a 10 re.ply 0\r\n\r\nHMSG a 11 12 15\r\nNATS/1.0\r\n\r\nabc\r\n\
        HMSG a 12 r 12 12\r\nNATS/1.0\r\n\r\n\r\nmsg  a\t13  1\r\n\n\r\n";
    let read = events(said);
    assert_eq!(read.len(), 11);
    assert_eq!(read[4], owned(Event::Error(b"Stale Connection")));
    assert_eq!(read[6], "9 a.b None  hello");
    assert_eq!(read[7], "10 a Some(\"re.ply\")  ");
    assert_eq!(read[8], "11 a None NATS/1.0\\r\\n\\r\\n abc");
    assert_eq!(read[9], "12 a Some(\"r\") NATS/1.0\\r\\n\\r\\n ");
    assert_eq!(read[10], "13 a None  \\n");
}

#[test]
fn what_a_publisher_puts_into_a_message_is_never_an_error() {
    for block in [
        &b"NATS/1.0\r\nK: \xe9\r\n\r\n"[..],
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/9.9\r\n\r\n",
        b"NATS/1.0 abc\r\n\r\n",
        b"\r\nMSG a 1 5\r\n",
        b"\0",
    ] {
        let mut said = format!("HMSG \u{e9} 1 {0} {0}\r\n", block.len()).into_bytes();
        said.extend_from_slice(block);
        said.extend_from_slice(b"\r\nPING\r\n");
        assert_eq!(events(&said).len(), 2);
    }
}

#[test]
fn what_no_server_sends_ends_the_connection() {
    assert_eq!(
        error(b"HTTP/1.1 400"),
        Some(ProtocolError::UnknownLine("HTTP/1.1 400".to_owned()))
    );
    assert_eq!(error(b"\r\n"), Some(ProtocolError::UnknownLine(String::new())));
    assert_eq!(error(b"MSG a 1 2\r\nabc\r\n"), Some(ProtocolError::MessageEnd));
    for line in [
        "MSG",
        "MSG a",
        "MSG a 1",
        "MSG a b 1",
        "MSG a 1 -1",
        "MSG a 1 b c d",
        "HMSG a 1 2",
        "HMSG a 1 3 2",
    ] {
        let malformed = ProtocolError::MessageLine(line.to_owned());
        assert_eq!(error(format!("{line}\r\n").as_bytes()), Some(malformed));
    }
    let size = 1_000_001;
    assert_eq!(
        error(b"MSG a 1 1000001\r\n"),
        Some(ProtocolError::MessageTooLarge {
            size,
            limit: 1_000_000
        })
    );
    assert_eq!(
        error(b"MSG a 1 18446744073709551615\r\n"),
        Some(ProtocolError::MessageTooLarge {
            size: u64::MAX,
            limit: 1_000_000
        })
    );
}

#[test]
fn a_line_has_a_length_limit_and_info_a_larger_one() {
    let mut line = b"MSG ".to_vec();
    line.resize(MAX_LINE + 2, b'a');
    assert_eq!(error(&line), Some(ProtocolError::LineTooLong(MAX_LINE)));
    line[..4].copy_from_slice(b"INFO");
    assert_eq!(error(&line), None);
    line.resize(MAX_INFO + 2, b'a');
    assert_eq!(error(&line), Some(ProtocolError::LineTooLong(MAX_INFO)));
}

#[test]
fn a_message_that_is_kept_is_copied_if_it_is_small_and_shared_if_it_is_large() {
    for (size, shared) in [(5, false), (SHARED, true)] {
        let payload = "x".repeat(size);
        let source = Bytes::from(format!("HMSG a.b 1 8 {}\r\nNATS/1.0{payload}\r\n", size + 8));
        let Ok(Parsed::Event {
            event: Event::Message(message),
            ..
        }) = parse(&source, 0, 1_000_000)
        else {
            panic!("a message");
        };
        let owned = message.to_owned();
        assert_eq!(
            (&owned.subject[..], &owned.header_block[..]),
            (&b"a.b"[..], &b"NATS/1.0"[..])
        );
        assert_eq!(&owned.payload[..], payload.as_bytes());
        assert_eq!(owned.payload.as_ptr() == message.payload.as_ptr(), shared);
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        "[a-z.]{1,9}",
        0..u64::MAX,
        proptest::option::of("[a-z]{1,9}"),
        any::<Vec<u8>>(),
        any::<Vec<u8>>(),
    );
    prop_oneof![
        Just(b"PING\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        "-ERR '[a-z ]{0,20}'\r\n".prop_map(String::into_bytes),
        (message, any::<bool>()).prop_map(|((subject, sid, reply, headers, payload), with_headers)| {
            let reply = reply.map(|reply| reply + " ").unwrap_or_default();
            let total = headers.len() + payload.len();
            let line = if with_headers {
                format!("HMSG {subject} {sid} {reply}{} {total}\r\n", headers.len())
            } else {
                format!("MSG {subject} {sid} {reply}{total}\r\n")
            };
            [line.as_bytes(), &headers, &payload, b"\r\n"].concat()
        }),
    ]
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_events(
        lines in proptest::collection::vec(line(), 0..8),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        rubbish in proptest::option::of(any::<Vec<u8>>()),
    ) {
        let mut bytes = lines.concat();
        let tail = rubbish.unwrap_or_default();
        bytes.extend_from_slice(&tail);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let (whole, whole_error) = read(&[&bytes]);
        let (split, split_error) = read(&pieces);
        prop_assert!(whole.len() >= lines.len());
        prop_assert_eq!(whole, split);
        prop_assert_eq!(whole_error.is_some(), split_error.is_some());
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&single).0.len(), read(&[&bytes]).0.len());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, word in "(MSG|HMSG|INFO|PING|-ERR|) ?") {
        read(&[&bytes]);
        read(&[word.as_bytes(), &bytes, b"\r\n"]);
    }

    #[test]
    fn any_message_line_is_read_without_panic(arguments in "[a0-9 \t\r]{0,40}", rest: Vec<u8>) {
        read(&[b"HMSG ", arguments.as_bytes(), b"\r\n", &rest]);
        read(&[b"MSG ", arguments.as_bytes(), b"\r\n", &rest]);
    }
}
