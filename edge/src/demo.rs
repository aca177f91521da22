//! A simulated deployment system, as a microservice would be: all it does is plain NATS publishes on
//! `deployments.<id>.status` and `deployments.<id>.log`. `tailwater dev` runs it for the page at `/demo`.

mod script;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tailwater_broker::publish::Publisher;

use script::{Level, Outcome, Phase, Script, Step};

/// Deployments under way at the same time.
const AT_ONCE: usize = 3;

/// A deployment's state, as published whenever it changes.
#[derive(Clone, Debug, Serialize)]
struct Status {
    id: String,
    service: &'static str,
    version: String,
    environment: &'static str,
    commit: String,
    author: &'static str,
    phase: Phase,
    /// Of the whole deployment, from 0 to 1.
    progress: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<Pods>,
    message: String,
    started: String,
    ts: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Pods {
    ready: u32,
    total: u32,
}

#[derive(Debug, Serialize)]
struct LogLine<'a> {
    id: &'a str,
    ts: String,
    level: Level,
    phase: Phase,
    line: &'a str,
}

/// Publishes deployments until it is dropped. What cannot be published while NATS is away is skipped,
/// as a service without a queue of its own would.
pub async fn run(publisher: Publisher) {
    let mut running = FuturesUnordered::new();
    let mut number = fastrand::u32(100..900);
    let mut recent = VecDeque::from(vec![""; AT_ONCE]);
    loop {
        while running.len() < AT_ONCE {
            number += 1;
            let script = Script::new(&recent);
            recent.pop_front();
            recent.push_back(script.service);
            let pause = pause(0.2..3.0);
            let publisher = publisher.clone();
            running.push(async move {
                pause.await;
                deploy(&publisher, number, script).await;
            });
        }
        running.next().await;
    }
}

async fn deploy(publisher: &Publisher, number: u32, script: Script) {
    let started = now();
    let mut status = Status {
        id: format!("{}-{number}", script.service),
        service: script.service,
        version: format!("v1.{}.{}", number % 60, fastrand::u32(0..10)),
        environment: script.environment,
        commit: format!("{:07x}", fastrand::u32(0x100_0000..0xfff_ffff)),
        author: script.author,
        phase: Phase::Build,
        progress: 0.0,
        pods: None,
        message: String::new(),
        ts: started.clone(),
        started,
    };
    let steps = script.steps();
    let count = steps.len();
    for (
        index,
        Step {
            phase,
            level,
            line,
            ready,
        },
    ) in steps.into_iter().enumerate()
    {
        status.phase = phase;
        status.pods = ready.map(|ready| Pods {
            ready,
            total: script.pods,
        });
        if !matches!(phase, Phase::Failed | Phase::RolledBack) {
            let done = u32::try_from(index + 1).unwrap_or(u32::MAX);
            status.progress = f64::from(done) / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        }
        status.message.clone_from(&line);
        status.ts = now();
        let log = LogLine {
            id: &status.id,
            ts: now(),
            level,
            phase,
            line: &line,
        };
        publish(publisher, &status.id, "log", &log).await;
        publish(publisher, &status.id, "status", &status).await;
        pause(script.pace.clone()).await;
    }
    if script.outcome == Outcome::Done {
        pause(1.0..4.0).await;
    }
}

async fn publish(publisher: &Publisher, id: &str, what: &str, value: &impl Serialize) {
    let Ok(payload) = serde_json::to_vec(value) else {
        return;
    };
    let subject = format!("deployments.{id}.{what}");
    if let Err(error) = publisher.publish_subject(&subject, Bytes::from(payload)).await {
        tracing::debug!(subject, %error, "the demo could not publish");
    }
}

async fn pause(seconds: std::ops::Range<f64>) {
    let span = seconds.end - seconds.start;
    tokio::time::sleep(Duration::from_secs_f64(seconds.start + span * fastrand::f64())).await;
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
