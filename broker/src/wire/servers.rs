//! Which server is next, and after what pause: the configured ones and those that the cluster names.
//!
//! The list goes round: whoever was tried last stands at the end. A round goes without pauses, so that
//! one dead server costs nothing when another is there; between rounds the pause doubles.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::error::BrokerError;

/// The most servers that are learned from a cluster; more are not needed to find it again.
const DISCOVERED: usize = 256;

/// The pause after the first round in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A connection that lasted this long was a good one: the next failure begins a new count.
const SETTLED: Duration = Duration::from_secs(5);

/// One server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// The address asks for TLS.
    pub(super) tls: bool,
    /// The name on its certificate, if that is not `host`: a cluster names its servers by IP address,
    /// while certificates often hold the name under which we found it.
    pub(super) certificate_name: Option<String>,
    /// Named by the cluster, not by the configuration.
    discovered: bool,
}

impl Server {
    /// Reads `nats://host:port`, `tls://host:port` or `host:port`; without a port it is 4222.
    ///
    /// # Errors
    /// [`BrokerError::Setup`] with the reason; what stands before an `@` is not repeated.
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        let refuse = |why: &str| Err(BrokerError::Setup(why.into()));
        let (scheme, address) = url.trim().split_once("://").unwrap_or(("nats", url.trim()));
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return refuse("a NATS server's URL begins with nats:// or tls://"),
        };
        if address.contains('@') {
            return refuse("a NATS server's URL holds no user: credentials have settings of their own");
        }
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (address, "4222"),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', '?', '#', ' ']),
        };
        match port.parse() {
            Ok(port) if good && port > 0 => Ok(Self {
                host: bare.unwrap_or(host).to_owned(),
                port,
                tls,
                certificate_name: None,
                discovered: false,
            }),
            _ => Err(BrokerError::Setup(format!("`{address}` is not host:port").into())),
        }
    }

    fn is(&self, other: &Server) -> bool {
        (self.host.as_str(), self.port) == (other.host.as_str(), other.port)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// The order in which the configured servers are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerOrder {
    /// A random one for each process, so that a fleet spreads over a cluster.
    #[default]
    Shuffled,
    /// As they are given.
    AsGiven,
}

/// All servers that are known.
pub(super) struct Servers {
    list: VecDeque<Server>,
    current: Option<Server>,
    /// Attempts since the last connection that lasted.
    attempts: usize,
    longest_pause: Duration,
}

impl Servers {
    /// The servers of the configuration.
    ///
    /// # Errors
    /// [`BrokerError::Setup`] if there is none or one is no URL.
    pub(super) fn new(
        urls: &[String],
        order: ServerOrder,
        longest_pause: Duration,
    ) -> Result<Self, BrokerError> {
        let mut list = urls
            .iter()
            .map(|url| Server::parse(url))
            .collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(BrokerError::Setup("no NATS server is configured".into()));
        }
        if order == ServerOrder::Shuffled {
            fastrand::shuffle(&mut list);
        }
        Ok(Self {
            list: list.into(),
            current: None,
            attempts: 0,
            longest_pause,
        })
    }

    /// Whether any address asks for TLS.
    pub(super) fn want_tls(&self) -> bool {
        self.list.iter().any(|server| server.tls)
    }

    /// The server to try next, and the pause before.
    pub(super) fn next(&mut self) -> (Server, Duration) {
        let pause = self.pause(fastrand::f64());
        self.attempts += 1;
        let server = self
            .list
            .pop_front()
            .expect("a server is never forgotten before another is known");
        self.list.push_back(server.clone());
        (server, pause)
    }

    /// As [`Servers::next`], but not the one that we are connected to; nothing if there is no other.
    pub(super) fn next_other(&mut self) -> Option<(Server, Duration)> {
        let current = self.current.clone();
        let is_current = |server: &Server| current.as_ref().is_some_and(|current| current.is(server));
        if self.list.iter().all(is_current) {
            return None;
        }
        loop {
            let (server, pause) = self.next();
            if !is_current(&server) {
                return Some((server, pause));
            }
        }
    }

    /// This server has accepted us.
    pub(super) fn connected(&mut self, server: Server) {
        self.current = Some(server);
    }

    /// The connection ended after this time.
    pub(super) fn disconnected(&mut self, after: Duration) {
        self.current = None;
        if after >= SETTLED {
            self.attempts = 0;
        }
    }

    /// Takes over what the cluster says of its servers: new ones are added at random places, and those
    /// that it does not name any more are forgotten unless they are configured or in use.
    pub(super) fn learn(&mut self, addresses: &[String]) {
        if addresses.is_empty() {
            return;
        }
        let named: Vec<_> = addresses
            .iter()
            .filter_map(|address| Server::parse(address).ok())
            .collect();
        let current = self.current.clone();
        self.list.retain(|server| {
            !server.discovered
                || named.iter().any(|named| named.is(server))
                || current.as_ref().is_some_and(|current| current.is(server))
        });
        for mut server in named {
            let discovered = self.list.iter().filter(|known| known.discovered).count();
            if discovered >= DISCOVERED || self.list.iter().any(|known| known.is(&server)) {
                continue;
            }
            server.discovered = true;
            if let Some(current) = &current {
                server.tls = current.tls;
                let name = current.certificate_name.as_ref().unwrap_or(&current.host);
                if is_ip(&server.host) && !is_ip(name) {
                    server.certificate_name = Some(name.clone());
                }
            }
            let place = fastrand::usize(..=self.list.len());
            self.list.insert(place, server);
        }
    }

    /// The pause before the next attempt, a random half of which (`random` in 0..1) is taken off so that
    /// a fleet does not return as one.
    fn pause(&self, random: f64) -> Duration {
        if self.attempts == 0 || !self.attempts.is_multiple_of(self.list.len()) {
            return Duration::ZERO;
        }
        let rounds = self.attempts / self.list.len();
        let doublings = u32::try_from(rounds - 1).unwrap_or(u32::MAX).min(16);
        let full = (FIRST_PAUSE * 2_u32.pow(doublings)).min(self.longest_pause);
        full.mul_f64(1.0 - random / 2.0)
    }
}

fn is_ip(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(urls: &[&str]) -> Servers {
        let urls: Vec<_> = urls.iter().map(|url| (*url).to_owned()).collect();
        Servers::new(&urls, ServerOrder::AsGiven, Duration::from_secs(8)).expect("good URLs")
    }

    #[test]
    fn an_address_is_read_or_refused_without_repeating_a_password() {
        let read = |url: &str| Server::parse(url).map(|server| (server.to_string(), server.tls));
        for (url, address, tls) in [
            ("nats://a.b:1", "a.b:1", false),
            ("tls://a.b", "a.b:4222", true),
            ("127.0.0.1:7/", "127.0.0.1:7", false),
            ("nats://[::1]:5", "[::1]:5", false),
            ("tls://[::1]", "[::1]:4222", true),
        ] {
            assert_eq!(read(url).expect(url), (address.to_owned(), tls));
        }
        for bad in [
            "",
            "ws://a:1",
            "nats://",
            "a:0",
            "a:b",
            "a:70000",
            "::1",
            "[x]:1",
            "a b:1",
            "a/b",
            "u:hunter2@a:1",
        ] {
            let error = read(bad).expect_err(bad);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
        assert!(Servers::new(&[], ServerOrder::Shuffled, Duration::ZERO).is_err());
    }

    #[test]
    fn a_round_goes_without_pauses_and_the_pause_between_rounds_doubles_to_its_limit() {
        let mut servers = servers(&["a:1", "b:1"]);
        let mut order = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            pauses.push((servers.pause(0.0), servers.pause(1.0)));
            order.push(servers.next().0.host);
        }
        assert_eq!(order[..4], ["a", "b", "a", "b"]);
        let ms = |full, jittered| (Duration::from_millis(full), Duration::from_millis(jittered));
        assert_eq!(
            pauses[..6],
            [ms(0, 0), ms(0, 0), ms(50, 25), ms(0, 0), ms(100, 50), ms(0, 0)]
        );
        assert_eq!(pauses[38], ms(8000, 4000));
    }

    #[test]
    fn only_a_connection_that_lasted_begins_a_new_count() {
        let mut servers = servers(&["a:1"]);
        servers.next();
        servers.disconnected(Duration::from_secs(1));
        assert_eq!(servers.pause(0.0), Duration::from_millis(50));
        servers.disconnected(SETTLED);
        assert_eq!(servers.pause(0.0), Duration::ZERO);
    }

    #[test]
    fn the_cluster_adds_and_removes_servers_but_never_the_configured_ones() {
        let mut servers = servers(&["tls://nats.example:1"]);
        let (configured, _) = servers.next();
        servers.connected(configured.clone());
        assert_eq!(servers.next_other(), None);
        servers.learn(&[
            "10.0.0.1:1".to_owned(),
            "10.0.0.2:1".to_owned(),
            "nats.example:1".to_owned(),
            "??".to_owned(),
        ]);
        assert_eq!(servers.list.len(), 3);
        let (other, _) = servers.next_other().expect("two are known");
        assert!(other.tls && other.certificate_name.as_deref() == Some("nats.example"));
        servers.learn(&["10.0.0.2:1".to_owned()]);
        assert_eq!(servers.list.len(), 2);
        servers.learn(&[]);
        assert_eq!(servers.list.len(), 2);
        let many: Vec<_> = (0..1000).map(|port| format!("h:{}", port + 1)).collect();
        servers.learn(&many);
        assert_eq!(servers.list.len(), 1 + DISCOVERED);
        assert!(servers.list.contains(&configured));
    }
}
