//! Who a client is that comes through a proxy, and who only says so.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{Authority, Edge, RawSocket, eventually, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{ATTACKER, HONEST, Honest, handshake, refusal};

/// The proxy is at [`ATTACKER`]'s address; who comes from elsewhere is a stranger.
const BEHIND: &str = "[proxy]\ntrusted = \"127.0.0.1\"\n[limits]\nconnections_per_address = 2\n";

#[tokio::test]
async fn clients_behind_a_proxy_are_limited_each_by_itself() {
    let edge = Edge::start_alone(BEHIND).await;
    let address = edge.server().public_addr();
    let through = async |forwarded: &str| {
        let header = format!("X-Forwarded-For: {forwarded}");
        handshake(ATTACKER, address, &[&header]).await
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(through("192.0.2.1").await.expect("there is room"));
    }
    let refused = through("192.0.2.1").await.err().expect("a place too many");
    assert_eq!(refusal(&refused), ("429", 5));
    // What the client sends itself, to be somebody else each time, stands on the left.
    for number in 0..5 {
        let forged = format!("198.51.100.{number}, 192.0.2.1");
        let refused = through(&forged).await.err().expect("a place too many");
        assert_eq!(refusal(&refused).0, "429", "{forged}");
    }
    for other in ["192.0.2.2", "2001:db8::1", "192.0.2.3, 127.0.0.1"] {
        held.push(through(other).await.expect(other));
    }
    // Of one IPv6 network all addresses are one.
    held.push(through("2001:db8::2").await.expect("the second"));
    assert!(through("2001:db8::3").await.is_err());
    held.clear();
    eventually("places come back", async || through("192.0.2.1").await.ok()).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_a_stranger_says_about_who_it_is_counts_for_nothing() {
    for header in ["x-forwarded-for", "forwarded"] {
        let config = BEHIND.replace("[proxy]\n", &format!("[proxy]\nheader = \"{header}\"\n"));
        let edge = Edge::start_alone(&config).await;
        let address = edge.server().public_addr();
        let mut held = Vec::new();
        for number in 0..10 {
            let forged = [
                format!("X-Forwarded-For: 192.0.2.{number}"),
                format!("Forwarded: for=192.0.2.{number}"),
            ];
            let connected = handshake(HONEST, address, &forged.each_ref().map(String::as_str)).await;
            assert_eq!(connected.is_ok(), number < 2, "connection {number}");
            held.extend(connected);
        }
        // The proxy's own clients are not kept out by that.
        let through = match header {
            "forwarded" => "Forwarded: for=192.0.2.1",
            _ => "X-Forwarded-For: 192.0.2.1",
        };
        assert!(handshake(ATTACKER, address, &[through]).await.is_ok());
        edge.stop().await;
    }
}

/// A header of the PROXY protocol, version 2, for a TCP connection.
fn proxy_header(source: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let (family, mut addresses) = match source.ip() {
        IpAddr::V4(address) => (0x11, [address.octets(), [127, 0, 0, 1]].concat()),
        IpAddr::V6(address) => (0x21, [address.octets(), [0; 16]].concat()),
    };
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(443_u16.to_be_bytes());
    // Something more, as proxies add it (a TLV of type 0x04).
    addresses.extend([4, 0, 3, 0, 0, 0]);
    header.push(family);
    header.extend(u16::try_from(addresses.len()).expect("it fits").to_be_bytes());
    header.extend(addresses);
    header
}

/// Connects through the proxy as this client.
async fn through_proxy(source: &str, address: SocketAddr) -> Result<RawSocket, String> {
    let mut socket = RawSocket::open_from(ATTACKER, address).await;
    socket
        .send(&proxy_header(source.parse().expect("an address")))
        .await;
    match socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await {
        head if head.starts_with("HTTP/1.1 101 ") => Ok(socket),
        head => Err(head),
    }
}

const PROTOCOL: &str = "[proxy]\ntrusted = \"127.0.0.1\"\nprotocol = true\n\
    [limits]\nconnections_per_address = 2\n[websocket]\nheader_timeout_secs = 2\n";

#[tokio::test]
async fn the_proxy_protocol_names_the_client() {
    let edge = Edge::start_alone(PROTOCOL).await;
    let address = edge.server().public_addr();
    let mut held = Vec::new();
    for port in [1, 2] {
        let source = format!("192.0.2.1:{port}");
        held.push(through_proxy(&source, address).await.expect("there is room"));
    }
    let refused = through_proxy("192.0.2.1:3", address).await.err();
    assert_eq!(refusal(&refused.expect("a place too many")), ("429", 5));
    for other in ["192.0.2.2:1", "[2001:db8::1]:1"] {
        held.push(through_proxy(other, address).await.expect(other));
    }
    for socket in &mut held {
        assert_eq!(socket.next_json().await["type"], "connected");
    }
    // Others connect without it, and it is not believed from them.
    Honest::connect(address).await.is_served().await;
    let mut stranger = RawSocket::open_from(HONEST, address).await;
    stranger.send(&proxy_header("192.0.2.9:1".parse().unwrap())).await;
    let answer = String::from_utf8(stranger.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn a_proxy_that_sends_no_header_of_version_2_in_time_is_cut_and_others_are_served() {
    let edge = Edge::start_alone(PROTOCOL).await;
    let address = edge.server().public_addr();
    let mut honest = Honest::connect(address).await;
    let whole = proxy_header("192.0.2.1:1".parse().unwrap());
    let mut too_long = whole.clone();
    too_long[14..16].copy_from_slice(&[0xff, 0xff]);
    let mut shorter_than_its_addresses = whole.clone();
    shorter_than_its_addresses[14..16].copy_from_slice(&[0, 4]);
    let at_once: [&[u8]; 5] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"GET /ws HTTP/1.1\r\nHost: edge\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0",
        &too_long,
        &shorter_than_its_addresses,
    ];
    for bytes in at_once {
        let began = Instant::now();
        let mut socket = RawSocket::open_from(ATTACKER, address).await;
        socket.send(bytes).await;
        assert_eq!(socket.read_to_end().await, b"");
        assert!(began.elapsed() < Duration::from_millis(1900), "{bytes:?}");
        honest.is_served().await;
    }
    for part in [0, 5, 13, 16, whole.len() - 1] {
        let began = Instant::now();
        let mut socket = RawSocket::open_from(ATTACKER, address).await;
        socket.send(&whole[..part]).await;
        assert_eq!(socket.read_to_end().await, b"");
        let lasted = began.elapsed();
        let bounds = Duration::from_millis(1900)..Duration::from_secs(8);
        assert!(bounds.contains(&lasted), "{part} bytes: {lasted:?}");
        honest.is_served().await;
    }
    // A health check of the proxy itself.
    let mut local = RawSocket::open_from(ATTACKER, address).await;
    local.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    assert!(
        local
            .request("GET /ws HTTP/1.1", &HANDSHAKE)
            .await
            .starts_with("HTTP/1.1 101 ")
    );
    edge.stop().await;
}

#[tokio::test]
async fn the_proxy_protocol_stands_before_tls() {
    let authority = Authority::new();
    let trust = authority.client(&[&rustls::version::TLS13]);
    let edge = Edge::start_alone(&format!("{PROTOCOL}{}", authority.edge_table())).await;
    let address = edge.server().public_addr();
    let mut held = Vec::new();
    for number in 0..3 {
        let mut tcp = soon("a connection", TcpStream::connect(address)).await.unwrap();
        let source = "192.0.2.1:1".parse().unwrap();
        tcp.write_all(&proxy_header(source)).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connecting = tokio_rustls::TlsConnector::from(trust.clone()).connect(name, tcp);
        let mut socket = RawSocket::over(soon("a TLS handshake", connecting).await.unwrap());
        let head = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
        let status = if number < 2 { "101" } else { "429" };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        held.push(socket);
    }
    edge.stop().await;
}
