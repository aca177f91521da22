//! What one address, one user, one session and all together may take: of connections, handshakes, commands, bytes and
//! memory. In the order in which a client meets them:
//!
//! `proxies` says who a client is that comes through a proxy; `addresses` counts connections and handshakes by address;
//! `refusal` is what a client is told that is over; `origin` says which web pages may connect; `users` counts sessions
//! by user; `pace` bounds what one session asks for; `memory` what waits for all of them. `rate` is the bucket that all
//! rates are made of, `notice` keeps an attacker from filling the log.
//!
//! All of it is decided without waiting, and what is kept for strangers is bounded.

pub(crate) mod memory;
pub(crate) mod origin;
pub(crate) mod pace;
pub(crate) mod proxies;
pub(crate) mod proxy_protocol;
pub(crate) mod rate;
pub(crate) mod refusal;
pub(crate) mod users;

mod addresses;
mod notice;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connections::{Admission, Connections};
use addresses::Addresses;
pub(crate) use addresses::Place;
use memory::Capacity;
use notice::Notice;
use origin::Origins;
use pace::Paces;
use proxies::Proxies;
use rate::{Rate, SharedRate};
use refusal::Refusal;
use users::Users;

/// Clients that are told at the same time why they are not let in; others are told without being listened to, or cut.
const FAREWELLS: usize = 64;

/// TLS handshakes a second that are made only to say so: a hundredth of a core.
const TLS_FAREWELLS_PER_SEC: u64 = 50;

/// Time since the process began to serve, as rates count it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds; enough for five centuries.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The limits of a process, shared by its workers.
#[derive(Debug)]
pub(crate) struct Limits {
    clock: Clock,
    proxies: Proxies,
    origins: Origins,
    addresses: Arc<Addresses>,
    handshakes: Option<SharedRate>,
    users: Arc<Users>,
    paces: Paces,
    outboxes: Arc<Capacity>,
    farewells: Connections,
    tls_farewells: Option<SharedRate>,
    refused: [Notice; Refusal::KINDS],
    refusals: [AtomicU64; Refusal::KINDS],
    paced: Notice,
    shed: Notice,
    misspoken: Notice,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let clock = Clock::start();
        let limits = &config.limits;
        let rate = |per_sec| Rate::new(per_sec, limits.burst);
        let addresses = Addresses::new(
            clock,
            limits.connections_per_address,
            rate(limits.handshakes_per_address_per_sec),
        );
        Self {
            clock,
            proxies: Proxies::new(&config.proxy),
            origins: Origins::new(config.origin.allow.clone()),
            addresses: Arc::new(addresses),
            handshakes: rate(limits.handshakes_per_sec).map(SharedRate::new),
            users: Arc::new(Users::new(limits.connections_per_user)),
            paces: Paces {
                commands: rate(limits.commands_per_sec),
                bytes: rate(limits.bytes_per_sec),
                grace: limits.grace,
            },
            outboxes: Arc::new(Capacity::new(config.outbox.max_total_bytes)),
            farewells: Connections::at_most(FAREWELLS),
            tls_farewells: Rate::new(TLS_FAREWELLS_PER_SEC, Duration::from_secs(1)).map(SharedRate::new),
            refused: Default::default(),
            refusals: Default::default(),
            paced: Notice::default(),
            shed: Notice::default(),
            misspoken: Notice::default(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Who counts the sessions of users.
    pub(crate) fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// How fast one session may ask.
    pub(crate) fn paces(&self) -> &Paces {
        &self.paces
    }

    /// What may wait in all outboxes together.
    pub(crate) fn outboxes(&self) -> &Arc<Capacity> {
        &self.outboxes
    }

    /// Lets a client at this address make a handshake and hold a connection.
    ///
    /// # Errors
    /// What it is over; that is logged, now and then.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Refusal> {
        let admitted = self.addresses.admit(address).and_then(|place| {
            // Last, so that one address that is refused anyway takes nothing from the others.
            let taken = self
                .handshakes
                .as_ref()
                .map_or(Ok(()), |rate| rate.take(self.clock.now()));
            taken.map(|()| place).map_err(|wait| Refusal::Handshakes { wait })
        });
        admitted.inspect_err(|refusal| self.note_refused(*refusal, address))
    }

    /// Leave to spend time on telling a client why it is not let in. It is bounded, over TLS more so: saying it costs a
    /// handshake there.
    pub(crate) fn farewell(&self, over_tls: bool) -> Option<Admission> {
        let rate = self.tls_farewells.as_ref().filter(|_| over_tls);
        if rate.is_some_and(|rate| rate.take(self.clock.now()).is_err()) {
            return None;
        }
        self.farewells.admit()
    }

    /// How many clients were not let in so far: for their rate, and for the number of connections.
    pub(crate) fn refused(&self) -> (u64, u64) {
        let count = |kind: usize| self.refusals[kind].load(Ordering::Relaxed);
        let kinds = 0..Refusal::KINDS;
        let (rates, numbers): (Vec<_>, Vec<_>) = kinds.partition(|kind| Refusal::RATES.contains(kind));
        (
            rates.into_iter().map(count).sum(),
            numbers.into_iter().map(count).sum(),
        )
    }

    /// A client is not let in.
    pub(crate) fn note_refused(&self, refusal: Refusal, address: IpAddr) {
        self.refusals[refusal.kind()].fetch_add(1, Ordering::Relaxed);
        let Some(count) = self.refused[refusal.kind()].now(self.clock) else {
            return;
        };
        let (reason, advice) = (refusal.reason(), refusal.advice());
        tracing::warn!(target: "audit", event = "connection.refused", reason, remote_addr = %address, count,
            "connections are refused{advice}");
    }

    /// A session is closed because it goes on asking for too much.
    pub(crate) fn note_paced(&self, session_id: u64, address: SocketAddr) {
        if let Some(count) = self.paced.now(self.clock) {
            tracing::warn!(target: "audit", event = "session.rate_limited", session_id = %format_args!("{session_id:016x}"),
                remote_addr = %address, count, "sessions that go on asking for too much are closed");
        }
    }

    /// Outboxes were cut for want of memory.
    pub(crate) fn note_shed(&self, sessions: usize) {
        if let Some(count) = self.shed.now(self.clock) {
            tracing::warn!(
                sessions,
                count,
                used_bytes = self.outboxes.used(),
                most_bytes = self.outboxes.most(),
                "slow clients hold all memory that there is for outboxes: the largest outboxes are cut"
            );
        }
    }

    /// A proxy that is trusted does not begin with a PROXY header of version 2.
    pub(crate) fn note_misspoken(&self, proxy: SocketAddr, error: &std::io::Error) {
        if let Some(count) = self.misspoken.now(self.clock) {
            tracing::warn!(remote_addr = %proxy, %error, count, "a proxy sends no PROXY header of version 2, which `proxy.protocol` asks for");
        }
    }
}
