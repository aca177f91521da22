//! Who publishes: acknowledged, plainly, in bursts, and with headers that are none. Each payload says its kind, its
//! publisher and its number, counted for each publisher and channel.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, message::PublishMessage};
use async_nats::{Client, ConnectOptions, ServerAddr};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::truth::{Stored, SubjectId, Truth, fingerprint, lock};
use crate::raw_nats::RawNats;

/// How long a publication is tried again when the run is over.
const LAST_TRIES: Duration = Duration::from_secs(30);

/// What all publishers share.
pub struct Publishing {
    /// The subjects of a run.
    pub channels: Vec<String>,
    nodes: Vec<SocketAddr>,
    client: Client,
    context: jetstream::Context,
    run: u64,
    stopped: AtomicBool,
    ledger: Mutex<Ledger>,
    truth: Arc<Mutex<Truth>>,
    /// Attempts beyond the first.
    pub retries: AtomicU64,
    /// Publications that were given up, because the run was over: nobody knows whether they are stored.
    pub unacknowledged: AtomicU64,
    /// Plain publications that were handed to NATS.
    pub plain: AtomicU64,
    /// Publications in bursts that were handed to NATS.
    pub burst: AtomicU64,
    /// Publications with forged headers that were handed to NATS.
    pub forged: AtomicU64,
    numbers: AtomicU64,
}

/// What was acknowledged: it must be in the stream.
#[derive(Debug, Default)]
pub struct Ledger {
    waiting: VecDeque<(SubjectId, Stored)>,
    acknowledged: u64,
    wrong: u64,
    wrongs: Vec<String>,
}

impl Ledger {
    /// Notes an acknowledgement.
    pub fn add(&mut self, subject: SubjectId, stored: Stored) {
        self.acknowledged += 1;
        self.waiting.push_back((subject, stored));
    }

    /// Compares with the stream what can be compared now.
    pub fn settle(&mut self, truth: &Truth) {
        while let Some((subject, acknowledged)) = self.waiting.front().copied() {
            if acknowledged.offset > truth.upto() {
                return;
            }
            self.waiting.pop_front();
            let stored = truth.stored(subject);
            let found = stored.binary_search_by_key(&acknowledged.offset, |stored| stored.offset);
            if found.is_ok_and(|index| stored[index] == acknowledged) {
                continue;
            }
            self.complain(truth, subject, acknowledged);
        }
    }

    /// The end: what is not in the stream now is not stored.
    pub fn finish(&mut self, truth: &Truth) {
        self.settle(truth);
        while let Some((subject, acknowledged)) = self.waiting.pop_front() {
            self.complain(truth, subject, acknowledged);
        }
    }

    /// Whether everything that was acknowledged has been compared.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// How many of them the stream does not hold, and the first of those in words.
    pub fn wrongs(&self) -> (u64, &[String]) {
        (self.wrong, &self.wrongs)
    }

    fn complain(&mut self, truth: &Truth, subject: SubjectId, stored: Stored) {
        self.wrong += 1;
        if self.wrongs.len() < 20 {
            let name = truth.name(subject);
            self.wrongs.push(format!(
                "acknowledged and not in the stream: {name} at {}",
                stored.offset
            ));
        }
    }
}

impl Publishing {
    /// Connects to the cluster.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn connect(
        nodes: Vec<SocketAddr>,
        channels: Vec<String>,
        truth: Arc<Mutex<Truth>>,
    ) -> Arc<Self> {
        let addresses: Vec<ServerAddr> = nodes
            .iter()
            .map(|node| node.to_string().parse().expect("an address"))
            .collect();
        let client = ConnectOptions::new()
            .ping_interval(Duration::from_secs(1))
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(2)))
            .reconnect_delay_callback(|_| Duration::from_millis(100))
            .connect(addresses)
            .await
            .expect("the cluster answers");
        let context = jetstream::new(client.clone());
        Arc::new(Self {
            channels,
            nodes,
            client,
            context,
            run: fastrand::u64(..),
            stopped: AtomicBool::new(false),
            ledger: Mutex::default(),
            truth,
            retries: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            burst: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
        })
    }

    /// Starts `count` publishers that publish `rate` a second together, every second one acknowledged.
    pub fn start(self: &Arc<Self>, count: usize, rate: f64, random: &mut fastrand::Rng) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for publisher in 0..count {
            let every = Duration::from_secs_f64(count as f64 / rate);
            let random = random.fork();
            if publisher % 2 == 0 {
                tasks.spawn(self.clone().acknowledged(publisher, every, random));
            } else {
                tasks.spawn(self.clone().plainly(publisher, every, random));
            }
        }
        tasks
    }

    /// Ends the publishers; one that waits for an acknowledgement goes on for half a minute at most.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// What was acknowledged.
    pub fn ledger(&self) -> &Mutex<Ledger> {
        &self.ledger
    }

    /// Publishes on `channel` until it is acknowledged, and gives the offset; nothing if the run ends before.
    pub async fn acknowledge(
        &self,
        kind: &str,
        channel: usize,
        publisher: usize,
        number: u64,
    ) -> Option<u64> {
        let subject = &self.channels[channel];
        let payload = payload(kind, publisher, number);
        let id = format!("{:x}-{kind}-{publisher}-{channel}-{number}", self.run);
        let mut over = None;
        loop {
            let message = PublishMessage::build().payload(payload.clone()).message_id(&id);
            let attempt = async { self.context.send_publish(subject.clone(), message).await?.await };
            if let Ok(Ok(acknowledgement)) = timeout(Duration::from_secs(3), attempt).await {
                let stored = Stored {
                    offset: acknowledgement.sequence,
                    print: fingerprint(&payload),
                };
                let subject = lock(&self.truth).id(subject);
                lock(&self.ledger).add(subject, stored);
                return Some(stored.offset);
            }
            if self.stopped.load(Ordering::Relaxed)
                && over.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES
            {
                self.unacknowledged.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            super::pause(Duration::from_millis(100)).await;
        }
    }

    /// One acknowledged publication on every channel: subject and offset of each.
    pub async fn probe(&self) -> Vec<(SubjectId, u64)> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let probes = (0..self.channels.len()).map(async |channel| {
            let offset = self.acknowledge("probe", channel, 0, number).await?;
            Some((lock(&self.truth).id(&self.channels[channel]), offset))
        });
        let probes = futures_util::future::join_all(probes).await;
        probes.into_iter().flatten().collect()
    }

    /// Publishes `count` plain messages on one channel at once.
    pub async fn burst(&self, channel: usize, count: u64) {
        let burst = async {
            for number in 0..count {
                let payload = payload("burst", 0, number);
                if self
                    .client
                    .publish(self.channels[channel].clone(), payload)
                    .await
                    .is_ok()
                {
                    self.burst.fetch_add(1, Ordering::Relaxed);
                }
            }
            let _ = self.client.flush().await;
        };
        // NATS may be away: what does not get through then was never promised.
        let _ = timeout(Duration::from_secs(20), burst).await;
    }

    /// Publishes with every kind of headers that nobody should believe or stumble over: into the channel, and past
    /// the stream to where the edges listen.
    pub async fn forge(&self, channel: usize) {
        for node in &self.nodes {
            if let Ok(Ok(())) = timeout(Duration::from_secs(3), self.forge_at(*node, channel)).await {
                return;
            }
        }
    }

    async fn forge_at(&self, node: SocketAddr, channel: usize) -> std::io::Result<()> {
        let mut nats = RawNats::connect(node).await?;
        let subject = &self.channels[channel];
        let live = format!("_tw.live.{subject}");
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let forged = STORED_FORGERIES.iter().map(|headers| (subject, headers.to_vec()));
        let direct = live_forgeries(subject)
            .into_iter()
            .map(|headers| (&live, headers));
        for (subject, headers) in forged.chain(direct) {
            nats.publish(subject, &headers, &payload("forged", 0, number))
                .await?;
            self.forged.fetch_add(1, Ordering::Relaxed);
        }
        nats.flush().await
    }

    async fn acknowledged(self: Arc<Self>, publisher: usize, every: Duration, mut random: fastrand::Rng) {
        let mut tick = tokio::time::interval(every);
        // What an election delayed is not made up for at once: that is what bursts are for.
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut numbers = vec![0; self.channels.len()];
        while !self.stopped.load(Ordering::Relaxed) {
            tick.tick().await;
            let channel = random.usize(..self.channels.len());
            numbers[channel] += 1;
            self.acknowledge("acked", channel, publisher, numbers[channel])
                .await;
        }
    }

    async fn plainly(self: Arc<Self>, publisher: usize, every: Duration, mut random: fastrand::Rng) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut numbers = vec![0; self.channels.len()];
        while !self.stopped.load(Ordering::Relaxed) {
            tick.tick().await;
            let channel = random.usize(..self.channels.len());
            numbers[channel] += 1;
            let payload = payload("plain", publisher, numbers[channel]);
            let publishing = self.client.publish(self.channels[channel].clone(), payload);
            if let Ok(Ok(())) = timeout(Duration::from_secs(3), publishing).await {
                self.plain.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn payload(kind: &str, publisher: usize, number: u64) -> Bytes {
    format!(r#"{{"k":"{kind}","p":{publisher},"n":{number}}}"#).into()
}

/// Headers of publications that the stream stores as they are.
const STORED_FORGERIES: [&[u8]; 13] = [
    b"NATS/1.0\r\nNats-Stream: OTHER\r\nNats-Subject: other\r\nNats-Sequence: 999999\r\nNats-Last-Sequence: 0\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: 1\r\nNats-Last-Sequence: 18446744073709551615\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: 1\nNats-Sequence: 2\r\n\r\n",
    b"NATS/1.0\r\nNats-Time-Stamp: yesterday\r\nNats-Num-Pending: 0\r\nNats-UpTo-Sequence: 7\r\n\r\n",
    b"NATS/1.0\r\nX: \xff\xfe\x00\xc3\x28\r\n\r\n",
    b"NATS/1.0\r\na line without a colon\r\n\r\n",
    b"NATS/1.0\r\nA name: with a space\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 204 EOB\r\nNats-UpTo-Sequence: 1\r\nNats-Last-Sequence: 1\r\n\r\n",
    b"NATS/9.9\r\nA: b\r\n\r\n",
    b"NATS/1.0 abc\r\n\r\n",
    b"no headers at all\r\n\r\n",
    // The server cuts off what should be the empty line, and puts its own headers there.
    b"NATS/1.0\r\nA: no end",
];

/// Headers of publications on the subject where the edges listen, none of which the stream can have sent: what is
/// true of all but the first is the stream or the subject, never both.
fn live_forgeries(subject: &str) -> Vec<Vec<u8>> {
    let numbers =
        "Nats-Sequence: 999999999\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\nNats-Last-Sequence: 0\r\n";
    let texts = [
        String::new(),
        format!("NATS/1.0\r\nNats-Stream: OTHER\r\nNats-Subject: {subject}\r\n{numbers}\r\n"),
        format!("NATS/1.0\r\nNats-Stream: CHECK\r\nNats-Subject: {subject}.other\r\n{numbers}\r\n"),
        format!("NATS/1.0\r\nNats-Stream: CHECK\r\n{numbers}\r\n"),
        format!("NATS/1.0\r\nNats-Stream: CHECK\r\nNats-Subject: {subject}\r\nNats-Sequence: many\r\n\r\n"),
        format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n{numbers}\r\n"),
        "NATS/1.0\r\nno colon\r\n\r\n".to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_and_is_not_in_the_stream_is_told() {
        let mut truth = Truth::default();
        truth.store("check.a.0", 1, b"one");
        truth.store("_tw.sync.CHECK", 2, b"");
        let acknowledged = |offset, payload| Stored {
            offset,
            print: fingerprint(payload),
        };
        let mut ledger = Ledger::default();
        for (offset, payload) in [(1, b"one"), (1, b"two"), (2, b"two"), (3, b"old")] {
            ledger.add(0, acknowledged(offset, payload));
        }
        ledger.settle(&truth);
        assert_eq!(ledger.wrongs().0, 2, "another payload, and another subject");
        assert!(!ledger.is_settled(), "the third may still be read");
        ledger.finish(&truth);
        assert_eq!((ledger.acknowledged(), ledger.wrongs().0), (4, 3));
        assert!(
            ledger.wrongs().1[2].contains("check.a.0 at 3"),
            "{:?}",
            ledger.wrongs()
        );
    }
}
