//! Nothing lost and nothing doubled over connections that break at any place, for clients that keep nothing but what they
//! are told to keep. Streams of several channels or of a pattern may repeat what came since their last place.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tailwater_tests::durable::Publisher;
use tailwater_tests::soon;

use super::{answered, ask_on, edge, listed, of, stream};

const COUNT: u64 = 1500;

/// Publishes [`COUNT`] publications on `d.0`, `d.1` and `d.2` in turns, in bursts.
async fn publish_all(publisher: &Publisher) {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for burst in 0..COUNT / 50 {
        for number in 0..50 {
            let number = burst * 50 + number;
            let subject = format!("d.{}", number % 3);
            let payload = number.to_string().into();
            publisher
                .client()
                .publish(subject, payload)
                .await
                .expect("the connection lives");
        }
        publisher.client().flush().await.expect("the connection lives");
        // Each burst is a batch of its own.
        pause.tick().await;
    }
}

/// What came of each channel, by its name as subscribed.
#[derive(Default)]
struct Seen(BTreeMap<String, Numbers>);

#[derive(Default)]
struct Numbers {
    in_order: Vec<u64>,
    different: HashSet<u64>,
}

impl Seen {
    fn take(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("update") => {
                let channel = message["channel"].as_str().expect("a channel").to_owned();
                let number = message["payload"].as_u64().expect("a number");
                let numbers = self.0.entry(channel).or_default();
                numbers.in_order.push(number);
                numbers.different.insert(number);
            }
            Some("lost" | "error") => panic!("{message}"),
            _ => {}
        }
    }

    /// How many different ones.
    fn count(&self, channel: &str) -> u64 {
        self.0
            .get(channel)
            .map_or(0, |numbers| numbers.different.len() as u64)
    }

    /// Everything once, in the order of each subject.
    #[track_caller]
    fn expect_all_once(&self, channel: &str, subjects: &[u64]) {
        let numbers = self.0.get(channel).expect("something came");
        for subject in subjects {
            let of_subject = |number: &u64| number % 3 == *subject;
            let found: Vec<u64> = numbers.in_order.iter().copied().filter(of_subject).collect();
            let expected: Vec<u64> = (0..COUNT).filter(of_subject).collect();
            assert_eq!(found, expected, "{channel}, subject {subject}");
        }
    }
}

#[tokio::test]
async fn an_event_source_of_one_channel_gets_everything_once() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut source = stream(&edge, "channel=d.1").await;
    source.next_of("subscribed").await;
    let client = async {
        let (mut seen, mut cut_at) = (Seen::default(), 7);
        while seen.count("d.1") < 500 {
            let message = source.next().await.expect("the stream lives");
            seen.take(&message);
            if seen.count("d.1") >= cut_at {
                cut_at += 23;
                source.reconnect().await;
            }
        }
        seen
    };
    let (seen, ()) = soon("all of it", async {
        tokio::join!(client, publish_all(&publisher))
    })
    .await;
    seen.expect_all_once("d.1", &[1]);
    edge.stop().await;
}

#[tokio::test]
async fn an_event_source_of_several_channels_and_a_pattern_misses_nothing() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut source = stream(&edge, "channel=d.0&channel=live.x&channel=d.%2A&channel=d.2").await;
    while source.last_id().is_empty() {
        source.next().await.expect("the stream lives");
    }
    let client = async {
        let (mut seen, mut cut_at, mut cuts) = (Seen::default(), 50, 0);
        while seen.count("d.0") < 500 || seen.count("d.2") < 500 || seen.count("d.*") < 1500 {
            let message = source.next().await.expect("the stream lives");
            seen.take(&message);
            if seen.count("d.*") >= cut_at && cuts < 20 {
                (cut_at, cuts) = (cut_at + 61, cuts + 1);
                source.reconnect().await;
            }
        }
        cuts
    };
    let (cuts, ()) = soon("all of it", async {
        tokio::join!(client, publish_all(&publisher))
    })
    .await;
    assert_eq!(cuts, 20);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_polls_gets_everything_once() {
    let (nats, edge) = edge("[limits]\nhandshakes_per_address_per_sec = 0\n").await;
    let publisher = Publisher::connect(nats.url()).await;
    let address = edge.server().public_addr();
    let channels = "channel=d.1&channel=d.%2A&channel=d.2";
    let (mut seen, mut cursor) = (Seen::default(), String::new());
    let mut socket = tailwater_tests::RawSocket::open(address).await;
    let poll = async |socket: &mut tailwater_tests::RawSocket, cursor: &str, wait: u32| {
        let line = format!("GET /poll?{channels}&wait={wait}&cursor={cursor}");
        let (status, _, body) = ask_on(socket, &line, &[], "").await;
        assert_eq!(status, 200, "{body}");
        answered(&body)
    };
    let (_, first) = poll(&mut socket, &cursor, 0).await;
    cursor.push_str(&first);
    let client = async {
        let mut polls = 0;
        while seen.count("d.1") < 500 || seen.count("d.2") < 500 || seen.count("d.*") < 1500 {
            polls += 1;
            if polls % 4 == 0 {
                // The answer is lost with the connection; the cursor stays what it was.
                let line =
                    format!("GET /poll?{channels}&wait=5&cursor={cursor} HTTP/1.1\r\nHost: edge\r\n\r\n");
                socket.send(line.as_bytes()).await;
                socket = tailwater_tests::RawSocket::open(address).await;
            }
            let (messages, next) = poll(&mut socket, &cursor, 5).await;
            messages.iter().for_each(|message| seen.take(message));
            cursor = next;
        }
        seen
    };
    let (seen, ()) = soon("all of it", async {
        tokio::join!(client, publish_all(&publisher))
    })
    .await;
    seen.expect_all_once("d.1", &[1]);
    seen.expect_all_once("d.2", &[2]);
    seen.expect_all_once("d.*", &[0, 1, 2]);
    edge.stop().await;
}

#[tokio::test]
async fn a_poll_that_is_ended_meanwhile_moves_the_cursor_over_nothing_that_it_did_not_bring() {
    let (nats, edge) = edge("[limits]\nhandshakes_per_address_per_sec = 0\n").await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut socket = tailwater_tests::RawSocket::open(edge.server().public_addr()).await;
    let (_, _, first) = ask_on(&mut socket, "GET /poll?channel=d.1&wait=0", &[], "").await;
    let (_, mut cursor) = answered(&first);
    let client = async {
        let (mut seen, mut ended) = (Seen::default(), 0);
        while seen.count("d.1") < COUNT {
            let line = format!("GET /poll?channel=d.1&wait=5&cursor={cursor}");
            let (status, _, body) = ask_on(&mut socket, &line, &[], "").await;
            assert_eq!(status, 200, "{body}");
            let (messages, next) = answered(&body);
            ended += of(&messages, "close").len();
            messages.iter().for_each(|message| seen.take(message));
            cursor = next;
        }
        (seen, ended)
    };
    // Orders and publications arrive together.
    let send = async |subject: &'static str, payload: String| {
        let sent = publisher.client().publish(subject, payload.into()).await;
        sent.expect("the connection lives");
    };
    let operator = async {
        let mut number = 0;
        while number < COUNT {
            for session in listed(&edge, "").await {
                let order = serde_json::json!({"session": session["id"]}).to_string();
                send("_tw.control.disconnect", order).await;
            }
            for _ in 0..3 {
                send("d.1", number.to_string()).await;
                number += 1;
            }
            publisher.client().flush().await.expect("the connection lives");
        }
    };
    let all = async { tokio::join!(client, operator).0 };
    let (seen, ended) = soon("all of it", all).await;
    assert!(ended > 0, "some polls were ended");
    seen.expect_all_once("d.1", &[0, 1, 2]);
    edge.stop().await;
}
