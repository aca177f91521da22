//! Requests of clients to services: `[requests]`, and where namespaces may allow them.

use super::error::Mistakes;
use super::namespace::Namespaces;
use super::settings::Settings;
use super::stream::{StreamConfig, subjects_of};

/// How many requests of clients may wait for their services at a time.
#[derive(Clone, Debug)]
pub struct RequestsConfig {
    /// Of all clients.
    pub max_in_flight: usize,
    /// Of one client.
    pub max_in_flight_per_session: usize,
}

/// Reads `[requests]`, and refuses requests where a stream would answer them.
pub(super) fn read(
    settings: &Settings,
    namespaces: &Namespaces,
    streams: &[StreamConfig],
    mistakes: &mut Mistakes,
) -> RequestsConfig {
    for namespace in namespaces.iter().filter(|namespace| namespace.request) {
        let subjects = subjects_of(namespace);
        let taken = |stream: &&StreamConfig| {
            let mut taken = stream.subjects.iter();
            taken.any(|taken| subjects.iter().any(|subject| subject.overlaps(taken)))
        };
        if let Some(stream) = streams.iter().find(taken) {
            let message = format!(
                "is `true`, but the stream `{}` has subjects of this namespace: it would store the requests and answer \
                 them in place of the service; give services a live namespace outside of streams",
                stream.name
            );
            let section = format!("namespace.{}", namespace.name);
            settings.section(&section, mistakes).refuse("request", message);
        }
    }
    let section = settings.section("requests", mistakes);
    RequestsConfig {
        max_in_flight: section.size("max_in_flight"),
        max_in_flight_per_session: section.size("max_in_flight_per_session"),
    }
}
