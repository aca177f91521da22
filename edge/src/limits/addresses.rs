//! Connections and handshakes by address: an IPv4 address, or the /64 of an IPv6 one, which is the least that one
//! customer has.
//!
//! An address is kept while it has connections or its handshakes are not paid for. There is room for
//! [`SHARDS`] × [`SHARD_ADDRESSES`] of them, some ten megabytes. Where it is full of addresses that must be kept, further
//! ones are let in without being counted: to refuse them would let an attacker with many addresses lock everybody out,
//! and the limits on all connections and handshakes hold for them too.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Clock;
use super::rate::Rate;
use super::refusal::Refusal;

/// Parts with a lock each, held for one look-up.
const SHARDS: usize = 64;

/// Addresses in one part.
const SHARD_ADDRESSES: usize = 4096;

/// A full part is looked through for what can go at most this often.
const SWEEP_NANOS: u64 = 1_000_000_000;

/// What addresses are counted in.
#[derive(Debug)]
pub(super) struct Addresses {
    clock: Clock,
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Connections of an address; 0: no limit.
    most: u32,
    rate: Option<Rate>,
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<Network, Standing>,
    swept_at: u64,
}

/// An IPv6 network by its first 64 bits. IPv4 addresses lie in `0:ffff::/32`, which nobody has (RFC 4291 section 2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Network(u64);

#[derive(Debug, Default)]
struct Standing {
    open: u32,
    paid_at: u64,
}

/// A connection of an address; counts until it is dropped. One by default counts for nobody.
#[derive(Debug, Default)]
pub(crate) struct Place {
    addresses: Option<Arc<Addresses>>,
    network: Network,
}

impl Addresses {
    /// An address may have so many connections (0: no limit) and make handshakes at this rate.
    pub(super) fn new(clock: Clock, most: u32, rate: Option<Rate>) -> Self {
        Self {
            clock,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most,
            rate,
        }
    }

    /// Counts a handshake and a connection of an address.
    ///
    /// # Errors
    /// The limit that it is over; nothing is counted then.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
        if self.most == 0 && self.rate.is_none() {
            return Ok(Place::default());
        }
        let network = Network::of(address);
        let now = self.clock.now();
        let mut shard = self.shard(network);
        if !shard.has_room_for(network, now) {
            return Ok(Place::default());
        }
        let standing = shard.known.entry(network).or_default();
        if self.most > 0 && standing.open >= self.most {
            return Err(Refusal::AddressConnections);
        }
        if let Some(rate) = self.rate {
            let wait = rate.wait(standing.paid_at, now);
            if !wait.is_zero() {
                return Err(Refusal::AddressHandshakes { wait });
            }
            standing.paid_at = rate.taken(standing.paid_at, now, 1);
        }
        standing.open += 1;
        Ok(Place {
            addresses: Some(self.clone()),
            network,
        })
    }

    fn leave(&self, network: Network) {
        let now = self.clock.now();
        let mut shard = self.shard(network);
        if let Some(standing) = shard.known.get_mut(&network) {
            standing.open = standing.open.saturating_sub(1);
            if standing.is_done(now) {
                shard.known.remove(&network);
            }
        }
    }

    fn shard(&self, network: Network) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(network) >> 32).unwrap_or(0);
        // Counts are right after a panic too: each is changed in one step.
        self.shards[hash % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn has_room_for(&mut self, network: Network, now: u64) -> bool {
        if self.known.len() < SHARD_ADDRESSES || self.known.contains_key(&network) {
            return true;
        }
        if now.saturating_sub(self.swept_at) >= SWEEP_NANOS {
            self.swept_at = now;
            self.known.retain(|_, standing| !standing.is_done(now));
        }
        self.known.len() < SHARD_ADDRESSES
    }
}

impl Standing {
    /// Nothing has to be kept of it.
    fn is_done(&self, now: u64) -> bool {
        self.open == 0 && self.paid_at <= now
    }
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(0xffff_u64 << 32 | u64::from(u32::from(address))),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(addresses) = &self.addresses {
            addresses.leave(self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    fn addresses(most: u32, per_sec: u64) -> Arc<Addresses> {
        let rate = Rate::new(per_sec, Duration::from_secs(1));
        Arc::new(Addresses::new(Clock::start(), most, rate))
    }

    fn known(addresses: &Addresses) -> usize {
        let count = |shard: &Mutex<Shard>| shard.lock().unwrap().known.len();
        addresses.shards.iter().map(count).sum()
    }

    #[test]
    fn an_address_has_its_own_places_and_nothing_is_kept_of_it_once_it_has_left() {
        let addresses = addresses(2, 0);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let first = addresses.admit(one).unwrap();
        let _second = addresses.admit(one).unwrap();
        assert_eq!(addresses.admit(one).unwrap_err(), Refusal::AddressConnections);
        let others = addresses.admit(other).unwrap();
        drop(first);
        let third = addresses.admit(one).unwrap();
        drop((third, others));
        assert_eq!(known(&addresses), 1);
        drop(_second);
        assert_eq!(known(&addresses), 0);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_what_it_is() {
        let same =
            |one: &str, other: &str| Network::of(one.parse().unwrap()) == Network::of(other.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::1", "0.0.0.1"));
    }

    #[test]
    fn handshakes_are_bounded_though_every_connection_ends_at_once() {
        let addresses = addresses(0, 10);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let made = (0..100).filter(|_| addresses.admit(address).is_ok()).count();
        assert!((10..20).contains(&made), "{made}");
        let refused = addresses.admit(address).unwrap_err();
        assert!(
            matches!(refused, Refusal::AddressHandshakes { .. }),
            "{refused:?}"
        );
        // What is not paid for is remembered.
        assert_eq!(known(&addresses), 1);
    }

    #[test]
    fn addresses_without_end_take_bounded_memory_and_who_is_counted_stays_counted() {
        let addresses = addresses(1, 1);
        let mine = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let _place = addresses.admit(mine).unwrap();
        let most = SHARDS * SHARD_ADDRESSES;
        for number in 0..u32::try_from(most + most / 8).unwrap() {
            let address = Ipv6Addr::from(u128::from(number) << 64 | 0x2001 << 112);
            assert!(
                addresses.admit(IpAddr::V6(address)).is_ok(),
                "nobody is locked out"
            );
        }
        assert!(known(&addresses) <= most);
        assert_eq!(addresses.admit(mine).unwrap_err(), Refusal::AddressConnections);
    }
}
