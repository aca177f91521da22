//! One channel, many subscribers, a steady rate: open loop, so that a server which cannot keep up shows as
//! delay and not as a lower rate.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use tailwater_broker::publish::Publisher;
use tailwater_broker::{Connection, Credentials, NatsConfig, TlsConfig};
use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::Push;
use tokio::task::JoinSet;

use crate::process;
use crate::report::{Delays, Report};

/// A subscriber that hears nothing for this long has heard all that it will.
const PATIENCE: Duration = Duration::from_secs(5);

/// One channel, many subscribers.
#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// WebSocket address of the edge
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    url: String,
    /// NATS server to publish on
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    /// Channel to publish on
    #[arg(long, default_value = "bench.fanout")]
    channel: String,
    /// Connections that subscribe
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Publications a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Length of the run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Bytes of each publication
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Speak MessagePack instead of JSON
    #[arg(long)]
    msgpack: bool,
    /// Process of the edge, to account its CPU time
    #[arg(long)]
    pid: Option<u32>,
}

/// What one subscriber has seen.
#[derive(Default)]
struct Seen {
    numbers: Vec<(u32, Instant)>,
}

impl Fanout {
    pub(crate) async fn run(self) -> anyhow::Result<Report> {
        let publisher = self.publisher().await?;
        let total = self.rate * self.seconds;
        let mut readers = JoinSet::new();
        for _ in 0..self.subscribers {
            let client = self.subscribe().await?;
            readers.spawn(read(client, total));
        }
        let cpu_before = self.pid.map(process::cpu_time).transpose()?;
        let begin = Instant::now();
        let pause = Duration::from_secs(1) / self.rate;
        for number in 0..total {
            tokio::time::sleep_until((begin + pause * number).into()).await;
            publisher
                .publish_subject(&self.channel, self.payload(number))
                .await?;
        }
        let seen = readers.join_all().await;
        let cpu = self.pid.map(process::cpu_time).transpose()?;
        let mut report = judge(&seen, total, begin, pause);
        if let (Some(before), Some(after)) = (cpu_before, cpu) {
            #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
            let deliveries = report.delivered.max(1) as f64;
            report.server_cpu_us_per_delivery = Some((after - before).as_secs_f64() * 1e6 / deliveries);
        }
        Ok(report)
    }

    async fn publisher(&self) -> anyhow::Result<Publisher> {
        let config = NatsConfig {
            servers: vec![self.nats.clone()],
            name: "tailwater-bench".to_owned(),
            credentials: Credentials::Anonymous,
            tls: TlsConfig::default(),
            inbox_prefix: "_INBOX_bench".to_owned(),
            connect_timeout: PATIENCE,
            ping_interval: PATIENCE,
            reconnect_max_delay: PATIENCE,
        };
        let connection = Connection::open(&config, "publish").await?;
        connection.wait_until_connected(PATIENCE).await?;
        Ok(Publisher::new(connection))
    }

    async fn subscribe(&self) -> anyhow::Result<Client> {
        let mut client = Client::connect(&self.url, self.msgpack.then_some(Codec::MessagePack)).await?;
        let channel = Channel::new(&self.channel)?;
        client
            .send(
                None,
                Command::Subscribe(Subscribe {
                    channel,
                    since: None,
                    latest: false,
                }),
            )
            .await?;
        loop {
            let message = client.next().await?;
            match message.kind() {
                "connected" => {}
                "subscribed" => return Ok(client),
                _ => anyhow::bail!("the edge answers {message:?}"),
            }
        }
    }

    /// A JSON text of `size` bytes that begins with the number.
    fn payload(&self, number: u32) -> Bytes {
        let text = format!("\"{number} ");
        Bytes::from(format!(
            "{text:.<width$}\"",
            width = self.size.saturating_sub(1).max(text.len())
        ))
    }
}

/// Reads until the last publication has come, nothing comes any more, or the connection ends.
async fn read(mut client: Client, total: u32) -> Seen {
    let mut seen = Seen::default();
    while let Ok(Ok(message)) = tokio::time::timeout(PATIENCE, client.next()).await {
        let ServerBody::Push(Push::Update(update)) = message.body else {
            continue;
        };
        let Payload::Json(text) = update.payload else {
            continue;
        };
        let number = text
            .get()
            .trim_start_matches('"')
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok());
        let Some(number) = number else { continue };
        seen.numbers.push((number, Instant::now()));
        if number + 1 == total {
            break;
        }
    }
    seen
}

fn judge(seen: &[Seen], total: u32, begin: Instant, pause: Duration) -> Report {
    let mut report = Report {
        published: u64::from(total),
        ..Report::default()
    };
    let mut delays = Vec::new();
    for subscriber in seen {
        let mut next = 0;
        let mut unique = 0;
        let mut known = vec![false; total as usize];
        for (number, arrived) in &subscriber.numbers {
            report.delivered += 1;
            delays.push(arrived.duration_since(begin + pause * *number));
            match known.get_mut(*number as usize) {
                Some(known) if !*known => {
                    *known = true;
                    unique += 1;
                    report.out_of_order += u64::from(*number < next);
                    next = number + 1;
                }
                _ => report.doubled += 1,
            }
        }
        report.lost += u64::from(total - unique);
    }
    report.delay_us = Delays::of(&mut delays);
    report
}
