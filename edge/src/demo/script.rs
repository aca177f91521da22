//! What happens in one simulated deployment, decided beforehand.

use std::collections::VecDeque;
use std::ops::Range;

use serde::Serialize;

const SERVICES: [&str; 8] = [
    "web",
    "checkout",
    "search",
    "billing",
    "accounts",
    "inventory",
    "mailer",
    "gateway",
];
const AUTHORS: [&str; 8] = [
    "Maya", "Jonas", "Amira", "Kenji", "Lucía", "Tomás", "Ines", "Noah",
];
const ENVIRONMENTS: [&str; 3] = ["production", "production", "staging"];

/// Where a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Build,
    Push,
    Rollout,
    Done,
    Failed,
    RolledBack,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Info,
    Warn,
    Error,
}

/// How a deployment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// A test fails in the build.
    Failed,
    /// The new version crashes in the rollout.
    RolledBack,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) phase: Phase,
    pub(super) level: Level,
    pub(super) line: String,
    /// Pods of the new version that are ready, in a rollout.
    pub(super) ready: Option<u32>,
}

/// One deployment.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) service: &'static str,
    pub(super) author: &'static str,
    pub(super) environment: &'static str,
    pub(super) pods: u32,
    pub(super) outcome: Outcome,
    /// Seconds between two steps.
    pub(super) pace: Range<f64>,
}

fn choose(from: &[&'static str]) -> &'static str {
    from[fastrand::usize(..from.len())]
}

impl Script {
    /// A deployment of a service that is not among the `recent` ones.
    pub(super) fn new(recent: &VecDeque<&'static str>) -> Self {
        let free: Vec<_> = SERVICES
            .into_iter()
            .filter(|service| !recent.contains(service))
            .collect();
        let outcome = match fastrand::u32(0..10) {
            0 => Outcome::Failed,
            1 => Outcome::RolledBack,
            _ => Outcome::Done,
        };
        Self {
            service: choose(&free),
            author: choose(&AUTHORS),
            environment: choose(&ENVIRONMENTS),
            pods: fastrand::u32(3..=8),
            outcome,
            pace: if fastrand::bool() { 0.15..0.6 } else { 0.3..1.1 },
        }
    }

    /// All that happens, in order.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.build(&mut steps);
        if self.outcome != Outcome::Failed {
            self.push(&mut steps);
            self.roll_out(&mut steps);
        }
        steps
    }

    fn build(&self, steps: &mut Vec<Step>) {
        let mut say = |level, line: String| {
            steps.push(Step {
                phase: Phase::Build,
                level,
                line,
                ready: None,
            })
        };
        let crates = fastrand::u32(60..240);
        say(Level::Info, format!("checking out {} at main", self.service));
        say(Level::Info, format!("resolving {crates} dependencies"));
        for part in 1..=4 {
            say(
                Level::Info,
                format!("compiled {} of {crates} units", crates * part / 4),
            );
        }
        if fastrand::u32(0..3) == 0 {
            say(
                Level::Warn,
                "cache miss for layer `assets`, building from source".to_owned(),
            );
        }
        let tests = fastrand::u32(120..900);
        say(Level::Info, format!("running {tests} tests"));
        if self.outcome == Outcome::Failed {
            let failed = fastrand::u32(1..4);
            say(
                Level::Error,
                "test `totals_survive_a_currency_change` failed: expected 1200, found 1199".to_owned(),
            );
            let line = format!("{failed} of {tests} tests failed");
            steps.push(Step {
                phase: Phase::Failed,
                level: Level::Error,
                line,
                ready: None,
            });
        } else {
            say(Level::Info, format!("{tests} tests passed"));
        }
    }

    fn push(&self, steps: &mut Vec<Step>) {
        let mut say = |line: String| {
            steps.push(Step {
                phase: Phase::Push,
                level: Level::Info,
                line,
                ready: None,
            });
        };
        let layers = fastrand::u32(4..8);
        for layer in 1..=layers {
            say(format!(
                "pushed layer {layer} of {layers}, {} MB",
                fastrand::u32(2..64)
            ));
        }
        say(format!(
            "pushed image {}:{:07x}",
            self.service,
            fastrand::u32(0x100_0000..0xfff_ffff)
        ));
    }

    fn roll_out(&self, steps: &mut Vec<Step>) {
        let (service, pods) = (self.service, self.pods);
        let mut say = |phase, level, line: String, ready| {
            steps.push(Step {
                phase,
                level,
                line,
                ready: Some(ready),
            });
        };
        say(
            Phase::Rollout,
            Level::Info,
            format!("rolling out to {}", self.environment),
            0,
        );
        let survivors = if self.outcome == Outcome::RolledBack {
            pods / 2
        } else {
            pods
        };
        for ready in 1..=survivors {
            let line = format!(
                "pod {service}-{:05x} is ready, {ready} of {pods}",
                fastrand::u32(..0xf_ffff)
            );
            say(Phase::Rollout, Level::Info, line, ready);
        }
        if self.outcome == Outcome::RolledBack {
            let line = format!(
                "pod {service}-{:05x} restarts: exit code 137",
                fastrand::u32(..0xf_ffff)
            );
            say(Phase::Rollout, Level::Warn, line.clone(), survivors);
            say(
                Phase::Rollout,
                Level::Error,
                format!("{line}, back-off 10 s"),
                survivors,
            );
            say(
                Phase::RolledBack,
                Level::Error,
                "rolled back to the version before".to_owned(),
                0,
            );
        } else {
            let line = format!("{service} is live in {}", self.environment);
            say(Phase::Done, Level::Info, line, pods);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deployment_ends_as_its_outcome_says_and_never_goes_back_a_phase() {
        for outcome in [Outcome::Done, Outcome::Failed, Outcome::RolledBack] {
            let script = Script {
                outcome,
                ..Script::new(&VecDeque::new())
            };
            let steps = script.steps();
            let end = match outcome {
                Outcome::Done => Phase::Done,
                Outcome::Failed => Phase::Failed,
                Outcome::RolledBack => Phase::RolledBack,
            };
            assert_eq!(steps.last().map(|step| step.phase), Some(end));
            assert!(steps.iter().is_sorted_by_key(|step| step.phase as u8));
        }
    }
}
