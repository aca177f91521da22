//! Which fault comes when: decided by the seed alone, so that a run can be repeated as far as timing allows.

use std::fmt;
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// kill -9 of an edge, which is started again after this time.
    KillEdge(Duration),
    /// kill -9 of the nats-server to which an edge has most connections.
    KillServerOfEdge(Duration),
    /// kill -9 of the nats-server that leads the stream.
    KillLeader(Duration),
    /// SIGSTOP of an edge for this time.
    StopEdge(Duration),
    /// SIGSTOP of the nats-server to which an edge has most connections.
    StopServerOfEdge(Duration),
    /// SIGSTOP of the nats-server that leads the stream.
    StopLeader(Duration),
    /// Every TCP connection between an edge and NATS ends, and none begins for this time.
    CutLinks(Duration),
    /// Every TCP connection between an edge and NATS stays and carries nothing for this time.
    HoldLinks(Duration),
    /// More publications at once than any queue holds.
    Burst,
    /// Publications with headers that are forged or none at all.
    ForgedHeaders,
}

/// A fault, or two at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// When, from the beginning.
    pub at: Duration,
    /// Which of the two edges a fault of an edge means.
    pub edge: usize,
    /// What goes wrong. At most one of them takes a nats-server away.
    pub faults: Vec<Fault>,
}

/// Every fault of a run.
#[derive(Debug)]
pub struct Schedule {
    random: fastrand::Rng,
    every: Duration,
    next: Duration,
    deck: Vec<Kind>,
    companions: Vec<Companion>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    KillEdge,
    KillServerOfEdge,
    KillLeader,
    StopEdge,
    StopServerOfEdge,
    StopLeader,
    CutLinks,
    HoldLinks,
}

const KINDS: [Kind; 8] = [
    Kind::KillEdge,
    Kind::KillServerOfEdge,
    Kind::KillLeader,
    Kind::StopEdge,
    Kind::StopServerOfEdge,
    Kind::StopLeader,
    Kind::CutLinks,
    Kind::HoldLinks,
];

/// What comes together with a fault.
#[derive(Debug, Clone, Copy)]
enum Companion {
    Burst,
    ForgedHeaders,
    Another,
    Nothing,
}

const COMPANIONS: [Companion; 6] = [
    Companion::Burst,
    Companion::Burst,
    Companion::ForgedHeaders,
    Companion::ForgedHeaders,
    Companion::Another,
    Companion::Nothing,
];

impl Schedule {
    /// The faults of this seed, one about every `every`.
    pub fn new(seed: u64, every: Duration) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            every,
            next: every / 2,
            deck: Vec::new(),
            companions: Vec::new(),
        }
    }

    /// A card of a deck, of which none comes again before all have come.
    fn deal<T: Copy>(random: &mut fastrand::Rng, deck: &mut Vec<T>, cards: &[T]) -> T {
        if deck.is_empty() {
            *deck = cards.to_vec();
            random.shuffle(deck);
        }
        deck.pop().unwrap_or(cards[0])
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        // Shorter and longer than what it takes to notice that somebody is silent.
        let time = Duration::from_millis(self.random.u64(500..6000));
        match kind {
            Kind::KillEdge => Fault::KillEdge(time / 4),
            Kind::KillServerOfEdge => Fault::KillServerOfEdge(time),
            Kind::KillLeader => Fault::KillLeader(time),
            Kind::StopEdge => Fault::StopEdge(time),
            Kind::StopServerOfEdge => Fault::StopServerOfEdge(time),
            Kind::StopLeader => Fault::StopLeader(time),
            Kind::CutLinks => Fault::CutLinks(time / 4),
            Kind::HoldLinks => Fault::HoldLinks(time),
        }
    }
}

impl Iterator for Schedule {
    type Item = Round;

    /// There is always another.
    fn next(&mut self) -> Option<Round> {
        let at = self.next;
        let jitter = self.random.f64() * 0.5 + 0.75;
        self.next += self.every.mul_f64(jitter);
        let edge = self.random.usize(..2);
        let kind = Self::deal(&mut self.random, &mut self.deck, &KINDS);
        let mut faults = vec![self.fault(kind)];
        match Self::deal(&mut self.random, &mut self.companions, &COMPANIONS) {
            Companion::Burst => faults.push(Fault::Burst),
            Companion::ForgedHeaders => faults.push(Fault::ForgedHeaders),
            // One that takes no nats-server away.
            Companion::Another if faults[0].takes_a_server() => {
                let edge = [Kind::KillEdge, Kind::StopEdge, Kind::CutLinks];
                let kind = edge[self.random.usize(..edge.len())];
                faults.push(self.fault(kind));
            }
            Companion::Another | Companion::Nothing => {}
        }
        Some(Round { at, edge, faults })
    }
}

impl Fault {
    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillEdge(_) => "kill -9 of an edge",
            Self::KillServerOfEdge(_) => "kill -9 of the edge's nats-server",
            Self::KillLeader(_) => "kill -9 of the stream's leader",
            Self::StopEdge(_) => "SIGSTOP of an edge",
            Self::StopServerOfEdge(_) => "SIGSTOP of the edge's nats-server",
            Self::StopLeader(_) => "SIGSTOP of the stream's leader",
            Self::CutLinks(_) => "TCP cut between edge and NATS",
            Self::HoldLinks(_) => "silence between edge and NATS",
            Self::Burst => "burst",
            Self::ForgedHeaders => "forged headers",
        }
    }

    /// How long it lasts.
    pub fn time(self) -> Duration {
        match self {
            Self::KillEdge(time)
            | Self::KillServerOfEdge(time)
            | Self::KillLeader(time)
            | Self::StopEdge(time)
            | Self::StopServerOfEdge(time)
            | Self::StopLeader(time)
            | Self::CutLinks(time)
            | Self::HoldLinks(time) => time,
            Self::Burst | Self::ForgedHeaders => Duration::ZERO,
        }
    }

    /// Whether a nats-server is away meanwhile.
    pub fn takes_a_server(self) -> bool {
        matches!(
            self,
            Self::KillServerOfEdge(_) | Self::KillLeader(_) | Self::StopServerOfEdge(_) | Self::StopLeader(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        match self.time() {
            Duration::ZERO => Ok(()),
            time => write!(formatter, " for {time:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_seed_others() {
        let rounds = |seed| -> Vec<_> { Schedule::new(seed, Duration::from_secs(8)).take(50).collect() };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn never_are_two_servers_away_and_every_fault_comes() {
        let mut seen = std::collections::HashSet::new();
        let mut before = Duration::ZERO;
        for round in Schedule::new(1, Duration::from_secs(8)).take(200) {
            let servers = round.faults.iter().filter(|fault| fault.takes_a_server());
            assert!(servers.count() <= 1, "{round:?}");
            assert!(round.at > before && round.edge < 2, "{round:?}");
            before = round.at;
            seen.extend(round.faults.iter().map(|fault| fault.name()));
        }
        assert_eq!(seen.len(), KINDS.len() + 2);
    }
}
