//! What operators and services ask of a session from outside.

use tailwater_protocol::channel::Pattern;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::reply::Reply;

use super::{Hex, Session, commands};
use crate::control::sessions::Description;
use crate::metrics::meters::{Label as _, Transport};
use crate::socket::Socket;
use crate::worker::Worker;

impl Session {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How the client is connected.
    pub(crate) fn transport(&self) -> Transport {
        match (self.encoding.is_events(), &self.socket) {
            (false, _) => Transport::Websocket,
            (true, Socket::None) => Transport::Poll,
            (true, _) => Transport::Sse,
        }
    }

    /// The id as clients and logs see it.
    pub(crate) fn hex_id(&self) -> String {
        Hex(self.id).to_string()
    }

    pub(crate) fn remote_addr(&self) -> std::net::SocketAddr {
        self.remote_addr
    }

    /// Ends every subscription that `pattern` includes and tells the client; says whether there was one. A subscription
    /// that still waits for NATS is none yet.
    pub(crate) fn unsubscribe_within(&self, worker: &Worker, pattern: &Pattern) -> bool {
        let subscriptions = self.subscriptions.borrow();
        let included = subscriptions.iter().map(|held| &held.channel);
        let included: Vec<_> = included
            .filter(|channel| pattern.includes(channel.pattern()))
            .cloned()
            .collect();
        drop(subscriptions);
        for channel in &included {
            commands::unsubscribe(self, worker, channel);
            let channel = channel.clone();
            commands::answer(self, None, Reply::Unsubscribed { channel });
        }
        !included.is_empty()
    }

    /// The session with the first `limit` of its channels.
    pub(crate) fn describe(&self, limit: usize) -> Description {
        let identity = self.identity();
        let subscriptions = self.subscriptions.borrow();
        let channels = subscriptions.iter().map(|held| held.channel.as_str().to_owned());
        Description {
            id: self.hex_id(),
            user: identity.user.clone(),
            token_id: identity.token_id.clone(),
            expires_at: identity.expires_at,
            remote_addr: self.remote_addr.to_string(),
            transport: self.transport().name(),
            codec: match self.encoding.codec {
                Codec::Json => "json",
                Codec::MessagePack => "msgpack",
            },
            connected_at: self.connected_at,
            subscriptions: subscriptions.len(),
            channels: channels.take(limit).collect(),
            outbox_bytes: self.outbox.borrow().bytes(),
            behind: subscriptions.iter().filter(|held| held.behind.is_some()).count(),
        }
    }
}
