//! Every way in which NATS asks who we are, with the right answer and with wrong ones: the right one
//! works, the wrong one is explained by `tailwater check`, and no secret is ever printed.

/// What the tests need that an operator would make with `nsc` and `openssl`.
mod nats_credentials {
    pub(crate) mod jwt;
}

use nats_credentials::jwt::Operator;
use nkeys::KeyPair;
use rustix::process::Signal;
use tailwater_edge::client::Client;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::{LostReason, Push};
use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{Finished, config_file, run};
use tailwater_tests::{
    Authority, Edge, NatsProcess, Process, eventually, next, next_update, raw_socket, soon, subscribe,
    subscriber,
};

/// Open namespaces, and `nats` below `[nats]`.
fn config(nats: &str) -> String {
    format!("[nats]\nconnect_timeout_secs = 2\nreconnect_max_delay_secs = 1\n{nats}\n{OPEN}")
}

async fn check(url: &str, nats: &str) -> Finished {
    let file = config_file(&config(&format!("url = \"{url}\"\n{nats}")));
    run(["check", "--config", file.path().to_str().expect("text")]).await
}

/// `check` finds nothing wrong, and publications travel both ways.
async fn works(url: &str, nats: &str) {
    let checked = check(url, nats).await;
    assert_eq!(
        (checked.code, checked.stderr.as_str()),
        (Some(0), ""),
        "{checked:?}"
    );
    let edge = Edge::start_with(url, &config(nats)).await;
    let mut client = subscriber(&edge, None, &["chat.a"]).await;
    let body = br#"{"type":"publish","channel":"chat.a","payload":1}"#;
    client.send_body(body).await.expect("the connection lives");
    let mut kinds = [next(&mut client).await.kind(), next(&mut client).await.kind()];
    kinds.sort_unstable();
    assert_eq!(kinds, ["published", "update"]);
    edge.stop().await;
}

/// `check` says why in one line, an edge does not get ready but stays, and none of them tells a secret.
async fn is_refused(url: &str, nats: &str, reason: &str, secrets: &[&str]) {
    let checked = check(url, nats).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(checked.stderr.lines().count(), 1, "{}", checked.stderr);
    assert!(
        checked.stderr.contains(url) && checked.stderr.contains(reason),
        "{}",
        checked.stderr
    );
    let more = "[log]\nlevel = \"trace\"\n";
    let (mut edge, ready) = Process::serve(url, &(config(nats) + more)).await;
    eventually("the log says that NATS does not let us in", async || {
        edge.stderr().contains("NATS cannot be reached").then_some(())
    })
    .await;
    assert_eq!(raw_socket::get(ready.address("admin"), "/readyz").await.0, 503);
    assert!(edge.is_running());
    edge.signal(Signal::TERM);
    edge.end().await;
    for secret in secrets {
        for output in [&checked.stdout, &checked.stderr, &edge.stderr()] {
            assert!(!output.contains(secret), "{secret} is told: {output}");
        }
    }
}

async fn refused(client: &mut Client, channel: &str) -> ErrorMessage {
    client
        .send(Some(1), subscribe(channel))
        .await
        .expect("the connection lives");
    match next(client).await.body {
        ServerBody::Push(Push::Error(error)) => error,
        other => panic!("expected an error, got {other:?}"),
    }
}

#[tokio::test]
async fn user_and_password_let_us_in_and_a_wrong_password_does_not() {
    let nats = NatsProcess::start("authorization: { user: edge, password: right-secret }").await;
    works(&nats.url(), "user = \"edge\"\npassword = \"right-secret\"").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "right-secret\n").unwrap();
    works(
        &nats.url(),
        &format!("user = \"edge\"\npassword_file = {:?}", file.path()),
    )
    .await;
    let wrong = "user = \"edge\"\npassword = \"wrong-secret\"";
    is_refused(&nats.url(), wrong, "authorization violation", &["wrong-secret"]).await;
    is_refused(&nats.url(), "", "authorization violation", &[]).await;
}

#[tokio::test]
async fn a_token_lets_us_in_and_a_wrong_one_does_not() {
    let nats = NatsProcess::start("authorization: { token: right-secret }").await;
    works(&nats.url(), "token = \"right-secret\"").await;
    is_refused(
        &nats.url(),
        "token = \"wrong-secret\"",
        "authorization violation",
        &["wrong-secret"],
    )
    .await;
}

#[tokio::test]
async fn an_nkey_lets_us_in_and_a_strange_one_does_not() {
    let (key, strange) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization: {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let nats = NatsProcess::start(&users).await;
    let seed = |key: &KeyPair| key.seed().unwrap();
    works(&nats.url(), &format!("nkey_seed = \"{}\"", seed(&key))).await;
    let wrong = format!("nkey_seed = \"{}\"", seed(&strange));
    is_refused(&nats.url(), &wrong, "authorization violation", &[&seed(&strange)]).await;
}

#[tokio::test]
async fn a_credentials_file_lets_us_in_and_one_of_another_operator_does_not() {
    let (operator, other) = (Operator::new(), Operator::new());
    let nats = NatsProcess::start(&operator.server_config()).await;
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (
        folder.path().join("right.creds"),
        folder.path().join("wrong.creds"),
    );
    let (_, text) = operator.user();
    std::fs::write(&right, text).unwrap();
    works(&nats.url(), &format!("credentials_file = {right:?}")).await;
    let (seed, text) = other.user();
    std::fs::write(&wrong, text).unwrap();
    let file = format!("credentials_file = {wrong:?}");
    is_refused(&nats.url(), &file, "authorization violation", &[&seed]).await;
}

#[tokio::test]
async fn a_credentials_file_that_is_none_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.creds");
    std::fs::write(
        &path,
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    )
    .unwrap();
    let file = config_file(&config(&format!(
        "url = \"nats://127.0.0.1:1\"\ncredentials_file = {path:?}"
    )));
    let file = file.path().to_str().unwrap();
    for finished in [
        run(["check", "--config", file]).await,
        run([
            "serve",
            "--config",
            file,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .await,
    ] {
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let said = finished.stderr.lines().last().unwrap_or_default();
        assert!(
            said.contains("edge.creds") && said.contains("cannot be used"),
            "{}",
            finished.stderr
        );
        assert!(!finished.stderr.contains("SUACSSL3"), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let nats = NatsProcess::start(&authority.nats_block("")).await;
    let url = nats.url().replace("nats://", "tls://");
    let trust = |authority: &Authority| format!("tls.ca_file = {:?}", authority.certificate());
    works(&url, &trust(&authority)).await;
    // The server asks for TLS by itself.
    works(&nats.url(), &trust(&authority)).await;
    is_refused(&url, &trust(&other), "certificate", &[]).await;
    is_refused(&url, "", "certificate", &[]).await;
}

#[tokio::test]
async fn tls_that_is_required_is_not_replaced_by_plain_text() {
    let nats = NatsProcess::start("authorization: { token: plain-secret }").await;
    let required = "token = \"plain-secret\"\ntls.required = true";
    is_refused(&nats.url(), required, "does not offer TLS", &["plain-secret"]).await;
}

#[tokio::test]
async fn tls_before_the_first_byte_works_where_the_server_wants_it() {
    let authority = Authority::new();
    let nats = NatsProcess::start(&authority.nats_block("handshake_first: true")).await;
    let url = nats.url().replace("nats://", "tls://");
    let trust = format!("tls.ca_file = {:?}\ntls.first = true", authority.certificate());
    works(&url, &trust).await;
}

#[tokio::test]
async fn a_client_certificate_lets_us_in_and_none_or_a_strange_one_does_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let nats = NatsProcess::start(&authority.nats_block("verify: true")).await;
    let url = nats.url().replace("nats://", "tls://");
    let trust = format!("tls.ca_file = {:?}", authority.certificate());
    let with = |authority: &Authority| {
        let (certificate, key) = authority.client_files();
        format!("{trust}\ntls.cert_file = {certificate:?}\ntls.key_file = {key:?}")
    };
    works(&url, &with(&authority)).await;
    is_refused(&url, &trust, "fatal alert", &[]).await;
    is_refused(&url, &with(&other), "fatal alert", &[]).await;
}

#[tokio::test]
async fn renewed_files_are_used_at_the_next_connection() {
    let (authority, next) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let hand_out = |authority: &Authority| {
        let (certificate, key) = authority.client_files();
        std::fs::copy(authority.certificate(), path("ca.pem")).unwrap();
        std::fs::copy(certificate, path("edge.pem")).unwrap();
        std::fs::copy(key, path("edge.key")).unwrap();
    };
    hand_out(&authority);
    let nats = NatsProcess::start(&authority.nats_block("verify: true")).await;
    let tls = format!(
        "tls.ca_file = {:?}\ntls.cert_file = {:?}\ntls.key_file = {:?}",
        path("ca.pem"),
        path("edge.pem"),
        path("edge.key")
    );
    let edge = Edge::start_with(&nats.url(), &config(&tls)).await;
    let mut client = subscriber(&edge, None, &["chat.a"]).await;
    hand_out(&next);
    let port = nats.kill();
    let is = async |status| (edge.admin("/readyz").await.0 == status).then_some(());
    eventually("NATS is away", async || is(503).await).await;
    let _nats = NatsProcess::start_on(port, &next.nats_block("verify: true")).await;
    // All of its connections.
    eventually("NATS is back", async || is(200).await).await;
    let body = br#"{"type":"publish","channel":"chat.a","payload":1,"id":1}"#;
    client.send_body(body).await.expect("the connection lives");
    let mut seen = Vec::new();
    while !(seen.contains(&"published") && seen.contains(&"update")) {
        seen.push(tailwater_tests::next(&mut client).await.kind());
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_a_mistake_in_the_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a certificate").unwrap();
    let path = file.path().to_str().unwrap();
    let checked = check("nats://127.0.0.1:1", &format!("tls.ca_file = {path:?}")).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    for part in ["nats.tls.ca_file", path, "holds no CERTIFICATE"] {
        assert!(checked.stderr.contains(part), "{part}: {}", checked.stderr);
    }
}

/// A user that may do everything but with `secret.>`.
const RESTRICTED: &str = r#"authorization: { users: [ { user: edge, password: p, permissions: {
    publish: { deny: "secret.>" }, subscribe: { deny: "secret.>" } } } ] }"#;
const RESTRICTED_USER: &str = "user = \"edge\"\npassword = \"p\"\n";

#[tokio::test]
async fn a_subject_that_nats_refuses_is_an_error_for_its_subscriber_alone() {
    let nats = NatsProcess::start(RESTRICTED).await;
    let edge = Edge::start_with(&nats.url(), &config(RESTRICTED_USER)).await;
    let mut client = subscriber(&edge, None, &["open"]).await;
    // Asked again, it is refused again: nothing of the first attempt is left.
    for _ in 0..2 {
        let error = refused(&mut client, "secret.a").await;
        assert_eq!(
            (error.id, error.code),
            (Some(1), ErrorCode::Unavailable),
            "{error:?}"
        );
        assert!(
            error.message.contains("secret.a") && error.message.contains("permissions"),
            "{error:?}"
        );
    }
    let publisher = soon(
        "a connection",
        async_nats::ConnectOptions::with_user_and_password("edge".into(), "p".into()).connect(nats.url()),
    )
    .await
    .unwrap();
    publisher.publish("open", "1".into()).await.unwrap();
    assert_eq!(next_update(&mut client).await.payload.to_bytes(), "1");
    assert_eq!(edge.admin("/readyz").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn check_names_each_subject_that_nats_refuses() {
    let nats = NatsProcess::start(RESTRICTED).await;
    let namespaces = "[namespace.secret]\nchannels = [\"secret.a\", \"secret.b.>\"]\nanonymous = true\n";
    let nats = format!("url = \"{}\"\n{RESTRICTED_USER}", nats.url());
    let file = config_file(&(config(&nats) + namespaces));
    let checked = run(["check", "--config", file.path().to_str().unwrap()]).await;
    assert_eq!(
        (checked.code, checked.stderr.as_str()),
        (Some(1), ""),
        "{checked:?}"
    );
    let errors: Vec<_> = checked
        .stdout
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(errors.len(), 2, "{}", checked.stdout);
    assert!(
        errors[0].contains("`secret.a`") && errors[1].contains("`secret.b.>`"),
        "{errors:?}"
    );
    assert!(
        checked.stdout.contains("ok     NATS: may subscribe to `chat.>`"),
        "{}",
        checked.stdout
    );
}

#[tokio::test]
async fn subscribers_are_told_when_nats_takes_a_permission_away() {
    let open = r#"authorization: { users: [ { user: edge, password: p } ] }"#;
    let nats = NatsProcess::start(open).await;
    let edge = Edge::start_with(&nats.url(), &config(RESTRICTED_USER)).await;
    let mut client = subscriber(&edge, None, &["secret.a"]).await;
    nats.reload(RESTRICTED);
    loop {
        match next(&mut client).await.body {
            ServerBody::Push(Push::Lost(lost)) if lost.reason == LostReason::NatsRefused => {
                break assert_eq!(lost.channel.as_str(), "secret.a");
            }
            // A server may end the connection for it, and the refusal comes with the next one.
            ServerBody::Push(Push::Lost(lost)) => assert_eq!(lost.reason, LostReason::NatsDisconnected),
            other => panic!("{other:?}"),
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn inboxes_go_where_the_permissions_allow_and_check_says_where_they_do_not() {
    let users = r#"authorization: { users: [ { user: edge, password: p, permissions: {
        publish: ["chat.>", "_MINE.>"], subscribe: ["chat.>", "_MINE.>"] } } ] }"#;
    let nats = NatsProcess::start(users).await;
    let namespace = "[namespace.chat]\nchannels = \"chat.>\"\nanonymous = true\npublish = true\n";
    let alone = "[control]\nenabled = false\n";
    let with = |more: &str| {
        format!(
            "[nats]\nurl = \"{}\"\n{RESTRICTED_USER}{more}\n{alone}{namespace}",
            nats.url()
        )
    };
    let check = async |more: &str| {
        let file = config_file(&with(more));
        run(["check", "--config", file.path().to_str().unwrap()]).await
    };
    let wrong = check("").await;
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(1), ""), "{wrong:?}");
    assert!(
        wrong.stdout.contains("`_INBOX_tw.>`") && wrong.stdout.contains("nats.inbox_prefix"),
        "{}",
        wrong.stdout
    );
    let right = "inbox_prefix = \"_MINE\"";
    assert_eq!(check(right).await.code, Some(0));
    let edge = Edge::start_with(&nats.url(), &with(right)).await;
    let mut client = subscriber(&edge, None, &["chat.a"]).await;
    client
        .send_body(br#"{"type":"publish","channel":"chat.a","payload":1}"#)
        .await
        .unwrap();
    let mut kinds = [next(&mut client).await.kind(), next(&mut client).await.kind()];
    kinds.sort_unstable();
    assert_eq!(kinds, ["published", "update"]);
    edge.stop().await;
}
