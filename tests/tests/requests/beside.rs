//! Many requests at a time, beside everything else that a session does, and within their limits.

use std::collections::HashSet;

use serde_json::json;
use tailwater_tests::service::Answer;
use tailwater_tests::{Edge, NatsServer, RawSocket, Service, eventually, soon};

use super::*;

#[tokio::test]
async fn answers_come_in_any_order_and_hold_up_no_other_command() {
    const COUNT: u32 = 30;
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let mut service = by_hand(nats.url(), "svc.>").await;
    let (mut socket, _) = session(&edge).await;
    for id in 0..COUNT {
        send(&mut socket, &request(id, "svc.a", &json!(id))).await;
    }
    let mut waiting = Vec::new();
    for _ in 0..COUNT {
        let message = soon("a request", service.next())
            .await
            .expect("the connection lives");
        waiting.push(message);
    }
    // Nothing is answered yet.
    let subscribed = socket
        .ask(r#"{"type":"subscribe","id":100,"channel":"news.a"}"#)
        .await;
    assert_eq!(
        (&subscribed["type"], &subscribed["id"]),
        (&json!("subscribed"), &json!(100))
    );
    assert_eq!(socket.ask(r#"{"type":"ping"}"#).await, json!({"type": "pong"}));
    service
        .publish("news.a", b"", b"news")
        .await
        .expect("the connection lives");
    assert_eq!(socket.next_json().await["payload"], "news");
    for message in waiting.iter().rev() {
        let reply = message.reply.as_deref().expect("a reply subject");
        service
            .publish(reply, b"", &message.payload)
            .await
            .expect("the connection lives");
    }
    for id in (0..COUNT).rev() {
        let answer = socket.next_json().await;
        assert_eq!(answer, json!({"type": "reply", "id": id, "payload": id}));
    }
    // A second answer to the same request is ignored.
    let reply = waiting[0].reply.as_deref().expect("a reply subject");
    service
        .publish(reply, b"", b"again")
        .await
        .expect("the connection lives");
    service
        .publish("news.a", b"", b"end")
        .await
        .expect("the connection lives");
    assert_eq!(socket.next_json().await["payload"], "end");
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_session_and_all_of_them_together_may_have_only_so_many_requests_in_flight() {
    let nats = NatsServer::start().await;
    let limits = "[requests]\nmax_in_flight = 3\nmax_in_flight_per_session = 2\n";
    let edge = Edge::start_with(nats.url(), &format!("{limits}{CONFIG}")).await;
    let mut service = by_hand(nats.url(), "svc.>").await;
    let (mut one, _) = session(&edge).await;
    let (mut other, _) = session(&edge).await;
    let mut waiting = Vec::new();
    for id in [1, 2] {
        send(&mut one, &request(id, "svc.a", &json!(id))).await;
        waiting.push(
            soon("a request", service.next())
                .await
                .expect("the connection lives"),
        );
    }
    let answer = refused(&mut one, &request(3, "svc.a", &json!(3)), "limit").await;
    assert_eq!((&answer["id"], &answer["channel"]), (&json!(3), &json!("svc.a")));
    send(&mut other, &request(4, "svc.a", &json!(4))).await;
    waiting.push(
        soon("a request", service.next())
            .await
            .expect("the connection lives"),
    );
    let answer = refused(&mut other, &request(5, "svc.a", &json!(5)), "unavailable").await;
    assert!(answer["retry_after_ms"].is_u64(), "{answer}");
    // An answer makes room for both.
    let reply = waiting[0].reply.as_deref().expect("a reply subject");
    service
        .publish(reply, b"", b"1")
        .await
        .expect("the connection lives");
    assert_eq!(
        one.next_json().await,
        json!({"type": "reply", "id": 1, "payload": 1})
    );
    send(&mut one, &request(6, "svc.a", &json!(6))).await;
    let last = soon("a request", service.next())
        .await
        .expect("the connection lives");
    assert_eq!(last.payload, b"6");
    drop((one, other));
    edge.stop().await;
}

#[tokio::test]
async fn answers_larger_than_the_outbox_reach_a_client_that_reads_late() {
    let nats = NatsServer::start().await;
    let narrow = "[outbox]\nmax_bytes = 65536\nsend_buffer_bytes = 4096\n";
    let edge = Edge::start_with(nats.url(), &format!("{narrow}{CONFIG}")).await;
    let large = format!("\"{}\"", "x".repeat(200_000));
    let _service = Service::start(&nats, "svc.large", move |_| Some(Answer::of(large.clone()))).await;
    let mut socket = RawSocket::open_narrow(edge.server().public_addr())
        .await
        .upgrade()
        .await;
    assert_eq!(socket.next_json().await["type"], "connected");
    for id in 0..20 {
        send(&mut socket, &request(id, "svc.large", &json!(id))).await;
    }
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let answer = socket.next_json().await;
        assert_eq!(
            answer["payload"].as_str().expect("text").len(),
            200_000,
            "{}",
            answer["id"]
        );
        seen.insert(answer["id"].as_u64().expect("an id"));
    }
    assert_eq!(seen.len(), 20);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_no_place_and_only_so_many_of_its_answers() {
    const COUNT: u32 = 32;
    let nats = NatsServer::start().await;
    let limits = format!("[outbox]\nmax_bytes = 65536\n[requests]\nmax_in_flight = {COUNT}\n");
    let edge = Edge::start_with(nats.url(), &format!("{limits}{CONFIG}")).await;
    let mut service = by_hand(nats.url(), "svc.>").await;
    let (mut deaf, _) = session(&edge).await;
    let mut waiting = Vec::new();
    for id in 0..COUNT {
        send(&mut deaf, &request(id, "svc.large", &json!(id))).await;
        waiting.push(
            soon("a request", service.next())
                .await
                .expect("the connection lives"),
        );
    }
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    for message in &waiting {
        let reply = message.reply.as_deref().expect("a reply subject");
        let answered = service.publish(reply, b"", large.as_bytes()).await;
        answered.expect("the connection lives");
    }
    // Its client has read nothing, and others have their places.
    let (mut other, _) = session(&edge).await;
    let message = eventually("a place", async || {
        send(&mut other, &request(1, "svc.small", &json!(1))).await;
        tokio::select! {
            message = service.next() => Some(message.expect("the connection lives")),
            refused = other.next_json() => {
                assert_eq!(refused["code"], "unavailable", "{refused}");
                None
            }
        }
    })
    .await;
    let reply = message.reply.as_deref().expect("a reply subject");
    service
        .publish(reply, b"", b"1")
        .await
        .expect("the connection lives");
    assert_eq!(other.next_json().await["payload"], 1);
    // One in the outbox, 16 MiB held, and of the others at least the end is told.
    let (mut seen, mut replies) = (HashSet::new(), 0);
    for _ in 0..COUNT {
        let answer = deaf.next_json().await;
        seen.insert(answer["id"].as_u64().expect("an id"));
        match answer["type"].as_str() {
            Some("reply") => replies += 1,
            _ => assert_eq!(answer["code"], "timeout", "{answer}"),
        }
    }
    assert_eq!(seen.len(), 32);
    assert_eq!(replies, 17);
    drop((deaf, other));
    edge.stop().await;
}
