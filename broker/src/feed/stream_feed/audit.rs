//! Looks for publications that never arrived.

use std::collections::HashMap;
use std::sync::Arc;

use tailwater_protocol::batch::subject_hash;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::position::Epoch;

use super::super::inbox::Delivery;
use super::super::pending::{Outlets, Pending};
use super::{Asks, Member, REQUEST_TIMEOUT, StreamFeed, head, is_exact, subject_of, subject_of_any};
use crate::epoch;
use crate::error::BrokerError;
use crate::jetstream::{self, Get};
use crate::stream::api::JetStream;

impl StreamFeed {
    /// Looks for publications that never arrived.
    pub(super) async fn audit(&self, asks: &Asks) -> Result<(), BrokerError> {
        // Before the stream drops the sync message for its age: an edge that starts without one gives another epoch.
        let epoch = self.timeline.life().epoch;
        if epoch::refresh(&asks.connection, &self.timeline.stream, &epoch).await? != epoch {
            self.suspect.set(true);
            return Ok(());
        }
        let stream = &self.timeline.stream;
        let jetstream = JetStream::at(asks.connection.clone(), stream.api_prefix.clone());
        if let Some(info) = jetstream.info(&stream.name).await? {
            // Whoever judges a cursor has to know what may have made room.
            self.timeline.limited_to(info.max_messages_per_subject());
        }
        let (exact, patterns): (Vec<Member>, Vec<Member>) = self.members().into_iter().partition(is_exact);
        let known = self.timeline.highest();
        let mut groups: Vec<&[Member]> = exact.chunks(jetstream::MAX_SUBJECTS).collect();
        groups.extend(patterns.chunks(1));
        // Without any interest, the epoch alone is looked at.
        groups.extend(groups.is_empty().then_some(&[][..]));
        let mut found = Vec::with_capacity(groups.len());
        for group in groups {
            let newest = match self.newest(asks, group).await {
                Err(error) if jetstream::is_too_many(&error) => {
                    self.newest_by_reading(asks, &group[0]).await?
                }
                newest => newest?,
            };
            if newest.epoch.as_ref() != Some(&epoch) {
                self.suspect.set(true);
                return Ok(());
            }
            found.push((group, newest));
        }
        let upto = jetstream::barrier(&asks.live, &self.timeline.stream, REQUEST_TIMEOUT).await?;
        if self.timeline.life().epoch != epoch {
            // What was found is of another life.
            return Ok(());
        }
        if upto < known {
            self.suspect.set(true);
            return Ok(());
        }
        for (group, newest) in found {
            for member in group {
                audit_one(&mut member.borrow_mut(), &newest, &asks.outlets);
            }
        }
        Ok(())
    }

    /// The newest publications of these channels.
    async fn newest(&self, asks: &Asks, group: &[Member]) -> Result<Newest, BrokerError> {
        let subjects: Vec<Arc<str>> = group
            .iter()
            .filter_map(|member| subject_of_any(&member.borrow()))
            .collect();
        let subjects: Vec<&str> = subjects.iter().map(AsRef::as_ref).collect();
        let heads = self.ask_heads(asks, &subjects, 0).await?;
        let newest = heads.messages.iter().filter_map(head);
        Ok(Newest {
            upto: heads.upto,
            epoch: heads.epoch,
            offsets: newest
                .map(|(subject, offset)| (subject_hash(subject), offset))
                .collect(),
        })
    }

    /// The newest publications of a pattern with more subjects than the server lists: reads all since its floor.
    async fn newest_by_reading(&self, asks: &Asks, member: &Member) -> Result<Newest, BrokerError> {
        let heads = self.ask_heads(asks, &[], 0).await?;
        let (interest, floor) = {
            let pending = member.borrow();
            let floor = pending
                .ordered
                .as_ref()
                .map_or(0, |ordered| ordered.sequence.floor());
            (pending.interest.clone(), floor)
        };
        let mut newest = Newest {
            upto: floor,
            epoch: heads.epoch,
            offsets: HashMap::new(),
        };
        while newest.upto < heads.upto {
            let request = Get {
                seq: Some(newest.upto + 1),
                batch: 1000,
                ..Get::default()
            };
            let wire = asks.outlets.history.wire();
            let got = jetstream::get(wire, &self.timeline.stream, &request, REQUEST_TIMEOUT).await?;
            let Some(last) = got.messages.last().and_then(jetstream::sequence) else {
                break;
            };
            for (subject, offset) in got.messages.iter().filter_map(head) {
                let name = interest.terms.prefix.channel(subject);
                if name.is_some_and(|name| interest.channel().matches(name)) {
                    newest.offsets.insert(subject_hash(subject), offset);
                }
            }
            newest.upto = last;
        }
        Ok(newest)
    }
}

/// The newest publications of some channels.
struct Newest {
    /// They are the newest up to here.
    upto: u64,
    /// The epoch that stands in the stream.
    epoch: Option<Epoch>,
    /// By the hash of the subject.
    offsets: HashMap<u64, u64>,
}

fn audit_one(pending: &mut Pending, newest: &Newest, outlets: &Outlets) {
    pending.flush(outlets);
    let interest = pending.interest.id;
    let encodings = Encoding::of_channel(pending.interest.terms.compress);
    let own = subject_of(pending).map(|subject| subject_hash(&subject));
    let Some(ordered) = pending
        .ordered
        .as_mut()
        .filter(|ordered| ordered.sequence.is_settled())
    else {
        return;
    };
    let sequence = &mut ordered.sequence;
    let from = sequence.tip();
    let certain = |offset| Delivery::Certain {
        interest,
        from,
        offset,
    };
    let news = match own.map(|own| newest.offsets.get(&own).copied()) {
        Some(Some(to)) => sequence.lags(to).then(|| {
            outlets.count_gap();
            Delivery::Advance {
                interest,
                encoding: None,
                to,
            }
        }),
        // The last publication has expired: a cursor that stays there would look like a loss. Those of clients that are
        // away stay there: for them the ring keeps that nothing came since.
        Some(None) => sequence.lags(newest.upto).then(|| {
            outlets
                .history
                .spans()
                .nothing_between((interest, encodings), from, newest.upto);
            certain(newest.upto)
        }),
        None => {
            let audited = sequence.audit(
                newest.upto,
                newest.offsets.iter().map(|(subject, head)| (*subject, *head)),
            );
            if audited.is_none() {
                outlets.count_gap();
                sequence.unsettle();
            }
            audited.map(certain)
        }
    };
    if ordered.sequence.is_settled() {
        pending.restart();
    }
    if let Some(news) = news {
        pending.tell(outlets, &news);
    }
}
