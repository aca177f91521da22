//! Carries out the faults of a schedule, and measures how long they are felt.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::deployment::{Deployment, STREAM};
use super::pause;
use super::publishers::Publishing;
use super::report::Healed;
use super::schedule::{Fault, Round};
use super::subscribers::Fleet;

/// A fault that is felt for longer than this is not healed.
pub const HEAL_LIMIT: Duration = Duration::from_secs(60);

/// How a fault ends.
enum Undo {
    RestartEdge(usize),
    ContinueEdge(usize),
    RestartNode(usize),
    ContinueNode(usize),
    Reopen(usize),
    Nothing,
}

/// Carries out one round, to its end and until everybody has received something that was stored after it began.
///
/// The time to heal is from the beginning of the faults to the moment when every subscriber that is not away by its
/// own choice has a publication of each of its channels that was stored after the beginning.
pub async fn carry_out(
    round: &Round,
    deployment: &mut Deployment,
    publishing: &Publishing,
    fleet: &Fleet,
    burst: u64,
    random: &mut fastrand::Rng,
) -> Healed {
    if round.faults.iter().any(|fault| fault.takes_a_server()) {
        // Two of three are needed.
        deployment.cluster.recovers(STREAM).await;
    }
    for edge in &mut deployment.edges {
        edge.look_after();
    }
    let began = Instant::now();
    let mut undos = Vec::new();
    for fault in &round.faults {
        let undo = begin(*fault, round.edge, deployment, publishing, burst, random).await;
        undos.push((fault.time(), undo));
    }
    undos.sort_by_key(|(time, _)| *time);
    let ending = async {
        for (time, undo) in undos {
            pause(time.saturating_sub(began.elapsed())).await;
            end(undo, deployment);
        }
        began.elapsed()
    };
    let healing = async {
        let probes = publishing.probe().await;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !fleet.has(&probes) {
            if began.elapsed() > HEAL_LIMIT {
                return None;
            }
            tick.tick().await;
        }
        Some(began.elapsed())
    };
    let (lasted, healed) = tokio::join!(Box::pin(ending), Box::pin(healing));
    Healed {
        faults: round.faults.clone(),
        lasted,
        healed,
    }
}

async fn begin(
    fault: Fault,
    edge: usize,
    deployment: &mut Deployment,
    publishing: &Publishing,
    burst: u64,
    random: &mut fastrand::Rng,
) -> Undo {
    match fault {
        Fault::KillEdge(_) => {
            deployment.edges[edge].kill().await;
            Undo::RestartEdge(edge)
        }
        Fault::StopEdge(_) => {
            deployment.edges[edge].signal(Signal::STOP);
            Undo::ContinueEdge(edge)
        }
        Fault::KillServerOfEdge(_) | Fault::KillLeader(_) => {
            let node = node(fault, edge, deployment).await;
            deployment.cluster.kill(node);
            Undo::RestartNode(node)
        }
        Fault::StopServerOfEdge(_) | Fault::StopLeader(_) => {
            let node = node(fault, edge, deployment).await;
            deployment.cluster.signal(node, Signal::STOP);
            Undo::ContinueNode(node)
        }
        Fault::CutLinks(_) => {
            for link in deployment.edges[edge].links() {
                link.refuse(true);
                link.cut();
            }
            Undo::Reopen(edge)
        }
        Fault::HoldLinks(_) => {
            for link in deployment.edges[edge].links() {
                link.hold(true);
            }
            Undo::Reopen(edge)
        }
        Fault::Burst => {
            publishing
                .burst(random.usize(..publishing.channels.len()), burst)
                .await;
            Undo::Nothing
        }
        Fault::ForgedHeaders => {
            publishing.forge(random.usize(..publishing.channels.len())).await;
            Undo::Nothing
        }
    }
}

fn end(undo: Undo, deployment: &mut Deployment) {
    match undo {
        Undo::RestartEdge(edge) => deployment.edges[edge].restart(),
        Undo::ContinueEdge(edge) => deployment.edges[edge].signal(Signal::CONT),
        Undo::RestartNode(node) => deployment.cluster.restart(node),
        Undo::ContinueNode(node) => deployment.cluster.signal(node, Signal::CONT),
        Undo::Reopen(edge) => {
            for link in deployment.edges[edge].links() {
                link.refuse(false);
                link.hold(false);
            }
        }
        Undo::Nothing => {}
    }
}

/// Which nats-server a fault means.
async fn node(fault: Fault, edge: usize, deployment: &Deployment) -> usize {
    let busiest = deployment.edges[edge].node();
    match fault {
        Fault::KillLeader(_) | Fault::StopLeader(_) => {
            deployment.cluster.leader(STREAM).await.unwrap_or(busiest)
        }
        _ => busiest,
    }
}
