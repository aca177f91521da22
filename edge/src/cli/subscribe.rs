//! `tailwater sub`: prints what arrives on channels; comes back by itself when the connection breaks.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use tailwater_edge::client::{Client, ClientError, Trust};
use tailwater_edge::config::Secret;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::{CloseCode, Reconnect};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::{Push, Update};

use super::options::{TokenFile, print_line};
use super::signals::Signals;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Subscribe to channels of an edge and print what arrives: one JSON message a line, or for people if
/// standard output is a terminal.
#[derive(Debug, Args)]
pub(super) struct Sub {
    /// WebSocket address of the edge, such as ws://127.0.0.1:8080/ws or wss://edge.example/ws
    url: String,
    /// Channels or patterns, such as `deployments.42` or 'deployments.*'
    #[arg(required = true)]
    channels: Vec<String>,
    /// End after this many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Speak MessagePack with the edge instead of JSON
    #[arg(long)]
    msgpack: bool,
    /// Certificates (PEM) to trust with a wss:// address, instead of the system's
    #[arg(long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    token: TokenFile,
}

/// How a connection ended.
enum Ended {
    /// All that was asked for has come.
    Complete,
    /// Worth another try.
    Broken(ClientError),
}

impl Sub {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let channels = self
            .channels
            .iter()
            .map(|name| Channel::new(name).map_err(|error| anyhow::anyhow!("channel `{name}`: {error}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut signals = Signals::listen()?;
        tokio::select! {
            followed = self.follow(&channels) => followed?,
            _ = signals.next() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Connects again and again, with a pause that doubles until a connection has worked.
    async fn follow(&self, channels: &[Channel]) -> anyhow::Result<()> {
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut pause = FIRST_PAUSE;
        let mut connected_before = false;
        loop {
            let token = self.token.read()?;
            let broken = match self.connect(token.as_ref()).await {
                Ok(mut client) => {
                    (pause, connected_before) = (FIRST_PAUSE, true);
                    match print_all(&mut client, channels, &mut left).await? {
                        Ended::Complete => return Ok(()),
                        Ended::Broken(error) => error,
                    }
                }
                Err(error) if !connected_before => return Err(error.into()),
                Err(error) => error,
            };
            if !is_worth_another_try(&broken) {
                return Err(broken.into());
            }
            let next = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            note(&format!(
                "{broken}; connecting again in {:.1} s",
                next.as_secs_f64()
            ));
            tokio::time::sleep(next).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn connect(&self, token: Option<&Secret>) -> Result<Client, ClientError> {
        let codec = self.msgpack.then_some(Codec::MessagePack);
        let trust = self.ca.clone().map_or(Trust::System, Trust::File);
        Client::connect_as(&self.url, codec, &trust, token).await
    }
}

async fn print_all(client: &mut Client, channels: &[Channel], left: &mut u64) -> anyhow::Result<Ended> {
    let terminal = std::io::stdout().is_terminal();
    for (id, channel) in (1_u32..).zip(channels) {
        let subscribe = Subscribe {
            channel: channel.clone(),
            since: None,
            latest: false,
        };
        if let Err(error) = client.send(Some(id), Command::Subscribe(subscribe)).await {
            return Ok(Ended::Broken(error));
        }
    }
    while *left > 0 {
        let message = match client.next().await {
            Ok(message) => message,
            Err(error) => return Ok(Ended::Broken(error)),
        };
        match &message.body {
            // Unasked: the end follows, and then the token is read again.
            ServerBody::Push(Push::Error(error))
                if message.id.is_none() && error.code == ErrorCode::TokenExpired =>
            {
                note(&error.message);
            }
            ServerBody::Push(Push::Error(error)) => {
                let about = error
                    .channel
                    .as_ref()
                    .map(|channel| format!("channel `{channel}`: "));
                anyhow::bail!("{}{}: {}", about.unwrap_or_default(), error.code, error.message)
            }
            ServerBody::Push(Push::Update(update)) => {
                *left -= 1;
                if terminal {
                    print_line(&pretty(update))?;
                } else {
                    print_json(&message)?;
                }
            }
            // What is missing is part of what arrives.
            ServerBody::Push(Push::Lost(lost)) if terminal => {
                let count = lost.count.map_or("some".to_owned(), |count| count.to_string());
                print_line(&format!(
                    "{}  {count} messages lost: {}",
                    lost.channel, lost.reason
                ))?;
            }
            ServerBody::Push(Push::Lost(_)) => print_json(&message)?,
            _ => {}
        }
    }
    Ok(Ended::Complete)
}

fn print_json(message: &ServerMessage) -> anyhow::Result<()> {
    print_line(&String::from_utf8_lossy(&Codec::Json.encode(message)))
}

fn pretty(update: &Update) -> String {
    let name = update.subject.as_deref().unwrap_or(update.channel.as_str());
    let seconds = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time = seconds.get(11..19).unwrap_or_default();
    let payload = match &update.payload {
        Payload::Json(json) => json.get().to_owned(),
        Payload::Binary(bytes) => format!("{} bytes, not text", bytes.len()),
    };
    format!("\x1b[2m{time}\x1b[0m  \x1b[36m{name}\x1b[0m  {payload}")
}

/// Whether the way the connection ended leaves hope for the next.
fn is_worth_another_try(error: &ClientError) -> bool {
    match error {
        ClientError::Closed { code, .. } => {
            CloseCode::from_code(*code).is_none_or(|code| code.reconnect() != Reconnect::Never)
        }
        ClientError::Address { .. }
        | ClientError::Credentials
        | ClientError::Trust { .. }
        | ClientError::Token
        | ClientError::Decode(_) => false,
        _ => true,
    }
}

fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "tailwater: {line}");
}
