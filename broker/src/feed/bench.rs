//! The feed on one thread, at the other end of a socket whose other end is the benchmark's: what the micro-benchmarks
//! measure of this crate. From the bytes that NATS sends to what a worker takes from its inbox, all is the real thing.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::position::Epoch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::interest::Progress;
use super::pending::{Held, Outlets, Pending};
use super::reader::Reader;
use super::stream_feed::StreamFeed;
use super::{Delivery, FeedHandle, Inbox, Interest, Membership, Registry, Terms};
use crate::config::{Credentials, NatsConfig, TlsConfig};
use crate::connection::ConnectionState;
use crate::error::BrokerError;
use crate::health::Health;
use crate::history::History;
use crate::stream::Stream;
use crate::wire::{self, RequestsOnly, ServerOrder};

/// No timer of the connection goes off while a benchmark runs.
const NEVER: Duration = Duration::from_secs(3600);

/// Far more than a benchmark puts there.
const INBOX_BYTES: usize = 64 * 1024 * 1024;

/// A feed with one interest, whose publications go to one inbox.
#[derive(Debug)]
pub struct BenchFeed {
    runtime: Runtime,
    tasks: LocalSet,
    server: TcpStream,
    inbox: Arc<Inbox>,
    handle: FeedHandle,
    channel: Channel,
    terms: Terms,
    /// One for each codec in use.
    memberships: Vec<Membership>,
}

impl BenchFeed {
    /// Subscribes to `channel` for subscribers of each of `codecs`; of a durable channel the stream's name is given.
    ///
    /// # Errors
    /// What the system refuses: a socket or a runtime.
    ///
    /// # Panics
    /// If the connection does not become what it should.
    pub fn open(channel: &Channel, codecs: &[Codec], stream: Option<&str>) -> Result<Self, BrokerError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(BrokerError::Thread)?;
        listener.set_nonblocking(true).map_err(BrokerError::Thread)?;
        let config = config(&listener).map_err(BrokerError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let inbox = Arc::new(Inbox::new(INBOX_BYTES));
        let (unused, _) = wire::open(&config, "history", ServerOrder::Shuffled, RequestsOnly)?;
        let outlets = Rc::new(Outlets {
            inboxes: Arc::from([inbox.clone()]),
            history: History::over(unused),
            gaps: Arc::default(),
            traces: false,
        });
        let registry = Registry::default();
        let reader = Reader::new(registry.clone(), outlets, Rc::new(Held::default()));
        let (wire, driver) = wire::open(&config, "live", ServerOrder::Shuffled, reader)?;

        let (requests, _) = mpsc::channel(1);
        let handle = FeedHandle {
            registry,
            requests,
            timelines: Arc::default(),
            next_id: Arc::default(),
            health: Health::new(
                watch::channel(ConnectionState::Connected).1,
                Arc::default(),
                Arc::default(),
            ),
            gaps: Arc::default(),
        };
        let terms = Terms {
            stream: stream.map(|name| Arc::new(bench_stream(name))),
            ..Terms::default()
        };
        let join = |codec: &Codec| handle.enter(0, (*codec).into(), channel, &terms);
        let memberships: Vec<Membership> = codecs.iter().map(join).collect();
        let interest = memberships.first().expect("a codec").interest().clone();
        let ordered = interest.durable.as_ref();
        let ordered = ordered.map(|durable| Rc::new(StreamFeed::new(durable.timeline.clone())));
        let pending = Pending::new(interest.clone(), ordered);
        if let Some(ordered) = &mut pending.borrow_mut().ordered {
            ordered.sequence.settle(0);
        }
        interest.progress.send_replace(Progress::Active);

        let tasks = LocalSet::new();
        tasks.spawn_local(driver.run());
        let subscribe = async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (mut server, _) = listener.accept().await?;
            server
                .write_all(b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n")
                .await?;
            answer_ping(&mut server).await?;
            let subject = interest.key.subject.as_str();
            let subscribed = wire.subscribe(subject, pending.clone()).await;
            subscribed.expect("the connection runs");
            answer_ping(&mut server).await?;
            let server = server.into_std()?;
            server.set_nonblocking(false)?;
            Ok(server)
        };
        let server: io::Result<TcpStream> = tasks.block_on(&runtime, subscribe);
        // The connection lives as long as somebody may ask something of it.
        tasks.spawn_local(async move {
            let _wire = wire;
            std::future::pending::<()>().await;
        });
        Ok(Self {
            runtime,
            tasks,
            server: server.map_err(BrokerError::Thread)?,
            inbox,
            handle,
            channel: channel.clone(),
            terms,
            memberships,
        })
    }

    /// The interest.
    pub fn interest(&self) -> &Arc<Interest> {
        self.membership().interest()
    }

    /// The membership of the first codec.
    pub fn membership(&self) -> &Membership {
        &self.memberships[0]
    }

    /// The number of its subscription, as NATS repeats it in every message.
    pub fn sid(&self) -> u64 {
        1
    }

    /// Sends what NATS would send; it lies in the socket until [`BenchFeed::receive`].
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        self.server.write_all(lines)
    }

    /// Reads until so many frames have come to the inbox, and takes them out of it.
    pub fn receive(&mut self, frames: usize, deliveries: &mut Vec<Delivery>) {
        let inbox = self.inbox.clone();
        self.tasks.block_on(&self.runtime, async {
            let mut missing = frames;
            let mut taken = Vec::new();
            while missing > 0 {
                inbox.take(&mut taken).await;
                for delivery in taken.drain(..) {
                    if let Delivery::Batch { batch, .. } = &delivery {
                        missing = missing.saturating_sub(batch.len());
                    }
                    deliveries.push(delivery);
                }
            }
        });
    }

    /// Joins the interest as one more subscriber, as a session does for its client, and leaves again.
    ///
    /// # Panics
    /// If the interest had to be asked of NATS: it is there.
    pub fn join_and_leave(&self, codec: Codec) {
        let _context = self.runtime.enter();
        let joined = self.handle.join(0, codec, &self.channel, &self.terms);
        let membership = joined.now_or_never().expect("the interest is active");
        drop(membership.expect("the interest is open"));
    }
}

fn config(server: &TcpListener) -> io::Result<NatsConfig> {
    Ok(NatsConfig {
        servers: vec![format!("nats://{}", server.local_addr()?)],
        name: "bench".to_owned(),
        credentials: Credentials::Anonymous,
        tls: TlsConfig::default(),
        inbox_prefix: "_INBOX".to_owned(),
        connect_timeout: NEVER,
        ping_interval: NEVER,
        reconnect_max_delay: NEVER,
    })
}

fn bench_stream(name: &str) -> Stream {
    Stream {
        name: name.into(),
        live_prefix: crate::stream::LIVE_PREFIX.into(),
        sync_subject: format!("_tw.sync.{name}").into(),
        api_prefix: "$JS.API".into(),
        max_messages_per_subject: None,
        audit_interval: NEVER,
        epoch: Epoch::new("1-0").expect("an epoch"),
    }
}

/// Answers the PING that stands behind what the edge has sent.
async fn answer_ping(server: &mut tokio::net::TcpStream) -> io::Result<()> {
    let mut said = Vec::new();
    while !said.ends_with(b"PING\r\n") {
        if server.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    server.write_all(b"PONG\r\n").await
}
