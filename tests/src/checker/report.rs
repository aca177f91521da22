//! What a run found, in words and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::schedule::Fault;
use super::verdict::Counts;

/// What became of one round of faults.
#[derive(Debug, Clone)]
pub struct Healed {
    /// What went wrong.
    pub faults: Vec<Fault>,
    /// How long it lasted.
    pub lasted: Duration,
    /// How long it was felt; none if that was too long.
    pub healed: Option<Duration>,
}

impl fmt::Display for Healed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.healed {
            Some(time) => write!(out, "lasted {:.1?}, healed after {time:.1?}", self.lasted),
            None => write!(out, "lasted {:.1?}, not healed", self.lasted),
        }
    }
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed of the schedule.
    pub seed: u64,
    /// How long faults were injected.
    pub time: Duration,
    /// The faults.
    pub rounds: Vec<Healed>,
    /// Publications that the stream holds.
    pub stored: u64,
    /// Those of which a publisher knows it.
    pub acknowledged: u64,
    /// Attempts to publish beyond the first of each.
    pub retries: u64,
    /// Acknowledged publishers' publications of which nobody knows, because the run was over.
    pub unacknowledged: u64,
    /// Plain publications: handed to NATS, and stored.
    pub plain: (u64, u64),
    /// Publications in bursts: handed to NATS, and stored.
    pub burst: (u64, u64),
    /// Publications with forged headers: handed to NATS, and stored.
    pub forged: (u64, u64),
    /// Subscribers, and the connections they opened.
    pub subscribers: usize,
    /// Connections opened.
    pub connections: u64,
    /// How connections ended, and what was refused.
    pub ends: BTreeMap<String, u64>,
    /// All subscriptions together.
    pub counts: Counts,
    /// Every `lost` in words, up to a number for each subscription.
    pub told: Vec<String>,
    /// Whether everybody was level at the end, and how long that took.
    pub drained: Option<Duration>,
    /// What was wrong: the first of it in words.
    pub wrongs: Vec<String>,
    /// How much was wrong.
    pub wrong: u64,
    /// The last words of edges and servers, if something was wrong.
    pub logs: String,
}

impl Report {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0 && self.drained.is_some()
    }

    /// Adds something that was wrong.
    pub fn complain(&mut self, what: String) {
        self.wrong += 1;
        if self.wrongs.len() < 100 {
            self.wrongs.push(what);
        }
    }

    /// How long faults were felt: half of them, 99 of 100, the longest.
    fn heals(&self) -> Option<[Duration; 3]> {
        let mut times: Vec<_> = self.rounds.iter().filter_map(|round| round.healed).collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        let quantile =
            |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1).min(last)];
        Some([quantile(50), quantile(99), times[last]])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}, {:.0?} of faults", self.seed, self.time)?;
        let mut faults: BTreeMap<_, u64> = BTreeMap::new();
        for fault in self.rounds.iter().flat_map(|round| &round.faults) {
            *faults.entry(fault.name()).or_default() += 1;
        }
        writeln!(out, "faults injected: {}", faults.values().sum::<u64>())?;
        for (fault, count) in faults {
            writeln!(out, "  {count:>6} {fault}")?;
        }
        writeln!(out, "messages stored: {}", self.stored)?;
        let acknowledged = self.acknowledged;
        writeln!(
            out,
            "  {acknowledged:>6} acknowledged, after {} retries",
            self.retries
        )?;
        for (what, (sent, stored)) in [
            ("plain", self.plain),
            ("in bursts", self.burst),
            ("with forged headers", self.forged),
        ] {
            writeln!(out, "  {stored:>6} {what}, of {sent} sent")?;
        }
        if self.unacknowledged > 0 {
            writeln!(out, "  {:>6} given up without an answer", self.unacknowledged)?;
        }
        let counts = &self.counts;
        writeln!(
            out,
            "deliveries: {}, of which {} again after a reconnect, as patterns may",
            counts.updates, counts.repeats
        )?;
        writeln!(
            out,
            "subscribers: {}, connections: {}, resumed subscriptions: {}",
            self.subscribers, self.connections, counts.resumes
        )?;
        for (end, count) in &self.ends {
            writeln!(out, "  {count:>6} {end}")?;
        }
        writeln!(out, "named by `lost`: {}", counts.named)?;
        let mut lost: Vec<_> = counts.lost.iter().collect();
        lost.sort();
        for (reason, count) in lost {
            writeln!(out, "  {count:>6} `lost` of reason {reason}")?;
        }
        for told in self.told.iter().take(100) {
            writeln!(out, "         {told}")?;
        }
        let healed = self.rounds.iter().filter(|round| round.healed.is_some()).count();
        write!(out, "heals: {healed} of {}", self.rounds.len())?;
        if let Some([half, most, all]) = self.heals() {
            write!(
                out,
                ", time to heal: p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}"
            )?;
        }
        match self.drained {
            Some(time) => writeln!(out, "\nlevel at the end: after {time:.1?}")?,
            None => writeln!(out, "\nlevel at the end: no")?,
        }
        if self.is_clean() {
            return write!(out, "nothing is missing, doubled or out of order");
        }
        writeln!(out, "WRONG: {}", self.wrong)?;
        for wrong in &self.wrongs {
            writeln!(out, "  {wrong}")?;
        }
        write!(out, "{}", self.logs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Report {
        let rounds = milliseconds.into_iter().map(|milliseconds| Healed {
            faults: vec![Fault::Burst],
            lasted: Duration::ZERO,
            healed: Some(Duration::from_millis(milliseconds)),
        });
        Report {
            rounds: rounds.collect(),
            drained: Some(Duration::ZERO),
            ..Report::default()
        }
    }

    #[test]
    fn times_to_heal_are_told_by_their_rank() {
        let milliseconds = [50, 99, 100].map(Duration::from_millis);
        assert_eq!(of((1..=100).rev()).heals(), Some(milliseconds));
        assert_eq!(of([7]).heals(), Some([Duration::from_millis(7); 3]));
        assert_eq!(of([]).heals(), None);
    }

    #[test]
    fn who_was_not_level_at_the_end_is_not_clean() {
        let mut report = of([1]);
        assert!(report.is_clean() && report.to_string().ends_with("out of order"));
        report.drained = None;
        assert!(!report.is_clean() && report.to_string().contains("level at the end: no"));
        let mut report = of([1]);
        report.complain("it is gone".to_owned());
        assert!(!report.is_clean() && report.to_string().contains("WRONG: 1\n  it is gone"));
    }
}
