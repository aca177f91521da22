//! What the loss checker is made of does what it says: the cluster, the links, the publishers and the reading of
//! the stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use rustix::process::Signal;
use tailwater_tests::checker::publishers::Publishing;
use tailwater_tests::checker::truth::{self, Truth, lock};
use tailwater_tests::link::{Link, Sabotage};
use tailwater_tests::raw_nats::RawNats;
use tailwater_tests::{Cluster, eventually, soon};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What an edge creates for the checker's channels.
async fn create_stream(cluster: &Cluster) {
    let client = async_nats::connect(cluster.address(0).to_string()).await;
    let client = client.expect("the cluster answers");
    let config = stream::Config {
        name: "CHECK".to_owned(),
        subjects: vec!["check.>".to_owned(), "_tw.sync.CHECK".to_owned()],
        num_replicas: 3,
        allow_direct: true,
        republish: Some(stream::Republish {
            source: ">".to_owned(),
            destination: "_tw.live.>".to_owned(),
            headers_only: false,
        }),
        ..stream::Config::default()
    };
    let context = jetstream::new(client);
    eventually("the cluster takes the stream", async || {
        context.create_stream(config.clone()).await.ok()
    })
    .await;
    assert!(cluster.recovers("CHECK").await, "{}", cluster.logs());
}

/// Waits until what is published on `subject` at the first node reaches the stream: a node that has not heard yet that
/// somebody listens drops it. The stream answers, and keeps nothing of what is meant for another one.
async fn stream_hears(cluster: &Cluster, subject: &'static str) {
    let client = async_nats::connect(cluster.address(0).to_string()).await;
    let client = client.expect("the cluster answers");
    eventually("the stream answers", async || {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", "OTHER");
        let answer = client
            .request_with_headers(subject, headers, "".into())
            .await
            .ok()?;
        assert!(answer.payload.starts_with(br#"{"error":"#), "{answer:?}");
        Some(())
    })
    .await;
}

/// A stream on a cluster, its publishers, and what is read of it meanwhile.
async fn checked(cluster: &Cluster, tasks: &mut JoinSet<()>) -> (Arc<Publishing>, Arc<Mutex<Truth>>) {
    create_stream(cluster).await;
    let truth = Arc::new(Mutex::new(Truth::default()));
    let channels = vec!["check.a.0".to_owned(), "check.s0".to_owned()];
    let publishing = Publishing::connect(cluster.addresses(), channels, truth.clone()).await;
    tasks.spawn(truth::follow(cluster.addresses(), "CHECK", truth.clone()));
    (publishing, truth)
}

/// Waits until everything that was acknowledged has been compared with the stream; nothing of it may be missing.
async fn all_is_stored(publishing: &Publishing, truth: &Mutex<Truth>) {
    eventually("the stream is read to what was acknowledged", async || {
        let truth = lock(truth);
        let mut ledger = lock(publishing.ledger());
        ledger.settle(&truth);
        ledger.is_settled().then_some(())
    })
    .await;
    let ledger = lock(publishing.ledger());
    assert_eq!(ledger.wrongs(), (0, &[][..]));
}

#[tokio::test]
async fn what_is_acknowledged_while_the_leader_is_killed_is_stored_and_the_dead_come_back() {
    let mut cluster = Cluster::start().await;
    let mut tasks = JoinSet::new();
    let (publishing, truth) = checked(&cluster, &mut tasks).await;
    let mut publishers = publishing.start(6, 300.0, &mut fastrand::Rng::with_seed(1));
    let acknowledged = || lock(publishing.ledger()).acknowledged();
    eventually("some are acknowledged", async || {
        (acknowledged() > 100).then_some(())
    })
    .await;
    let leader = cluster.leader("CHECK").await.expect("there is one");
    cluster.kill(leader);
    let before = acknowledged();
    let elected = eventually("another leads", async || {
        cluster.leader("CHECK").await.filter(|next| *next != leader)
    })
    .await;
    assert!(!cluster.is_healthy("CHECK").await, "one is away");
    eventually("publishers go on", async || {
        (acknowledged() > before + 50).then_some(())
    })
    .await;
    cluster.restart(leader);
    assert!(cluster.recovers("CHECK").await, "{}", cluster.logs());
    // And one that hangs instead of dying.
    cluster.signal(elected, Signal::STOP);
    eventually("another leads", async || {
        cluster.leader("CHECK").await.filter(|next| *next != elected)
    })
    .await;
    cluster.signal(elected, Signal::CONT);
    assert!(cluster.recovers("CHECK").await, "{}", cluster.logs());
    publishing.stop();
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
    all_is_stored(&publishing, &truth).await;
    let truth = lock(&truth);
    let acked = truth.of_kind("acked");
    assert_eq!(
        acked,
        acknowledged(),
        "none is stored twice, though some were sent twice"
    );
    assert_eq!(truth.count() as u64, acked + truth.of_kind("plain"));
}

#[tokio::test]
async fn the_stream_is_read_past_every_forged_header_and_nothing_forged_past_the_stream_is_in_it() {
    let cluster = Cluster::start().await;
    let mut tasks = JoinSet::new();
    let (publishing, truth) = checked(&cluster, &mut tasks).await;
    stream_hears(&cluster, "check.a.0").await;
    publishing.forge(0).await;
    let sent = publishing.forged.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent > 10, "{sent}");
    publishing.burst(1, 3000).await;
    let probes = publishing.probe().await;
    assert_eq!(probes.len(), 2);
    all_is_stored(&publishing, &truth).await;
    let truth = lock(&truth);
    let forged = truth.of_kind("forged");
    assert_eq!(
        (forged, sent),
        (13, 20),
        "those into the channel are stored, those past it are not"
    );
    assert_eq!(truth.of_kind("burst"), 3000);
    assert_eq!(truth.count() as u64, forged + 3000 + 2);
    assert_eq!(truth.len(), 2, "no other subject");
}

/// A nats-server behind a link, and somebody who listens to `a.>` through it and has heard the first message.
struct Linked {
    cluster: Cluster,
    link: Link,
    sabotage: Arc<Sabotage>,
    listener: RawNats,
    speaker: RawNats,
}

impl Linked {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let sabotage = Arc::new(Sabotage::default());
        let free = ([127, 0, 0, 1], 0).into();
        let link = Link::start(free, cluster.address(0), sabotage.clone()).await;
        let listener = Self::listen(&link).await;
        let speaker = RawNats::connect(cluster.address(0)).await;
        Self {
            cluster,
            link,
            sabotage,
            listener,
            speaker: speaker.expect("the server answers"),
        }
    }

    async fn listen(link: &Link) -> RawNats {
        let mut listener = RawNats::connect(link.address())
            .await
            .expect("the link lets through");
        listener.send(b"SUB a.> 1\r\n").await.expect("it lives");
        listener.flush().await.expect("it lives");
        listener
    }

    async fn say(&mut self, subject: &str, text: &str) {
        let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
        let said = self.speaker.publish(subject, headers, text.as_bytes()).await;
        said.expect("the connection lives");
        self.speaker.flush().await.expect("the connection lives");
    }

    async fn hear(&mut self) -> String {
        let message = soon("a message", self.listener.next())
            .await
            .expect("the link lives");
        String::from_utf8(message.payload).expect("it is text")
    }
}

#[tokio::test]
async fn a_link_that_is_cut_refuses_or_holds_does_just_that() {
    let mut linked = Linked::start().await;
    assert_eq!(linked.link.connections(), 1);
    linked.link.hold(true);
    linked.say("a.1", "held").await;
    let silence = timeout(Duration::from_millis(300), linked.listener.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    linked.link.hold(false);
    assert_eq!(linked.hear().await, "held");
    linked.link.refuse(true);
    linked.link.cut();
    assert!(soon("the end", linked.listener.next()).await.is_err());
    assert!(RawNats::connect(linked.link.address()).await.is_err());
    linked.link.refuse(false);
    linked.listener = Linked::listen(&linked.link).await;
    linked.say("a.1", "again").await;
    assert_eq!(linked.hear().await, "again");
    eventually("only one is left", async || {
        (linked.link.connections() == 1).then_some(())
    })
    .await;
    drop(linked.cluster);
}

#[tokio::test]
async fn sabotage_takes_out_what_it_names_and_nothing_else() {
    let mut linked = Linked::start().await;
    linked.sabotage.drop_messages("a.1", 1);
    for (subject, text) in [("a.2", "one"), ("a.1", "two"), ("a.1", "three")] {
        linked.say(subject, text).await;
    }
    assert_eq!(
        (linked.hear().await, linked.hear().await),
        ("one".to_owned(), "three".to_owned())
    );
    assert_eq!(linked.sabotage.dropped(), 1);

    // Two subscriptions get a copy each, and of one publication both go.
    linked.listener.send(b"SUB a.3 2\r\n").await.unwrap();
    linked.listener.flush().await.unwrap();
    linked.sabotage.drop_publications("a.3", 1);
    for sequence in 7..9 {
        let headers = format!("NATS/1.0\r\nNats-Sequence: {sequence}\r\n\r\n");
        let said = linked
            .speaker
            .publish("a.3", headers.as_bytes(), headers.as_bytes())
            .await;
        said.unwrap();
    }
    linked.speaker.flush().await.unwrap();
    assert!(linked.hear().await.contains(": 8") && linked.hear().await.contains(": 8"));
    assert_eq!(linked.sabotage.dropped(), 3);

    create_stream(&linked.cluster).await;
    stream_hears(&linked.cluster, "check.a").await;
    linked.say("check.a", "stored").await;
    let ask = async |client: &async_nats::Client| {
        let request = r#"{"seq":1}"#.into();
        timeout(
            Duration::from_secs(1),
            client.request("$JS.API.DIRECT.GET.CHECK", request),
        )
        .await
    };
    let through = async_nats::connect(linked.link.address().to_string())
        .await
        .unwrap();
    eventually("it is stored", async || {
        let answer = ask(&through).await.ok()?.ok()?;
        (answer.payload == "stored").then_some(())
    })
    .await;
    linked.sabotage.swallow_history(true);
    assert!(ask(&through).await.is_err(), "no answer");
    assert_eq!(linked.sabotage.swallowed(), 1);
    // Everything else goes on.
    let mut heard = through.subscribe("a.>").await.unwrap();
    through.flush().await.unwrap();
    eventually("the live message comes", async || {
        linked.speaker.publish("a.1", b"", b"live").await.unwrap();
        timeout(Duration::from_millis(100), heard.next()).await.ok()
    })
    .await;
}
