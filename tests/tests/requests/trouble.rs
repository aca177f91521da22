//! Sessions, edges and NATS servers that go while requests are under way, and what NATS must allow.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;
use tailwater_edge::client::Client;
use tailwater_protocol::command::Command;
use tailwater_tests::nats_server::handled;
use tailwater_tests::process::{config_file, run};
use tailwater_tests::{Edge, NatsProcess, NatsServer, Service, eventually, next, soon, subscriber};

use super::*;

#[tokio::test]
async fn a_session_that_ends_gives_up_its_requests_and_their_late_answers_reach_nobody() {
    let nats = NatsServer::start().await;
    let limits = "[requests]\nmax_in_flight = 1\n";
    let edge = Edge::start_with(nats.url(), &format!("{limits}{CONFIG}")).await;
    let mut service = by_hand(nats.url(), "svc.>").await;
    let (mut gone, _) = session(&edge).await;
    send(&mut gone, &request(1, "svc.a", &json!("first"))).await;
    let first = soon("a request", service.next())
        .await
        .expect("the connection lives");
    drop(gone);
    // The place becomes free long before the service would have been too late.
    let begin = Instant::now();
    let (mut socket, _) = session(&edge).await;
    let second = eventually("a place", async || {
        send(&mut socket, &request(2, "svc.a", &json!("second"))).await;
        tokio::select! {
            message = service.next() => Some(message.expect("the connection lives")),
            refused = socket.next_json() => {
                assert_eq!(refused["code"], "unavailable", "{refused}");
                None
            }
        }
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    for (message, answer) in [(&first, &b"late"[..]), (&second, &b"in time"[..])] {
        let reply = message.reply.as_deref().expect("a reply subject");
        service
            .publish(reply, b"", answer)
            .await
            .expect("the connection lives");
    }
    assert_eq!(
        socket.next_json().await,
        json!({"type": "reply", "id": 2, "payload": "in time"})
    );
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_that_stops_does_not_wait_for_services() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let silent = Service::start(&nats, "svc.silent", |_| None).await;
    let (mut socket, _) = session(&edge).await;
    send(&mut socket, &request(1, "svc.silent", &json!(1))).await;
    asked(&silent, 1).await;
    let begin = Instant::now();
    let ((), code) = tokio::join!(edge.stop(), socket.close_code());
    assert_eq!(code, 1012);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn requests_that_were_under_way_when_nats_went_may_have_been_done_and_later_ones_were_not() {
    let nats = NatsProcess::start("").await;
    let quick = "[nats]\nping_interval_secs = 1\nconnect_timeout_secs = 1\nreconnect_max_delay_secs = 1\n";
    let edge = Edge::start_with(&nats.url(), &format!("{quick}{CONFIG}")).await;
    let silent = Service::start_at(&nats.url(), "svc.silent", |_| None).await;
    let mut client: Client = subscriber(&edge, None, &[]).await;
    let (mut socket, _) = session(&edge).await;
    send(&mut socket, &request(1, "svc.silent", &json!(1))).await;
    asked(&silent, 1).await;
    let port = nats.kill();
    let lost = socket.next_json().await;
    assert_eq!(
        (&lost["code"], &lost["id"]),
        (&json!("timeout"), &json!(1)),
        "{lost}"
    );
    let away = refused(&mut socket, &request(2, "svc.silent", &json!(2)), "unavailable").await;
    assert!(away["retry_after_ms"].is_u64(), "{away}");
    let nats = NatsProcess::start_on(port, "").await;
    let _service = Service::start_at(&nats.url(), "svc.silent", echo).await;
    eventually("an answer", async || {
        let answer = socket.ask(&request(3, "svc.silent", &json!("back"))).await;
        (answer["payload"] == "back").then_some(())
    })
    .await;
    client
        .send(Some(1), Command::Ping)
        .await
        .expect("its session stayed");
    assert_eq!(next(&mut client).await.kind(), "pong");
    drop((socket, client));
    edge.stop().await;
}

#[tokio::test]
async fn the_permissions_that_check_prints_are_enough_to_ask_services_and_hooks() {
    let config = format!(
        "{CONFIG}[namespace.stored]\nchannels = \"stored.>\"\ndurable = true\n\
         [hook.connect]\nsubject = \"_hooks.connect\"\n"
    );
    let file = config_file(&config);
    let path = file.path().to_str().expect("text");
    let offline = run(["check", "--offline", "--config", path]).await;
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let start = offline.stdout.find("authorization {").expect("permissions");
    let store = tempfile::tempdir().expect("a temporary folder");
    let jetstream = format!("jetstream {{ store_dir: {:?} }}\n", store.path());
    let nats = NatsProcess::start(&format!("{jetstream}{}", &offline.stdout[start..])).await;
    let options = async_nats::ConnectOptions::with_user_and_password("service".into(), "CHANGE-ME".into());
    let service = options.connect(nats.url()).await.expect("it lets services in");
    for (subject, answer) in [("_hooks.connect", r#"{"allow":true}"#), ("svc.a", "7")] {
        let mut requests = service.subscribe(subject).await.expect("it may listen");
        let service = service.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let reply = request.reply.expect("a reply subject");
                service
                    .publish(reply, answer.into())
                    .await
                    .expect("the connection lives");
            }
        });
    }
    handled(&service).await;
    let user = "[nats]\nuser = \"edge\"\npassword = \"CHANGE-ME\"\n";
    let edge = Edge::start_with(&nats.url(), &format!("{user}{config}")).await;
    let (mut socket, _) = session(&edge).await;
    assert_eq!(socket.ask(&request(1, "svc.a", &json!(1))).await["payload"], 7);
    drop(socket);
    edge.stop().await;
}
