//! Who subscribes: hundreds of clients that stay, leave, stall and come back with their cursor, as the protocol tells
//! a client to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::truth::{SubjectId, Truth, lock};
use super::verdict::Follower;
use life::Life;

mod life;

/// What a subscriber does now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Nothing.
    Stays,
    /// Closes, and comes back.
    Closes,
    /// Is gone without a word, and comes back.
    Breaks,
    /// Unsubscribes, and subscribes again on the same connection.
    Unsubscribes,
    /// Reads nothing for seconds.
    Stalls,
}

const HABITS: [Habit; 5] = [
    Habit::Stays,
    Habit::Closes,
    Habit::Breaks,
    Habit::Unsubscribes,
    Habit::Stalls,
];

/// All subscribers of a run.
pub struct Fleet {
    world: Arc<World>,
    subscribers: Vec<Arc<Subscriber>>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What a subscriber shares with those who judge it.
#[derive(Debug)]
pub struct Subscriber {
    name: String,
    followers: Vec<Mutex<Follower>>,
    /// Not reading, by its own choice.
    away: AtomicBool,
}

/// What all subscribers share.
struct World {
    edges: Vec<String>,
    truth: Arc<Mutex<Truth>>,
    /// Habits are over.
    calm: AtomicBool,
    connections: AtomicU64,
    ends: Mutex<BTreeMap<String, u64>>,
}

impl Fleet {
    /// Starts `count` subscribers of these channels and of patterns over them.
    ///
    /// # Panics
    /// If `channels` are none.
    pub fn start(
        count: usize,
        channels: &[String],
        edges: Vec<String>,
        truth: Arc<Mutex<Truth>>,
        random: &mut fastrand::Rng,
    ) -> Self {
        let world = Arc::new(World {
            edges,
            truth,
            calm: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            ends: Mutex::default(),
        });
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let mut subscribers = Vec::new();
        for index in 0..count {
            let channels = wishes(index, channels, random);
            let habit = HABITS[index % HABITS.len()];
            let codec = Codec::ALL[index / 2 % 2];
            let names: Vec<_> = channels.iter().map(Channel::as_str).collect();
            let subscriber = Arc::new(Subscriber {
                name: format!("subscriber {index} ({habit:?}, {codec:?}, {})", names.join(" ")),
                followers: channels.into_iter().map(Follower::new).map(Mutex::new).collect(),
                away: AtomicBool::new(false),
            });
            let life = Life {
                cursors: vec![None; subscriber.followers.len()],
                active: vec![false; subscriber.followers.len()],
                leaving: false,
                me: subscriber.clone(),
                world: world.clone(),
                habit,
                codec,
                // A fifth comes while the run goes on.
                late: index % 5 == 0 && index > 0,
                random: random.fork(),
            };
            subscribers.push(subscriber);
            tasks.spawn(life.live(stop.subscribe()));
        }
        Self {
            world,
            subscribers,
            tasks,
            stop,
        }
    }

    /// Ends all habits: from now on everybody stays and reads.
    pub fn calm(&self) {
        self.world.calm.store(true, Ordering::Relaxed);
    }

    /// Whether everybody has all that is known to be stored.
    pub fn is_level(&self) -> bool {
        let truth = lock(&self.world.truth);
        let mut followers = self
            .subscribers
            .iter()
            .flat_map(|subscriber| &subscriber.followers);
        followers.all(|follower| lock(follower).is_level(&truth))
    }

    /// Whether everybody who has begun, and is not away by choice, has these.
    pub fn has(&self, probes: &[(SubjectId, u64)]) -> bool {
        let truth = lock(&self.world.truth);
        let here = self
            .subscribers
            .iter()
            .filter(|subscriber| !subscriber.away.load(Ordering::Relaxed));
        here.flat_map(|subscriber| &subscriber.followers).all(|follower| {
            let mut follower = lock(follower);
            !follower.has_begun() || follower.has(probes, &truth)
        })
    }

    /// Ends all subscribers.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a subscriber does not panic");
        }
    }

    /// Calls `look` with each subscription and the name of its subscriber.
    pub fn each(&self, mut look: impl FnMut(&str, &mut Follower)) {
        for subscriber in &self.subscribers {
            for follower in &subscriber.followers {
                look(&subscriber.name, &mut lock(follower));
            }
        }
    }

    /// How many subscribers there are.
    pub fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether there is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> u64 {
        self.world.connections.load(Ordering::Relaxed)
    }

    /// How connections ended and what was refused, counted.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        lock(&self.world.ends).clone()
    }
}

/// The channels of a subscriber: mostly one exact one, else a pattern, or some of both.
fn wishes(index: usize, channels: &[String], random: &mut fastrand::Rng) -> Vec<Channel> {
    let mut exact = || channels[random.usize(..channels.len())].clone();
    let names = match index % 10 {
        0..=5 => vec![exact()],
        6 => vec!["check.a.*".to_owned()],
        7 => vec!["check.*".to_owned()],
        8 => vec![exact(), "check.b.*".to_owned()],
        _ if index % 40 == 9 => vec!["check.>".to_owned()],
        _ => vec!["check.*.0".to_owned(), "check.a.*".to_owned()],
    };
    names
        .iter()
        .map(|name| Channel::new(name).expect("a channel"))
        .collect()
}
