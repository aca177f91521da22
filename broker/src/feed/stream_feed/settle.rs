//! Finds out up to where unsettled channels are to be read, and whether the stream began anew.

use std::collections::HashMap;
use std::sync::Arc;

use tailwater_protocol::position::Epoch;

use super::super::inbox::Delivery;
use super::super::interest::Progress;
use super::super::pending::{Outlets, Pending};
use super::{Asks, Member, REQUEST_TIMEOUT, StreamFeed, head, is_exact, subject_of};
use crate::epoch;
use crate::error::BrokerError;
use crate::jetstream;

impl StreamFeed {
    /// Finds out up to where each unsettled channel is to be read, and lets the live feed go on from there.
    pub(super) async fn settle(&self, asks: &Asks) -> Result<(), BrokerError> {
        if self.suspect.replace(false) {
            self.highest.set(0);
            for member in self.members() {
                if let Some(ordered) = &mut member.borrow_mut().ordered {
                    ordered.sequence.unsettle();
                }
            }
        }
        let doubts = |member: &Member| {
            let pending = member.borrow();
            pending.ordered.as_ref().map(|ordered| ordered.sequence.doubts())
        };
        let members: Vec<_> = self
            .unsettled()
            .into_iter()
            .map(|member| (doubts(&member), member))
            .collect();
        let known = self.timeline.highest();
        let upto = jetstream::barrier(&asks.live, &self.timeline.stream, REQUEST_TIMEOUT).await?;
        let exact: Vec<&Member> = members
            .iter()
            .map(|(_, member)| member)
            .filter(|member| is_exact(member))
            .collect();
        let (heads, epoch) = self.heads(asks, &exact, upto).await?;
        if let Some(epoch) = self.changed_epoch(asks, epoch, upto < known).await? {
            self.renew(epoch, upto, &asks.outlets);
            return Ok(());
        }
        self.timeline.reached(upto);
        for (asked, member) in &members {
            // Who became unsettled again since has to wait for the next round.
            if doubts(member) == *asked {
                let mut pending = member.borrow_mut();
                let head = subject_of(&pending).and_then(|subject| heads.get(&subject).copied());
                self.settle_one(&mut pending, head.unwrap_or(upto), &asks.outlets);
            }
        }
        Ok(())
    }

    fn settle_one(&self, pending: &mut Pending, upto: u64, outlets: &Outlets) {
        if *pending.interest.progress.borrow() == Progress::Refused {
            return;
        }
        pending.flush(outlets);
        let interest = pending.interest.id;
        let is_new = *pending.interest.progress.borrow() == Progress::Opening;
        let Some(ordered) = &mut pending.ordered else {
            return;
        };
        let before = ordered.sequence.tip();
        let pattern = ordered.sequence.settle(upto);
        let to = ordered.sequence.tip();
        let renewed = std::mem::take(&mut ordered.renewed);
        pending.restart();
        let news = match pattern {
            _ if renewed => {
                let life = self.timeline.life();
                Some(Delivery::Renewed {
                    interest,
                    epoch: life.epoch,
                    life: life.number,
                    to,
                })
            }
            _ if is_new => None,
            None => (to > before).then_some(Delivery::Advance {
                interest,
                encoding: None,
                to,
            }),
            Some((floor, seen)) => {
                // What the ring holds may lack what the feed has missed.
                outlets.history.spans().forget(interest);
                Some(Delivery::Rewind {
                    interest,
                    floor,
                    seen,
                    to,
                })
            }
        };
        if let Some(news) = news {
            pending.tell(outlets, &news);
        }
        let activate =
            |progress: &mut Progress| std::mem::replace(progress, Progress::Active) != Progress::Active;
        pending.interest.progress.send_if_modified(activate);
    }

    /// The newest offset of each exact channel by its subject, from a replica that has all up to `upto`, and the epoch
    /// that stands in the stream.
    async fn heads(
        &self,
        asks: &Asks,
        exact: &[&Member],
        upto: u64,
    ) -> Result<(HashMap<Arc<str>, u64>, Option<Epoch>), BrokerError> {
        let subjects: Vec<Arc<str>> = exact
            .iter()
            .filter_map(|member| subject_of(&member.borrow()))
            .collect();
        let mut newest = HashMap::with_capacity(subjects.len());
        // Without any, the epoch alone is asked for.
        let mut groups = subjects.chunks(jetstream::MAX_SUBJECTS);
        let mut group = groups.next().unwrap_or_default();
        loop {
            let asked: Vec<&str> = group.iter().map(AsRef::as_ref).collect();
            let heads = self.ask_heads(asks, &asked, upto).await?;
            for (subject, head) in heads.messages.iter().filter_map(head) {
                newest.insert(Arc::from(subject), head);
            }
            match groups.next() {
                Some(next) => group = next,
                None => return Ok((newest, heads.epoch)),
            }
        }
    }
    /// The epoch that is in force now, if it is another one than we know.
    async fn changed_epoch(
        &self,
        asks: &Asks,
        found: Option<Epoch>,
        went_back: bool,
    ) -> Result<Option<Epoch>, BrokerError> {
        let known = self.timeline.life().epoch;
        let stream = &self.timeline.stream;
        let mut now = match found {
            Some(epoch) => epoch,
            // It was trimmed: nothing has changed by that.
            None => epoch::refresh(&asks.connection, stream, &known).await?,
        };
        if now == known && went_back {
            // Sequences are given out a second time.
            now = epoch::raise(&asks.connection, stream, &known).await?;
        }
        Ok((now != known).then_some(now))
    }

    /// The stream began anew, and has come to `upto`.
    fn renew(&self, epoch: Epoch, upto: u64, outlets: &Outlets) {
        tracing::warn!(stream = &*self.timeline.stream.name, %epoch, "the stream began anew: clients are told, and read it from its start");
        let members = self.members();
        // While the old life lasts: what goes out says how far the stream has come.
        for member in &members {
            member.borrow_mut().flush(outlets);
        }
        self.timeline.renew(epoch, upto);
        self.highest.set(0);
        for member in members {
            let mut pending = member.borrow_mut();
            let progress = *pending.interest.progress.borrow();
            if progress == Progress::Refused {
                continue;
            }
            let is_new = progress == Progress::Opening;
            // Who joins meanwhile waits until it is known where the channel begins.
            pending.interest.progress.send_replace(Progress::Opening);
            if let Some(ordered) = &mut pending.ordered {
                ordered.sequence.renew();
                ordered.renewed |= !is_new;
            }
            pending.restart();
            // Behind the new place, by which a read that is under way sees that what it brings is not to be kept.
            outlets.history.spans().forget(pending.interest.id);
        }
    }
}
