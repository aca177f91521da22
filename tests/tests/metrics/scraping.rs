//! The admin listener's `/metrics`: who may read it, and that it says what the README says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use tailwater_edge::metrics;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{Edge, NatsServer, RawSocket, Scrape};

const README: &str = include_str!("../../../README.md");

/// A namespace that needs each connection to NATS that there may be.
const SERVICES: &str = "[namespace.services]\nchannels = \"services.>\"\nanonymous = true\nrequest = true\n";

/// The rows of the README's table: name, and kind, labels and question as they stand there.
fn documented() -> BTreeMap<String, Vec<String>> {
    let rows = README.lines().filter(|line| line.starts_with("| `tailwater_"));
    let cells = rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .map(str::to_owned)
    });
    let row = |mut cells: Vec<String>| (cells.remove(0).trim_matches('`').to_owned(), cells);
    cells.map(|cells| row(cells.collect())).collect()
}

#[test]
fn the_readme_has_the_table_of_the_code() {
    let table = metrics::reference();
    assert!(
        README.contains(&table),
        "put this into the README, section Metrics and traces:\n{table}"
    );
}

#[tokio::test]
async fn what_is_emitted_is_documented_and_what_is_documented_is_emitted() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{SERVICES}")).await;
    let scrape = Scrape::of(&edge).await;
    let documented = documented();
    let emitted: BTreeSet<&String> = scrape.kinds.keys().collect();
    assert_eq!(emitted, documented.keys().collect());
    for (name, cells) in &documented {
        assert_eq!(
            (&scrape.kinds[name], &scrape.questions[name]),
            (&cells[0], &cells[2]),
            "{name}"
        );
        let labels = cells[1].split("; ").filter(|label| !label.is_empty());
        let labels = labels.filter_map(|label| label.trim_start_matches('`').split_once('`'));
        let labels: BTreeSet<String> = labels.map(|(label, _)| label.to_owned()).collect();
        assert_eq!(scrape.labels(name), labels, "{name}");
    }
    edge.stop().await;
}

#[tokio::test]
#[ignore = "needs promtool, which `tests/run --full` fetches"]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(
        nats.url(),
        &format!("{OPEN}{SERVICES}[admin]\nopen_metrics = true\n"),
    )
    .await;
    let (_, text) = edge.admin("/metrics").await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut input = promtool.stdin.take().expect("an input");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let said = promtool.wait_with_output().expect("promtool ends");
    assert!(
        said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(),
        "{said:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn metrics_are_for_who_may_use_the_admin_listener_unless_they_are_open() {
    let token = "[admin]\ntoken = \"0123456789abcdef\"\n";
    let closed = Edge::start_alone(token).await;
    assert_eq!(closed.admin("/metrics").await.0, 401);
    let mut socket = RawSocket::open(closed.server().admin_addr()).await;
    let with_token = ["Host: localhost", "Authorization: Bearer 0123456789abcdef"];
    let response = socket.request("GET /metrics HTTP/1.1", &with_token).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    assert!(response.contains(kind), "{response}");

    let open = Edge::start_alone(&format!("{token}open_metrics = true\n")).await;
    assert_eq!(open.admin("/metrics").await.0, 200);
    assert_eq!(open.admin("/sessions").await.0, 401);
    let mut socket = RawSocket::open(open.server().admin_addr()).await;
    let response = socket
        .request("POST /metrics HTTP/1.1", &["Host: x", "Content-Length: 0"])
        .await;
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
}

#[tokio::test]
async fn each_handshake_is_counted_by_how_it_ended() {
    let nats = NatsServer::start().await;
    let limits = "[limits]\nhandshakes_per_address_per_sec = 1\nburst_secs = 5\n";
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{limits}")).await;
    let ask = async |path: &str, more: &[&str]| {
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        let headers = [&HANDSHAKE[..], more].concat();
        let response = socket.request(&format!("GET {path} HTTP/1.1"), &headers).await;
        (response[9..12].to_owned(), socket)
    };
    let attempt = async |more: &[&str]| ask("/ws", more).await;
    let (accepted, _socket) = attempt(&[]).await;
    assert_eq!(accepted, "101");
    for path in ["/ws", "/sse?channel=a", "/poll?channel=a"] {
        assert_eq!(
            ask(path, &["Origin: https://elsewhere.example"]).await.0,
            "403",
            "{path}"
        );
    }
    assert_eq!(attempt(&["Sec-WebSocket-Protocol: soap"]).await.0, "400");
    while attempt(&[]).await.0 != "429" {}
    let scrape = Scrape::of(&edge).await;
    let count = |result: &str| scrape.value("tailwater_handshakes_total", &format!("result=\"{result}\""));
    assert!(count("accepted") >= 1.0);
    assert_eq!(
        (count("forbidden"), count("bad_request"), count("rate_limited")),
        (3.0, 1.0, 1.0)
    );
    assert_eq!(
        (
            count("unauthenticated"),
            count("over_limit"),
            count("unavailable"),
            count("tls_failed")
        ),
        (0.0, 0.0, 0.0, 0.0)
    );
    edge.stop().await;
}
