//! Epochs: agreed on by all, never the same twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tailwater_broker::{BrokerError, Connection, Stream, epoch};
use tailwater_protocol::position::Epoch;

use crate::server::{DEADLINE, Operator, Server, eventually, ready, spec, stream_config};

fn parts(epoch: &Epoch) -> (String, u64) {
    let (created, generation) = epoch.as_str().rsplit_once('-').expect("two parts");
    (created.to_owned(), generation.parse().expect("a number"))
}

/// A stream whose sync message can be purged, ready.
async fn purgeable(server: &Server) -> (Operator, Connection, Arc<Stream>) {
    let operator = server.operator().await;
    operator.create(&stream_config("a", json!({}))).await;
    let connection = server.connect().await;
    let stream = ready(&connection, spec("a")).await;
    (operator, connection, stream)
}

/// The epoch that an edge finds which starts now.
async fn found(connection: &Connection) -> Epoch {
    ready(connection, spec("a")).await.epoch.clone()
}

async fn purge_sync(operator: &Operator) {
    let purged = operator
        .ask("STREAM.PURGE.a", &json!({"filter": "_tw.sync.a"}))
        .await;
    assert_eq!(purged["success"], true, "{purged}");
}

#[tokio::test]
async fn the_first_epoch_of_a_fresh_stream_stays_until_it_is_raised() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let stream = ready(&connection, spec("a")).await;
    assert_eq!(parts(&stream.epoch).1, 1);
    let operator = server.operator().await;
    operator.store("a.b", "x").await;
    assert_eq!(found(&connection).await, stream.epoch);
    let last = operator
        .ask("DIRECT.GET.a", &json!({"last_by_subj": "_tw.sync.a"}))
        .await;
    let body = last.to_string();
    assert_eq!(
        epoch::of_sync_message(body.as_bytes()),
        Some(stream.epoch.clone())
    );
    let raised = epoch::raise(&connection, &stream, &stream.epoch).await.unwrap();
    assert_eq!(parts(&raised).0, parts(&stream.epoch).0);
    assert!(parts(&raised).1 > 1, "{raised}");
    assert_eq!(found(&connection).await, raised);
    // Who has seen the old one alone learns the new one and raises nothing.
    let late = epoch::raise(&connection, &stream, &stream.epoch).await.unwrap();
    assert_eq!(late, raised);
}

#[tokio::test]
async fn edges_that_raise_an_epoch_at_once_raise_it_once() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let stream = ready(&connection, spec("a")).await;
    let raises = (0..8).map(|_| epoch::raise(&connection, &stream, &stream.epoch));
    let raised = join_all(raises)
        .await
        .into_iter()
        .map(|raised| raised.unwrap().to_string());
    let raised: BTreeSet<String> = raised.collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(!raised.contains(stream.epoch.as_str()));
    assert_eq!(server.operator().await.last_sequence("a").await, 2);
}

#[tokio::test]
async fn a_stream_that_is_created_again_has_another_epoch() {
    let server = Server::start().await;
    let (operator, connection, stream) = purgeable(&server).await;
    operator.ask("STREAM.DELETE.a", &Value::Null).await;
    let gone = epoch::refresh(&connection, &stream, &stream.epoch).await;
    assert!(matches!(gone, Err(BrokerError::NoStream { .. })), "{gone:?}");
    operator.create(&stream_config("a", json!({}))).await;
    let raised = epoch::raise(&connection, &stream, &stream.epoch).await.unwrap();
    let current = found(&connection).await;
    assert_eq!(raised, current);
    assert_ne!(parts(&current).0, parts(&stream.epoch).0);
    assert_eq!(
        epoch::refresh(&connection, &stream, &stream.epoch).await.unwrap(),
        current
    );
}

#[tokio::test]
async fn a_sync_message_of_another_stream_is_replaced() {
    let server = Server::start().await;
    let (operator, connection, stream) = purgeable(&server).await;
    for body in [r#"{"epoch":"other-7"}"#, "no JSON", ""] {
        operator.store("_tw.sync.a", body).await;
        let now = found(&connection).await;
        assert_eq!(parts(&now).0, parts(&stream.epoch).0);
        assert!(parts(&now).1 > 1, "{now}");
    }
}

#[tokio::test]
async fn a_trimmed_sync_message_is_stored_again_by_who_remembers_it() {
    let server = Server::start().await;
    let (operator, connection, stream) = purgeable(&server).await;
    purge_sync(&operator).await;
    let refreshes = (0..8).map(|_| epoch::refresh(&connection, &stream, &stream.epoch));
    for refreshed in join_all(refreshes).await {
        assert_eq!(refreshed.unwrap(), stream.epoch);
    }
    assert_eq!(found(&connection).await, stream.epoch);
    assert_eq!(operator.last_sequence("a").await, 2, "stored once again");
}

#[tokio::test]
async fn a_trimmed_sync_message_that_nobody_remembers_gives_an_epoch_that_never_was() {
    let server = Server::start().await;
    let (operator, connection, stream) = purgeable(&server).await;
    purge_sync(&operator).await;
    let now = found(&connection).await;
    assert!(parts(&now).1 > 1_000_000_000, "{now}");
    // And who remembers the old one yields.
    assert_eq!(
        epoch::refresh(&connection, &stream, &stream.epoch).await.unwrap(),
        now
    );
}

#[tokio::test]
async fn an_epoch_that_went_back_is_raised_above_all_that_were_seen() {
    let server = Server::start().await;
    let (operator, connection, stream) = purgeable(&server).await;
    let seen = epoch::raise(&connection, &stream, &stream.epoch).await.unwrap();
    let old = format!(r#"{{"epoch":"{}"}}"#, stream.epoch);
    operator.store("_tw.sync.a", &old).await;
    let raised = epoch::raise(&connection, &stream, &seen).await.unwrap();
    assert!(parts(&raised).1 > parts(&seen).1, "{raised} {seen}");
    operator.store("_tw.sync.a", &old).await;
    let refreshed = epoch::refresh(&connection, &stream, &raised).await.unwrap();
    assert!(parts(&refreshed).1 > parts(&raised).1, "{refreshed} {raised}");
}

#[tokio::test]
async fn a_sync_message_is_refreshed_when_half_of_its_time_has_passed_and_not_before() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let mut short = spec("a");
    (short.max_age, short.duplicate_window) = (Some(Duration::from_secs(4)), Duration::from_secs(1));
    let stream = ready(&connection, short).await;
    let operator = server.operator().await;
    assert_eq!(
        epoch::refresh(&connection, &stream, &stream.epoch).await.unwrap(),
        stream.epoch
    );
    assert_eq!(operator.last_sequence("a").await, 1);
    eventually("the sync message is stored again", async || {
        let refreshed = epoch::refresh(&connection, &stream, &stream.epoch).await;
        assert_eq!(refreshed.unwrap(), stream.epoch);
        (operator.last_sequence("a").await == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_operator_gets_a_new_epoch_and_is_told_which_stream_is_missing() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let stream = ready(&connection, spec("a")).await;
    let renewed = epoch::renew(&server.config(), None, "a", DEADLINE).await.unwrap();
    assert_eq!(renewed.old, stream.epoch);
    assert_ne!(renewed.new, stream.epoch);
    assert_eq!(found(&connection).await, renewed.new);
    let missing = epoch::renew(&server.config(), None, "b", DEADLINE).await;
    assert_eq!(missing.unwrap_err().to_string(), "there is no stream `b`");
    let operator = server.operator().await;
    operator
        .create(&stream_config("c", json!({"subjects": ["c"]})))
        .await;
    let unfit = epoch::renew(&server.config(), None, "c", DEADLINE)
        .await
        .unwrap_err();
    assert!(unfit.to_string().contains("`_tw.sync.c`"), "{unfit}");
}
