//! What operators and clients give us in confidence appears in no log, at no level, and in no answer. What a
//! configuration says is tested beside it.

/// Credentials as `nsc` makes them.
mod nats_credentials {
    pub(crate) mod jwt;
}

use std::path::Path;

use futures_util::future::join_all;
use nats_credentials::jwt::Operator;
use nkeys::KeyPair;
use rustix::process::Signal;
use tailwater_tests::authority::ALWAYS;
use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{config_file, run};
use tailwater_tests::raw_socket::{HANDSHAKE, frame, get};
use tailwater_tests::{Authority, NatsProcess, Process, RawSocket, eventually};

/// In every secret that may be any text.
const MARK: &str = "Xylophone7";

/// Everything there is to say, also by the libraries.
const LOUD: &str = "[log]\nlevel = \"trace,async_nats=trace\"\n";

#[track_caller]
fn tells_nothing(secrets: &[String], output: &str) {
    for secret in secrets.iter().map(String::as_str).chain([MARK]) {
        let found = output.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} is told");
    }
}

/// The lines of a PEM file.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("text");
    let is_content = |line: &&str| !line.starts_with("-----");
    text.lines().filter(is_content).map(str::to_owned).collect()
}

/// One way to say who we are to NATS: the lines of `[nats]`, and a nats-server that lets these in.
struct Form {
    nats: String,
    server: String,
    secrets: Vec<String>,
}

/// Every form of credentials, each given and in a file.
fn forms(folder: &Path) -> Vec<Form> {
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a file");
        path
    };
    let mut forms = Vec::new();
    let mut add = |key: &str, secret: &str, more: &str, server: String| {
        let file = write(key, &format!("{secret}\n"));
        for nats in [format!("{key} = {secret:?}"), format!("{key}_file = {file:?}")] {
            forms.push(Form {
                nats: format!("{nats}\n{more}"),
                server: server.clone(),
                secrets: vec![secret.to_owned()],
            });
        }
    };
    let secret = format!("{MARK}-secret");
    let password = format!("authorization: {{ user: edge, password: {secret:?} }}");
    add("password", &secret, "user = \"edge\"", password);
    add(
        "token",
        &secret,
        "",
        format!("authorization: {{ token: {secret:?} }}"),
    );
    let key = KeyPair::new_user();
    let users = format!("authorization: {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let seed = key.seed().expect("a new key has its seed");
    add("nkey_seed", &seed, "", users);
    let operator = Operator::new();
    let (seed, text) = operator.user();
    let jwt = text.lines().nth(1).expect("the second line").to_owned();
    forms.push(Form {
        nats: format!("credentials_file = {:?}", write("edge.creds", &text)),
        server: operator.server_config(),
        secrets: vec![seed, jwt],
    });
    forms
}

/// Runs an edge with this form, over TLS, until it knows whether NATS takes it; then its key is broken, and it stops.
async fn nothing_is_told(form: &Form, nats: &str, is_accepted: bool) {
    let authority = Authority::new();
    let (certificate, key) = authority.edge_files(ALWAYS);
    let nats_table = format!("[nats]\nconnect_timeout_secs = 2\n{}\n", form.nats);
    let tls_table = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let config = format!("{nats_table}{LOUD}{OPEN}{tls_table}");
    let secrets = [&form.secrets[..], &lines(&key)].concat();

    let (mut edge, ready) = Process::serve(nats, &config).await;
    tells_nothing(&secrets, &ready.0.to_string());
    let admin = ready.address("admin");
    eventually("the edge knows how NATS is", async || {
        let status = get(admin, "/readyz").await.0;
        let is_refused = edge.stderr().contains("NATS cannot be reached");
        (if is_accepted { status == 200 } else { is_refused }).then_some(())
    })
    .await;
    for path in ["/livez", "/readyz", "/nothing", "/metrics"] {
        tells_nothing(&secrets, &get(admin, path).await.1);
    }
    let text = std::fs::read_to_string(&key).expect("text");
    std::fs::write(&key, &text[..text.len() - 30]).expect("a file");
    edge.signal(Signal::HUP);
    eventually("the broken key is refused", async || {
        edge.stderr().contains("are refused").then_some(())
    })
    .await;
    edge.signal(Signal::TERM);
    edge.end().await;
    let log = edge.stderr();
    assert!(log.contains("\"TRACE\"") && log.contains("\"DEBUG\""), "{log}");
    tells_nothing(&secrets, &log);

    std::fs::write(&key, &text).expect("a file");
    let file = config_file(&config.replace("[nats]", &format!("[nats]\nurl = {nats:?}")));
    let path = file.path().to_str().expect("text");
    let checked = run(["check", "--config", path]).await;
    assert_eq!(checked.code, Some(if is_accepted { 0 } else { 1 }), "{checked:?}");
    tells_nothing(&secrets, &format!("{}{}", checked.stdout, checked.stderr));
}

#[tokio::test]
async fn an_edge_tells_no_secret_whether_nats_takes_it_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let refusing = NatsProcess::start("authorization: { user: other, password: other }").await;
    let forms = forms(folder.path());
    let runs = forms.iter().map(async |form| {
        let accepting = NatsProcess::start(&form.server).await;
        nothing_is_told(form, &accepting.url(), true).await;
        nothing_is_told(form, &refusing.url(), false).await;
    });
    join_all(runs).await;
}

#[tokio::test]
async fn what_clients_prove_themselves_with_is_neither_logged_nor_sent_back() {
    let (mut edge, ready) = Process::serve("nats://127.0.0.1:1", &format!("{LOUD}{OPEN}")).await;
    let address = ready.address("ws");
    let in_places = [
        format!("Authorization: Bearer {MARK}"),
        format!("Cookie: session={MARK}; token={MARK}"),
        format!("Sec-WebSocket-Protocol: tailwater.v1.json, tailwater.bearer.{MARK}"),
    ];
    let headers: Vec<_> = HANDSHAKE
        .into_iter()
        .chain(in_places.iter().map(String::as_str))
        .collect();
    let mut answers = String::new();

    // In all places of a handshake, and in messages that are right, wrong, or none.
    let messages = [
        format!("{{\"type\":\"connect\",\"token\":\"{MARK}\",\"id\":1}}"),
        format!("{{\"type\":\"refresh\",\"token\":\"{MARK}\",\"id\":2}}"),
        format!("{{\"type\":\"connect\",\"token\":[\"{MARK}\"],\"id\":3}}"),
        format!("{{\"type\":\"connect\",\"token\":\"{MARK}"),
    ];
    for message in &messages {
        let mut socket = RawSocket::open(address).await;
        let head = socket
            .request(&format!("GET /ws?token={MARK} HTTP/1.1"), &headers)
            .await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        answers += &head;
        socket.send(&frame(0x81, message.as_bytes())).await;
        // Ends the session, after whatever it has to say.
        socket.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
        answers += &String::from_utf8_lossy(&socket.read_to_end().await);
    }

    // Handshakes and requests that are refused.
    let only = [
        "Connection: close",
        "Host: edge",
        &in_places[0],
        &in_places[1],
        &in_places[2],
    ];
    let lines = [
        "GET /ws?token=MARK HTTP/1.1",
        "GET /nothing?token=MARK HTTP/1.1",
        "POST /publish?token=MARK HTTP/1.1",
        "GET /ws?token=MARK\u{1} HTTP/1.1",
        "GET /ws?token=MARK HTTP/7.7",
    ];
    for line in lines {
        let mut socket = RawSocket::open(address).await;
        answers += &socket.request(&line.replace("MARK", MARK), &only).await;
        answers += &String::from_utf8_lossy(&socket.read_to_end().await);
    }
    let unknown = format!("Sec-WebSocket-Protocol: tailwater.bearer.{MARK}");
    let headers: Vec<_> = HANDSHAKE
        .into_iter()
        .chain([unknown.as_str(), "Connection: close"])
        .collect();
    let mut socket = RawSocket::open(address).await;
    answers += &socket.request("GET /ws HTTP/1.1", &headers).await;

    tells_nothing(&[], &answers);
    edge.signal(Signal::TERM);
    edge.end().await;
    tells_nothing(&[], &edge.stderr());
}
