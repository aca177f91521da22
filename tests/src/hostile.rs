//! Attackers beside honest clients: whatever a stranger does, the others are served, and about as fast.
//!
//! Each attack runs in a process of its own that yields the processor to the rest, because here it is the edge's defence
//! that is measured and not who gets a core.

pub mod attack;
pub mod honest;

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::process::Ready;
use crate::{NatsServer, Process};
use attack::Attack;
use honest::{Delays, Honest};

/// Small limits, so that every attack meets its own.
const CONFIG: &str = r#"
[namespace.honest]
channels = "honest.>"
anonymous = true
[namespace.open]
channels = "open.>"
anonymous = true
publish = true
[websocket]
max_message_bytes = 65536
max_channels_per_session = 32
header_timeout_secs = 1
[outbox]
max_bytes = 65536
send_buffer_bytes = 8192
stall_timeout_secs = 2
[limits]
connections_per_address = 100
handshakes_per_address_per_sec = 200
commands_per_sec = 50
bytes_per_sec = 65536
[identity.issuer.tests]
hmac_secret = "a secret of the tests with more than 32 bytes"
"#;

/// How much longer than without an attack a delivery may take, at the median.
pub const RATIO: f64 = 1.5;

/// Below this a delay is as good as none: what the scheduler of a busy machine does to it is more.
const NEGLIGIBLE: Duration = Duration::from_millis(5);

/// How often an attack is made before a delay counts as its doing: what a busy machine does passes, what an attack does
/// comes again. Losses and memory count at once.
const TRIES: usize = 3;

/// The most memory that the edge may hold at the end, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// How one attack went.
pub struct Verdict {
    /// Which.
    pub attack: Attack,
    /// Of the honest clients before it.
    pub before: Delays,
    /// And during it.
    pub during: Delays,
    /// What the edge's process holds behind it, in bytes.
    pub memory: u64,
}

impl Verdict {
    /// Whether the honest clients got everything, about as fast, and the edge's memory stayed bounded.
    pub fn is_well(&self) -> bool {
        self.is_whole() && !self.is_slow()
    }

    fn is_whole(&self) -> bool {
        self.during.missing == 0 && self.memory <= MOST_MEMORY
    }

    fn is_slow(&self) -> bool {
        self.during.median > NEGLIGIBLE.max(self.before.median.mul_f64(RATIO))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_well() { "well" } else { "HURT" };
        write!(
            out,
            "{:<14} {verdict}: before {}, during {}, edge {} MiB",
            self.attack.name(),
            self.before,
            self.during,
            self.memory >> 20
        )
    }
}

/// Runs every one of `attacks` for `time` against one edge, one after the other. `program` is this program, which runs an
/// attack when it is called as `attack NAME URL SECONDS`.
///
/// # Panics
/// If nats-server or the edge does not start.
pub async fn run(attacks: &[Attack], time: Duration, program: &std::path::Path) -> Vec<Verdict> {
    let nats = NatsServer::start().await;
    let (_edge, ready) = Process::serve(nats.url(), CONFIG).await;
    let mut honest = Honest::start(ready.text("ws"), nats.client().await).await;
    let mut verdicts = Vec::new();
    // The first deliveries of all pay for what is set up once.
    honest.measure(Duration::from_secs(1)).await;
    for attack in attacks {
        let mut verdict = one(*attack, &mut honest, &ready, time, program).await;
        for _ in 1..TRIES {
            if verdict.is_whole() && verdict.is_slow() {
                verdict = one(*attack, &mut honest, &ready, time, program).await;
            }
        }
        verdicts.push(verdict);
    }
    verdicts
}

async fn one(
    attack: Attack,
    honest: &mut Honest,
    ready: &Ready,
    time: Duration,
    program: &std::path::Path,
) -> Verdict {
    let before = honest.measure(time).await;
    let mut attacker = Command::new("nice");
    attacker.args(["-n", "19"]).arg(program);
    attacker.args(["attack", attack.name(), ready.text("ws")]);
    attacker.arg(time.as_secs().to_string());
    let attacker = attacker.stdin(Stdio::null()).kill_on_drop(true).spawn();
    let mut attacker = attacker.expect("an attacker runs");
    let during = honest.measure(time).await;
    let ended = crate::soon("the end of the attacker", attacker.wait()).await;
    assert!(ended.is_ok_and(|ended| ended.success()), "{} runs", attack.name());
    Verdict {
        attack,
        before,
        during,
        memory: ready.memory(),
    }
}
