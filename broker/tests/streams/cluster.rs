//! Streams with replicas.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use tailwater_broker::StreamState;

use crate::server::{Server, connect, eventually, provision, ready, spec, stream_config};

#[tokio::test]
async fn edges_on_all_servers_agree_raise_replicas_and_say_when_there_is_no_leader() {
    let [one, two, three] = Server::start_cluster().await;
    let operator = one.operator().await;
    // It takes the cluster a while to elect who leads JetStream.
    eventually("a stream with one replica", async || {
        let config = stream_config("a", json!({}));
        let created = operator
            .0
            .request("$JS.API.STREAM.CREATE.a", config.to_string().into());
        let created = created.await.ok()?;
        created
            .payload
            .windows(9)
            .any(|part| part == b"\"created\"")
            .then_some(())
    })
    .await;
    let mut replicated = spec("a");
    replicated.replicas = 3;
    let mut fresh = spec("b");
    fresh.replicas = 3;
    for wanted in [replicated, fresh] {
        let edges = [&one, &two, &three, &one, &two, &three].map(async |server| {
            let connection = connect(&server.config()).await;
            let stream = ready(&connection, wanted.clone()).await;
            stream.epoch.to_string()
        });
        let epochs: BTreeSet<_> = join_all(edges).await.into_iter().collect();
        assert_eq!(epochs.len(), 1, "{epochs:?}");
    }
    assert_eq!(operator.info("a").await["config"]["num_replicas"], 3);
    // Fewer than there are is no reason to take some away.
    let connection = connect(&one.config()).await;
    ready(&connection, spec("a")).await;
    assert_eq!(operator.info("a").await["config"]["num_replicas"], 3);

    // It takes the last server a while to notice that it has no majority any more.
    drop((two, three));
    let reason = eventually("a reason", async || {
        let alone = provision(&connection, None, spec("a"));
        let settled = async || {
            let state = alone.streams.state("a")?;
            (!matches!(state, StreamState::Waiting { reason: None })).then_some(state)
        };
        match eventually("an attempt", settled).await {
            StreamState::Waiting { reason } => reason,
            StreamState::Ready(_) => None,
        }
    })
    .await;
    assert!(
        reason.contains("the stream `a`") && reason.contains("no leader"),
        "{reason}"
    );
}
