//! The commands as a person or a script meets them: what they print where, how they end, and that each
//! mistake is one clear line.

use std::time::Instant;

use rustix::process::Signal;
use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{Finished, config_file, failed_with, run, run_with_input};
use tailwater_tests::{Edge, NatsProcess, Process, next_update, subscriber};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Nobody listens there.
const NOWHERE: &str = "nats://127.0.0.1:1";

async fn check(config: &str) -> Finished {
    let file = config_file(config);
    run(["check", "--config", file.path().to_str().expect("text")]).await
}

fn with_nats(url: &str, more: &str) -> String {
    format!("[nats]\nurl = \"{url}\"\n{more}\n{OPEN}")
}

/// A nats-server that lets anyone in and says that it is of this version.
async fn pretend_nats(version: &'static str) -> (String, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("nats://{}", listener.local_addr().expect("it listens"));
    let serve = async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let info = format!(
            "INFO {{\"server_id\":\"x\",\"version\":\"{version}\",\"host\":\"x\",\"port\":1,\"max_payload\":1048576,\"proto\":1,\"headers\":true}}\r\n"
        );
        socket.write_all(info.as_bytes()).await.expect("the client reads");
        let mut received = Vec::new();
        let mut subscriptions = std::collections::HashMap::new();
        while socket.read_buf(&mut received).await.unwrap_or(0) > 0 {
            while let Some(end) = received.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8(received.drain(..end + 2).collect()).expect("text");
                let words: Vec<&str> = line.split_whitespace().collect();
                let answer = match words[..] {
                    ["PING"] => "PONG\r\n".to_owned(),
                    ["SUB", subject, sid] => {
                        subscriptions.insert(subject.to_owned(), sid.to_owned());
                        String::new()
                    }
                    ["PUB", subject, "0"] => format!("MSG {subject} {} 0\r\n\r\n", subscriptions[subject]),
                    _ => String::new(),
                };
                socket
                    .write_all(answer.as_bytes())
                    .await
                    .expect("the client reads");
            }
        }
    };
    (url, serve)
}

#[tokio::test]
async fn check_of_a_good_configuration_says_ok_line_by_line() {
    let nats = NatsProcess::start("").await;
    let without_jetstream = "[control]\nrevocation_bucket = \"\"\n";
    let finished = check(&with_nats(&nats.url(), without_jetstream)).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    let (lines, permissions) = finished.stdout.split_once("\n\n").expect("two parts");
    assert!(lines.lines().all(|line| line.starts_with("ok ")), "{lines}");
    assert!(permissions.contains("authorization {"), "{permissions}");
    assert!(
        finished.stdout.contains("may subscribe to `chat.>`"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn check_refuses_a_server_that_is_too_old() {
    let (url, pretend) = pretend_nats("2.9.10").await;
    let finished = tokio::select! {
        finished = async { check(&with_nats(&url, "")).await } => finished,
        () = async { pretend.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .stdout
            .contains("error  NATS: server 2.9.10 is too old: 2.11"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn check_names_a_nats_that_cannot_be_reached_and_why() {
    let finished = check(&with_nats(NOWHERE, "")).await;
    failed_with(&finished, 1, &[NOWHERE, "refused"]);
    assert!(
        finished.stdout.starts_with("ok     configuration"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn check_names_what_answers_but_is_no_nats() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let config = with_nats(&url, "connect_timeout_secs = 1");
    let finished = tokio::select! {
        finished = check(&config) => finished,
        () = async {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        } => unreachable!(),
    };
    failed_with(&finished, 1, &[&url]);
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_told_with_its_place() {
    let config = "listen = \"nowhere\"\n[nats]\nping_interval_secs = 0\n[websocket]\npaht = \"/ws\"\n[namespace.all]\nchannels = \"a..b\"\n";
    let file = config_file(config);
    let path = file.path().to_str().unwrap();
    for command in [&["check"][..], &["serve"]] {
        let finished = run(command.iter().chain(&["--config", path])).await;
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{finished:?}"
        );
        for place in ["1:10", "3:22", "5:1", "7:12"] {
            let place = format!("{path}:{place}: ");
            assert!(
                finished.stderr.contains(&place),
                "{place} is missing: {}",
                finished.stderr
            );
        }
        assert!(
            finished.stderr.contains("did you mean `websocket.path`"),
            "{}",
            finished.stderr
        );
        assert_eq!(finished.stderr.lines().count(), 4, "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    for (path, why) in [(missing.as_path(), "no such file"), (folder.path(), "folder")] {
        let path = path.to_str().unwrap();
        for command in ["check", "serve", "dev"] {
            failed_with(&run([command, "--config", path]).await, 2, &[path, why]);
        }
    }
}

#[tokio::test]
async fn the_json_line_has_exactly_the_promised_keys() {
    let (_serve, ready) = Process::serve(NOWHERE, OPEN).await;
    let state = tempfile::tempdir().unwrap();
    let (mut dev, of_dev) = Process::dev(state.path()).await;
    for ready in [ready, of_dev] {
        let keys: Vec<_> = ready.0.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["admin", "http", "nats", "nats_pid", "pid", "ws"],
            "{ready:?}"
        );
        for (key, scheme) in [
            ("http", "http://"),
            ("admin", "http://"),
            ("ws", "ws://"),
            ("nats", "nats://"),
        ] {
            assert!(ready.text(key).starts_with(scheme), "{ready:?}");
        }
        assert!(ready.0["pid"].is_u64(), "{ready:?}");
    }
    dev.signal(Signal::TERM);
    assert_eq!(dev.line().await, None, "nothing else on standard output");
}

#[tokio::test]
async fn pub_publishes_an_argument_or_standard_input_byte_for_byte() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    let mut client = subscriber(&edge, None, &["a.b"]).await;
    let url = nats.url();
    let published = run(["pub", "a.b", r#"{"n":1}"#, "--nats", &url]).await;
    assert_eq!(
        (published.code, published.stderr.as_str()),
        (Some(0), ""),
        "{published:?}"
    );
    let published = run_with_input(["pub", "a.b", "-", "--nats", &url], b"two\nlines\n").await;
    assert_eq!(
        (published.code, published.stderr.as_str()),
        (Some(0), ""),
        "{published:?}"
    );
    for expected in [&br#"{"n":1}"#[..], br#""two\nlines\n""#] {
        assert_eq!(next_update(&mut client).await.payload.to_bytes(), expected);
    }
    edge.stop().await;
}

#[tokio::test]
async fn pub_refuses_what_cannot_be_published_and_says_when_nats_is_not_there() {
    for subject in ["a.*", "a.>", "a b", "a..b"] {
        failed_with(
            &run(["pub", subject, "x", "--nats", NOWHERE]).await,
            1,
            &[subject, "wildcards"],
        );
    }
    let asked = Instant::now();
    failed_with(
        &run(["pub", "a", "x", "--nats", NOWHERE]).await,
        1,
        &[NOWHERE, "refused"],
    );
    assert!(asked.elapsed().as_secs() < 6, "{:?}", asked.elapsed());
    let nats = NatsProcess::start("max_payload: 64").await;
    let large = "x".repeat(65);
    failed_with(
        &run(["pub", "a", &large, "--nats", &nats.url()]).await,
        1,
        &["65 bytes", "64"],
    );
}

#[tokio::test]
async fn pub_says_when_nats_does_not_let_it_publish_there() {
    let users = r#"authorization: { users: [ { user: u, password: p, permissions: { publish: ["ok"] } } ] }"#;
    let nats = NatsProcess::start(users).await;
    let file = config_file(&with_nats(&nats.url(), "user = \"u\"\npassword = \"p\""));
    let publish = async |subject| run(["pub", subject, "x", "--config", file.path().to_str().unwrap()]).await;
    assert_eq!(publish("ok").await.code, Some(0));
    failed_with(&publish("secret").await, 1, &["secret", "permissions"]);
}

#[tokio::test]
async fn a_taken_port_is_one_line_that_names_it() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let file = config_file(OPEN);
    let path = file.path().to_str().unwrap();
    let free = "127.0.0.1:0";
    for (listen, admin) in [(taken.as_str(), free), (free, &taken)] {
        let finished = run([
            "serve",
            "--config",
            path,
            "--nats",
            NOWHERE,
            "--listen",
            listen,
            "--admin-listen",
            admin,
        ])
        .await;
        failed_with(&finished, 1, &[&taken, "in use", "choose another"]);
    }
    // Another edge is no better: sharing ports is for the workers of one.
    let (_edge, ready) = Process::serve(NOWHERE, OPEN).await;
    let taken = ready.address("ws").to_string();
    let finished = run([
        "serve",
        "--config",
        path,
        "--nats",
        NOWHERE,
        "--listen",
        &taken,
        "--admin-listen",
        free,
    ]);
    failed_with(&finished.await, 1, &[&taken, "in use"]);
}

#[tokio::test]
async fn help_tells_every_command_but_the_internal_one() {
    let help = run(["--help"]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{help:?}");
    for command in ["dev", "serve", "check", "stream", "sub", "pub"] {
        let start = format!("  {command} ");
        assert!(
            help.stdout.lines().any(|line| line.starts_with(&start)),
            "{command}: {}",
            help.stdout
        );
    }
    assert!(!help.stdout.contains("supervise"), "{}", help.stdout);
    assert_eq!(run(["no-such-command"]).await.code, Some(2));
}
