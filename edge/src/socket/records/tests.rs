//! Records against rustls's own client, in memory: however the bytes are cut, the same comes out.

use std::io::{Read as _, Write as _};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::*;

/// A server's records and a client that trusts it, before the first byte.
fn pair(version: &'static SupportedProtocolVersion) -> (Records, ClientConnection) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").unwrap();
    (
        Records::new(Arc::new(server)).unwrap(),
        ClientConnection::new(Arc::new(client), name).unwrap(),
    )
}

fn from_client(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn to_client(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
        let _ = client.reader().read_to_end(&mut plaintext);
    }
    plaintext
}

fn take_unsent(records: &mut Records) -> Vec<u8> {
    let unsent = records.unsent().to_vec();
    records.advance(unsent.len());
    assert_eq!(
        (records.unsent.capacity(), records.sent),
        (0, 0),
        "nothing is kept of it"
    );
    unsent
}

fn shake_hands(records: &mut Records, client: &mut ClientConnection, cut: usize) {
    while records.is_handshaking() || client.is_handshaking() {
        for part in from_client(client).chunks_mut(cut) {
            records.decrypt(part, |_| panic!("no data yet")).unwrap();
        }
        let answer = take_unsent(records);
        assert_eq!(to_client(client, &answer), b"");
    }
}

fn encrypt(records: &mut Records, plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; plaintext.len() + 1024];
    let length = records.encrypt(plaintext, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn however_the_bytes_are_cut_the_same_data_comes_out_and_nothing_is_kept() {
    for version in [&TLS12, &TLS13] {
        for cut in [1, 2, 7, 100, 5000, 1_000_000] {
            let (mut records, mut client) = pair(version);
            shake_hands(&mut records, &mut client, cut);
            let sent: Vec<u8> = (0..40_000_u32).map(|index| index.to_be_bytes()[3]).collect();
            client.writer().write_all(&sent).unwrap();
            let mut received = Vec::new();
            for part in from_client(&mut client).chunks_mut(cut) {
                records
                    .decrypt(part, |bytes| received.extend_from_slice(bytes))
                    .unwrap();
                // What is incomplete keeps nobody from writing.
                if cut == 100 {
                    let record = encrypt(&mut records, b"meanwhile");
                    assert_eq!(to_client(&mut client, &record), b"meanwhile");
                }
            }
            assert_eq!(received, sent);
            assert_eq!(records.partial.capacity(), 0);
            let record = encrypt(&mut records, &sent[..20_000]);
            assert_eq!(to_client(&mut client, &record), &sent[..20_000]);
        }
    }
}

#[test]
fn a_hello_in_fragments_is_understood_and_closing_in_the_middle_of_it_says_nothing() {
    let (mut records, mut client) = pair(&TLS13);
    let hello = from_client(&mut client);
    assert_eq!(hello[0], 22);
    for part in hello[5..].chunks(50) {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        let mut record = [&hello[..3], &length, part].concat();
        records.decrypt(&mut record, |_| {}).unwrap();
        if records.unsent().is_empty() {
            records.close();
            assert!(records.encrypt(b"too early", &mut [0; 1024]).is_err());
            assert_eq!(records.unsent(), b"");
        }
    }
    let answer = take_unsent(&mut records);
    to_client(&mut client, &answer);
    assert!(!client.is_handshaking());
}

#[test]
fn a_message_without_end_is_refused() {
    let (mut records, _) = pair(&TLS13);
    // A hello that claims 64 KiB less one, a byte a record.
    let mut record = [22, 3, 1, 0, 1, 0];
    let mut fault = None;
    for byte in [1, 0, 255, 255].into_iter().chain(std::iter::repeat_n(0, 70_000)) {
        record[5] = byte;
        if let Err(error) = records.decrypt(&mut record.clone(), |_| {}) {
            fault = Some(error);
            break;
        }
        assert!(records.partial.len() <= PARTIAL_BYTES);
    }
    assert!(fault.is_some(), "nobody may make us keep more");
}

#[test]
fn a_record_that_was_changed_is_answered_with_an_alert_and_nothing_follows() {
    for version in [&TLS12, &TLS13] {
        let (mut records, mut client) = pair(version);
        shake_hands(&mut records, &mut client, 1_000_000);
        client.writer().write_all(b"first").unwrap();
        let mut bytes = from_client(&mut client);
        client.writer().write_all(b"second").unwrap();
        bytes.extend(from_client(&mut client));
        *bytes.last_mut().unwrap() ^= 1;
        let mut received = Vec::new();
        let fault = records.decrypt(&mut bytes, |bytes| received.extend_from_slice(bytes));
        assert!(matches!(fault, Err(Fault::Tls(_))), "{fault:?}");
        assert_eq!(received, b"first");
        let alert = take_unsent(&mut records);
        client.read_tls(&mut &alert[..]).unwrap();
        let told = client.process_new_packets();
        assert!(matches!(told, Err(rustls::Error::AlertReceived(_))), "{told:?}");
        records.close();
        assert_eq!(records.unsent(), b"");
        assert!(records.encrypt(b"more", &mut [0; 1024]).is_err());
    }
}

#[test]
fn the_end_is_said_once_and_heard() {
    for version in [&TLS12, &TLS13] {
        let (mut records, mut client) = pair(version);
        shake_hands(&mut records, &mut client, 1_000_000);
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let mut received = Vec::new();
        let mut bytes = from_client(&mut client);
        records
            .decrypt(&mut bytes, |bytes| received.extend_from_slice(bytes))
            .unwrap();
        assert_eq!(received, b"last");
        assert!(records.has_ended());
        // The other direction is open still (RFC 8446 section 6.1).
        let record = encrypt(&mut records, b"and goodbye");
        records.keep(&record);
        records.close();
        records.close();
        let rest = take_unsent(&mut records);
        assert_eq!(to_client(&mut client, &rest), b"and goodbye");
        assert_eq!(client.reader().read(&mut [0; 10]).unwrap(), 0, "a clean end");
    }
}
