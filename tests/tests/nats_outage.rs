//! NATS goes away, hangs, comes back, comes late: sessions stay, losses are told, and nothing has to be
//! started again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Publish};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::{LostReason, Push};
use tailwater_tests::edge::OPEN;
use tailwater_tests::nats_process::send_signal;
use tailwater_tests::{
    Edge, NatsProcess, NatsServer, eventually, next, next_update, soon, subscribe, subscriber,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Open to everybody, and quick to notice what happens to NATS.
fn quick() -> String {
    let nats = "[nats]\nping_interval_secs = 1\nconnect_timeout_secs = 1\nreconnect_max_delay_secs = 1\n";
    format!("{OPEN}{nats}")
}

/// An external publisher's connection.
async fn publisher(nats: SocketAddr) -> async_nats::Client {
    soon("a NATS connection", async_nats::connect(nats.to_string()))
        .await
        .expect("the server answers")
}

async fn publish(publisher: &async_nats::Client, subject: &str, payload: &'static str) {
    publisher
        .publish(subject.to_owned(), payload.into())
        .await
        .expect("the connection lives");
    publisher.flush().await.expect("the connection lives");
}

/// Waits until `/readyz` answers `wanted`.
async fn becomes(edge: &Edge, wanted: u16) {
    eventually(&format!("/readyz answers {wanted}"), async || {
        (edge.admin("/readyz").await.0 == wanted).then_some(())
    })
    .await;
}

/// The next message must say that publications are missing because NATS was away; gives the channel.
async fn told_of_the_outage(client: &mut Client) -> String {
    match next(client).await.body {
        ServerBody::Push(Push::Lost(lost)) => {
            assert_eq!(lost.reason, LostReason::NatsDisconnected);
            lost.channel.to_string()
        }
        other => panic!("expected a loss, got {other:?}"),
    }
}

/// The next message must be an error.
async fn refused(client: &mut Client) -> ErrorMessage {
    match next(client).await.body {
        ServerBody::Push(Push::Error(error)) => error,
        other => panic!("expected an error, got {other:?}"),
    }
}

fn text(payload: &Payload) -> String {
    match payload {
        Payload::Json(json) => serde_json::from_str(json.get()).expect("a JSON text"),
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

#[tokio::test]
async fn every_subscription_is_told_of_each_outage_once_and_goes_on_after_it() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &quick()).await;
    let mut clients = [
        subscriber(&edge, None, &["a", "b.*"]).await,
        subscriber(&edge, None, &["b.*", "a"]).await,
    ];
    let mut pid = nats.pid();
    for outage in ["first", "second"] {
        send_signal(pid, Signal::KILL);
        for client in &mut clients {
            let mut told = [told_of_the_outage(client).await, told_of_the_outage(client).await];
            told.sort();
            assert_eq!(told, ["a", "b.*"]);
        }
        let publisher = nats.client().await;
        for subject in ["a", "b.1"] {
            publish(&publisher, subject, outage).await;
            for client in &mut clients {
                let update = next_update(client).await;
                assert_eq!(update.subject.as_deref().unwrap_or("a"), subject);
                assert_eq!(text(&update.payload), outage);
            }
        }
        // The supervisor tells of the new one when it has looked at it itself.
        pid = eventually("another nats-server", async || {
            Some(nats.pid()).filter(|now| *now != pid)
        })
        .await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn readyz_fails_while_nats_is_away_and_livez_and_sessions_do_not() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), &quick()).await;
    let mut client = subscriber(&edge, None, &[]).await;
    assert_eq!(edge.admin("/readyz").await.0, 200);
    let port = nats.kill();
    becomes(&edge, 503).await;
    assert!(edge.admin("/readyz").await.1.contains("NATS"));
    assert_eq!(edge.admin("/livez").await.0, 200);
    client.send(Some(7), Command::Ping).await.unwrap();
    let answer = next(&mut client).await;
    assert_eq!((answer.kind(), answer.id), ("pong", Some(7)));
    let _nats = NatsProcess::start_on(port, "").await;
    becomes(&edge, 200).await;
    edge.stop().await;
}

#[tokio::test]
async fn commands_while_nats_is_away_are_answered_unavailable_and_work_when_it_is_back() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), &quick()).await;
    let mut client = subscriber(&edge, None, &[]).await;
    let port = nats.kill();
    becomes(&edge, 503).await;
    let publication = Command::Publish(Publish {
        channel: Channel::new("chat.room").unwrap(),
        payload: Payload::from_json(&serde_json::json!("hello")).unwrap(),
        key: None,
    });
    for (id, command) in [(1, publication.clone()), (2, subscribe("chat.room"))] {
        let asked = Instant::now();
        client.send(Some(id), command).await.unwrap();
        let error = refused(&mut client).await;
        assert_eq!(
            (error.id, error.code),
            (Some(id), ErrorCode::Unavailable),
            "{error:?}"
        );
        assert!(error.retry_after_ms.is_some(), "{error:?}");
        assert!(asked.elapsed() < Duration::from_secs(7), "{error:?}");
    }
    let _nats = NatsProcess::start_on(port, "").await;
    becomes(&edge, 200).await;
    client.send(Some(3), subscribe("chat.room")).await.unwrap();
    assert_eq!(next(&mut client).await.kind(), "subscribed");
    client.send(Some(4), publication).await.unwrap();
    let mut kinds = [next(&mut client).await, next(&mut client).await].map(|message| message.kind());
    kinds.sort_unstable();
    assert_eq!(kinds, ["published", "update"]);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_whose_commands_wait_for_nats_is_not_taken_for_dead() {
    let nats = NatsProcess::start("").await;
    let config = quick() + "[websocket]\nping_interval_secs = 2\npong_timeout_secs = 1\n";
    let edge = Edge::start_with(&nats.url(), &config).await;
    let mut client = subscriber(&edge, None, &[]).await;
    nats.kill();
    becomes(&edge, 503).await;
    // The client's pongs stand in line behind its command.
    client.send(Some(1), subscribe("a")).await.unwrap();
    assert_eq!(refused(&mut client).await.code, ErrorCode::Unavailable);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_that_starts_before_nats_listens_at_once_and_is_ready_once_nats_is_there() {
    let port = NatsProcess::start("").await.kill();
    let edge = Edge::start_unconnected(&format!("nats://127.0.0.1:{port}"), &quick()).await;
    assert_eq!(edge.admin("/readyz").await.0, 503);
    let mut early = subscriber(&edge, None, &[]).await;
    early.send(Some(1), subscribe("a")).await.unwrap();
    let nats = NatsProcess::start_on(port, "").await;
    becomes(&edge, 200).await;
    assert_eq!(next(&mut early).await.kind(), "subscribed");
    publish(&publisher(nats.address()).await, "a", "hello").await;
    // Nothing can have been lost before the first connection, and nothing is said to be.
    assert_eq!(text(&next_update(&mut early).await.payload), "hello");
    edge.stop().await;
}

#[tokio::test]
async fn a_nats_that_hangs_is_noticed_by_pings_and_healed_when_it_goes_on() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), &quick()).await;
    let mut client = subscriber(&edge, None, &["a"]).await;
    let stopped = Instant::now();
    nats.signal(Signal::STOP);
    becomes(&edge, 503).await;
    assert!(
        stopped.elapsed() < Duration::from_secs(6),
        "{:?}",
        stopped.elapsed()
    );
    nats.signal(Signal::CONT);
    becomes(&edge, 200).await;
    assert_eq!(told_of_the_outage(&mut client).await, "a");
    publish(&publisher(nats.address()).await, "a", "after").await;
    assert_eq!(text(&next_update(&mut client).await.payload), "after");
    edge.stop().await;
}

#[tokio::test]
async fn a_loss_is_told_only_once_nats_sends_again() {
    let nats = NatsProcess::start("").await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", proxy.local_addr().unwrap());
    let (held, release) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    // Breaks every connection once on request, and then holds back what follows CONNECT and PING.
    let (cut, broken) = tokio::sync::watch::channel(false);
    let between = async {
        let mut links = futures_util::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = proxy.accept() => {
                    let (mut edge, _) = accepted.unwrap();
                    let (mut cut, held, release) = (broken.clone(), &held, &release);
                    let address = nats.address();
                    links.push(async move {
                        let mut server = TcpStream::connect(address).await.unwrap();
                        if *cut.borrow() {
                            let (mut from_edge, mut to_edge) = edge.split();
                            let (mut from_server, mut to_server) = server.split();
                            let down = tokio::io::copy(&mut from_server, &mut to_edge);
                            let up = async {
                                let mut bytes = Vec::new();
                                while !bytes.windows(6).any(|window| window == b"PING\r\n") {
                                    assert!(from_edge.read_buf(&mut bytes).await.unwrap() > 0);
                                }
                                to_server.write_all(&bytes).await.unwrap();
                                bytes.clear();
                                while !bytes.windows(6).any(|window| window == b"SUB a ") {
                                    if from_edge.read_buf(&mut bytes).await.unwrap() == 0 {
                                        return;
                                    }
                                }
                                held.notify_one();
                                release.notified().await;
                                to_server.write_all(&bytes).await.unwrap();
                                let _ = tokio::io::copy(&mut from_edge, &mut to_server).await;
                            };
                            let _ = tokio::join!(up, down);
                        } else {
                            tokio::select! {
                                _ = tokio::io::copy_bidirectional(&mut edge, &mut server) => {}
                                _ = cut.wait_for(|cut| *cut) => {}
                            }
                        }
                    });
                }
                Some(()) = futures_util::StreamExt::next(&mut links) => {}
            }
        }
    };
    let test = async {
        let edge = Edge::start_with(&url, &quick()).await;
        let mut client = subscriber(&edge, None, &["a"]).await;
        cut.send_replace(true);
        soon("the edge subscribes again", held.notified()).await;
        // Whoever reads the state anew on this notice must not miss what is published from then on.
        let publisher = publisher(nats.address()).await;
        publish(&publisher, "a", "missed").await;
        client.send(Some(1), Command::Ping).await.unwrap();
        assert_eq!(next(&mut client).await.kind(), "pong");
        release.notify_one();
        assert_eq!(told_of_the_outage(&mut client).await, "a");
        publish(&publisher, "a", "seen").await;
        assert_eq!(text(&next_update(&mut client).await.payload), "seen");
        edge.stop().await;
    };
    tokio::select! {
        () = between => {}
        () = test => {}
    }
}

#[tokio::test]
async fn publications_with_malformed_headers_arrive_and_disturb_nobody() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), &quick()).await;
    let mut client = subscriber(&edge, None, &["a", "b"]).await;
    let mut raw = TcpStream::connect(nats.address()).await.unwrap();
    let mut attack = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    let blocks: [&[u8]; 4] = [
        b"NATS/1.0\r\nno colon here\r\n\r\n",
        b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
        b"NATS/9.9\r\n\r\n",
        b"NATS/1.0 abc\r\n\r\n",
    ];
    for block in blocks {
        attack.extend(format!("HPUB a {0} {0}\r\n", block.len()).bytes());
        attack.extend(block);
        attack.extend(b"\r\n");
    }
    attack.extend(b"PUB b 2\r\n42\r\n");
    raw.write_all(&attack).await.unwrap();
    let mut arrived = Vec::new();
    for _ in 0..=blocks.len() {
        match next(&mut client).await.body {
            ServerBody::Push(Push::Update(update)) => arrived.push(update.channel.to_string()),
            other => panic!("{other:?}"),
        }
    }
    arrived.sort();
    assert_eq!(arrived, ["a", "a", "a", "a", "b"]);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_whose_nats_never_came_ends_in_time_however_much_was_asked_of_it() {
    use tailwater_broker::Connection;
    use tailwater_broker::feed::{Feed, Inbox, Terms};
    use tailwater_broker::history::History;
    use tailwater_protocol::codec::Codec;

    let config = format!("{OPEN}[nats]\nurl = \"nats://127.0.0.1:1\"");
    let file = tailwater_tests::process::config_file(&config);
    let config = tailwater_edge::config::Config::load(Some(file.path()), [], &[]).unwrap();
    let config = tailwater_edge::nats::broker_config(&config.nats).unwrap();
    let inbox = std::sync::Arc::new(Inbox::new(65536));
    let (history, _thread) = History::start(&config).unwrap();
    let connection = Connection::open(&config, "publish").await.unwrap();
    let (streams, _provisioning) = tailwater_broker::Streams::start(connection.clone(), None, Vec::new());
    let feed = Feed::start(
        config,
        vec![inbox],
        Duration::ZERO,
        history,
        connection,
        streams,
        false,
    )
    .await
    .unwrap();
    let handle = feed.handle();
    // More than the queue of the NATS library takes while there is no connection.
    let joins = (0..5000).map(|number| {
        let (handle, channel) = (handle.clone(), Channel::new(&format!("c.{number}")).unwrap());
        async move {
            handle
                .join(0, Codec::Json, &channel, &Terms::default())
                .await
                .is_err()
        }
    });
    let all = futures_util::future::join_all(joins);
    assert!(
        soon("an answer to everybody", all)
            .await
            .into_iter()
            .all(|failed| failed)
    );
    // On a thread that nobody waits for: the end of the test must not hang where this does.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        feed.stop();
        let _ = ended.send(());
    });
    soon("the end", end).await.unwrap();
}
