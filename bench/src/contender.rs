//! Who is measured: a server, and how it is used.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::deployment::Kind;
use crate::peer::Peer;
use crate::tailwater::Codec;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Ours.
    Tailwater,
    /// One that is compared with ours.
    Peer(Peer),
}

impl Server {
    /// As it is named on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tailwater => "tailwater",
            Self::Peer(peer) => peer.name(),
        }
    }
}

impl ValueEnum for Server {
    fn value_variants<'a>() -> &'a [Self] {
        // Ours first, then the floor and the peers.
        static ALL: LazyLock<Vec<Server>> = LazyLock::new(|| {
            let peers = Peer::value_variants().iter().copied().map(Server::Peer);
            std::iter::once(Server::Tailwater).chain(peers).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Tailwater => Some(PossibleValue::new(self.name())),
            Self::Peer(peer) => peer.to_possible_value(),
        }
    }
}

/// How our server is used; peers have one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) codec: Codec,
    pub(crate) kind: Kind,
    pub(crate) tls: bool,
}

impl Variant {
    /// JSON on a live channel without TLS.
    pub(crate) const PLAIN: Self = Self {
        codec: Codec::Json,
        kind: Kind::Live,
        tls: false,
    };
}

/// A server and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) server: Server,
    pub(crate) variant: Variant,
    /// Distinguishes two that are otherwise the same.
    pub(crate) note: &'static str,
}

impl Contender {
    /// A server in its plain way.
    pub(crate) fn plain(server: Server) -> Self {
        Self {
            server,
            variant: Variant::PLAIN,
            note: "",
        }
    }

    /// Our server.
    pub(crate) fn ours(variant: Variant) -> Self {
        Self {
            variant,
            ..Self::plain(Server::Tailwater)
        }
    }

    /// A loss of this one is a failure.
    pub(crate) fn is_ours(&self) -> bool {
        self.server == Server::Tailwater
    }

    /// What it is called in reports: its name, and what is not plain about it.
    pub(crate) fn label(&self) -> String {
        let Variant { codec, kind, tls } = self.variant;
        let mut label = self.server.name().to_owned();
        let words = [
            (codec == Codec::Msgpack, "msgpack"),
            (kind == Kind::Durable, "durable"),
            (tls, "wss"),
            (!self.note.is_empty(), self.note),
        ];
        for (_, word) in words.into_iter().filter(|(applies, _)| *applies) {
            label.push(' ');
            label.push_str(word);
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_what_is_not_plain() {
        assert_eq!(Contender::plain(Server::Peer(Peer::Floor)).label(), "floor");
        let variant = Variant {
            codec: Codec::Msgpack,
            kind: Kind::Durable,
            tls: true,
        };
        assert_eq!(Contender::ours(variant).label(), "tailwater msgpack durable wss");
    }
}
