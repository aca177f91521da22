//! Certificates are renewed while clients are there.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use tailwater_tests::authority::ALWAYS;
use tailwater_tests::edge::OPEN;
use tailwater_tests::{Authority, Edge, NatsServer, Process, eventually};

use crate::clients::{attempt, connect, subscribed};

const PING: &str = r#"{"type":"ping"}"#;

/// The certificate that somebody sees who comes now; nothing if it is none to be trusted.
async fn shown(authority: &Authority, address: SocketAddr) -> Option<CertificateDer<'static>> {
    let socket = attempt(&authority.client(&[&TLS13]), address).await.ok()?;
    let chain = socket.stream().get_ref().1.peer_certificates();
    chain.map(|chain| chain[0].clone().into_owned())
}

async fn is_shown(authority: &Authority, address: SocketAddr, file: &Path) {
    let expected = CertificateDer::from_pem_file(file).ok();
    eventually("the new certificate is in use", async || {
        (shown(authority, address).await == expected).then_some(())
    })
    .await;
}

async fn says(edge: &Process, part: &str) {
    eventually(part, async || edge.stderr().contains(part).then_some(())).await;
}

/// An edge without NATS in a process of its own.
async fn serve(authority: &Authority, more: &str) -> (Process, SocketAddr) {
    let config = format!("{OPEN}{}{more}\n", authority.edge_table());
    let (edge, ready) = Process::serve("nats://127.0.0.1:1", &config).await;
    let address = ready.address("ws");
    (edge, address)
}

#[tokio::test]
async fn new_clients_see_a_new_certificate_and_those_who_are_there_notice_nothing() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let config = format!("{OPEN}{}reload_secs = 1\n", authority.edge_table());
    let edge = Edge::start_with(nats.url(), &config).await;
    let address = edge.server().public_addr();
    let publisher = nats.client().await;
    let mut clients = Vec::new();
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        let socket = subscribed(connect(&config, address).await, &["a"]).await;
        clients.push((config, socket));
    }
    let before = shown(&authority, address).await;
    assert!(before.is_some());
    let (certificate, _) = authority.edge_files(ALWAYS);
    is_shown(&authority, address, &certificate).await;
    assert_ne!(shown(&authority, address).await, before);

    publisher.publish("a", "1".into()).await.unwrap();
    publisher.flush().await.unwrap();
    for (config, socket) in &mut clients {
        assert_eq!(socket.next_json().await["payload"], 1);
        assert_eq!(socket.ask(PING).await["type"], "pong");
        // Whoever has a ticket of before comes back with it.
        let again = subscribed(connect(config, address).await, &["a"]).await;
        let kind = again.stream().get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed));
    }
    edge.stop().await;
}

#[tokio::test]
async fn files_of_no_use_change_nothing_and_the_log_says_why_once() {
    let authority = Authority::new();
    let (edge, address) = serve(&authority, "reload_secs = 1").await;
    let (certificate, key) = authority.edge_files(ALWAYS);
    is_shown(&authority, address, &certificate).await;
    let good = [std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap()];
    let in_use = shown(&authority, address).await;
    assert!(in_use.is_some());

    let halves = [&good[0][..100], &good[1]];
    let other = Authority::new();
    let (other_certificate, _) = other.edge_files(ALWAYS);
    let strange = [&std::fs::read(other_certificate).unwrap()[..], &good[1]];
    let cases = [
        (halves, "which is no whole PEM: a section has no END line"),
        (strange, "which is not the key of the first certificate in"),
    ];
    for ([one, other], complaint) in cases {
        std::fs::write(&certificate, one).unwrap();
        std::fs::write(&key, other).unwrap();
        says(&edge, complaint).await;
        assert_eq!(shown(&authority, address).await, in_use);
    }
    for (days, complaint) in [
        (-20..-1, "which expired on "),
        (1..9, "which is not valid before "),
    ] {
        authority.edge_files(days);
        says(&edge, complaint).await;
        assert_eq!(shown(&authority, address).await, in_use);
    }
    std::fs::remove_file(&key).unwrap();
    says(&edge, "which cannot be read: No such file").await;
    // It is looked at again and again.
    let began = Instant::now();
    eventually("more looks", async || {
        (began.elapsed() > Duration::from_secs(5)).then_some(())
    })
    .await;
    let (certificate, _) = authority.edge_files(ALWAYS);
    is_shown(&authority, address, &certificate).await;

    let log = edge.stderr();
    let refused: Vec<_> = log.lines().filter(|line| line.contains("are refused")).collect();
    assert_eq!(refused.len(), 5, "{refused:#?}");
    assert!(
        refused.iter().all(|line| line.contains("\"level\":\"ERROR\"")),
        "{refused:#?}"
    );
    for line in String::from_utf8(good[1].clone()).unwrap().lines() {
        assert!(!log.contains(line), "the key is told");
    }
}

#[tokio::test]
async fn a_hangup_reads_the_files_at_once_and_says_what_it_found() {
    let authority = Authority::new();
    let (mut edge, address) = serve(&authority, "reload_secs = 86400").await;
    edge.signal(Signal::HUP);
    says(&edge, "nothing is new").await;
    let (certificate, key) = authority.edge_files(-1..40);
    edge.signal(Signal::HUP);
    is_shown(&authority, address, &certificate).await;
    says(&edge, "a new certificate is in use").await;
    let log = edge.stderr();
    let line = log
        .lines()
        .find(|line| line.contains("a new certificate is in use"));
    let line: serde_json::Value = serde_json::from_str(line.expect("said")).unwrap();
    assert_eq!(line["certificate"], certificate.to_str().unwrap());
    let (before, after) = (line["not_before"].as_str(), line["not_after"].as_str());
    assert!(
        before < after && after.is_some_and(|date| date.ends_with('Z')),
        "{line}"
    );

    // Asked twice, it says twice what is wrong.
    std::fs::write(&key, "nothing").unwrap();
    for times in 1..=2 {
        edge.signal(Signal::HUP);
        let complained = async || {
            let log = edge.stderr();
            (log.matches("holds no PRIVATE KEY").count() == times).then_some(())
        };
        eventually("a complaint", complained).await;
    }
    assert!(edge.is_running());
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_hangup_without_tls_ends_nothing() {
    let (mut edge, _) = Process::serve("nats://127.0.0.1:1", OPEN).await;
    edge.signal(Signal::HUP);
    says(&edge, "there is nothing to read again").await;
    assert!(edge.is_running());
}

#[tokio::test]
async fn links_that_are_replaced_as_kubernetes_does_it_are_followed_whatever_the_times_of_the_files() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let version = |number: u64| {
        let (certificate, key) = authority.edge_files(ALWAYS);
        let version = path(&format!("..{number}"));
        std::fs::create_dir(&version).unwrap();
        for (from, name) in [(certificate, "tls.crt"), (key, "tls.key")] {
            std::fs::copy(from, version.join(name)).unwrap();
            // Each version is older than the one before.
            let file = std::fs::File::open(version.join(name)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(number * 1000);
            file.set_modified(time).unwrap();
        }
        std::os::unix::fs::symlink(format!("..{number}"), path("..new")).unwrap();
        std::fs::rename(path("..new"), path("..data")).unwrap();
    };
    version(1);
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), path(name)).unwrap();
    }
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let table = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nreload_secs = 1\n");
    let edge = Edge::start_alone(&table).await;
    for number in 2..4 {
        version(number);
        is_shown(&authority, edge.server().public_addr(), &certificate).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_or_has_ended_is_warned_of_and_served() {
    for (days, warning) in [
        (-10..10, "expires within 14 days"),
        (-10..-1, "has expired"),
        (1..10, "is not valid yet"),
    ] {
        let authority = Authority::new();
        let table = authority.edge_table();
        authority.edge_files(days);
        let config = format!("{OPEN}{table}\nreload_secs = 1\n");
        let (edge, ready) = Process::serve("nats://127.0.0.1:1", &config).await;
        says(&edge, warning).await;
        // Renewed, nothing more is said.
        let (certificate, _) = authority.edge_files(ALWAYS);
        is_shown(&authority, ready.address("ws"), &certificate).await;
        let log = edge.stderr();
        let warnings = log
            .lines()
            .filter(|line| line.contains("\"WARN\"") && line.contains("certificate"));
        assert_eq!(warnings.count(), 1, "{log}");
    }
}
