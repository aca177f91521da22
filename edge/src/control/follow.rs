//! Follows the bucket of revocations: reads it as a whole at start, after each reconnect and from time to time, and takes
//! each change as it comes. Sessions whose tokens turn out to be revoked are closed.

use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::bucket::{Bucket, Entry, Mark, Snapshot};
use tailwater_broker::listener::{Heard, Hearing, Listener, Note};
use tailwater_protocol::close::CloseCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Control;
use super::order::Selector;
use super::remote::arrived;
use super::revocations::{Revoked, Terms};
use super::sessions::Whom;
use crate::time::now;

/// What is waited for until the bucket has been read.
pub(super) const AWAITED: &str = "revocations have not been read yet";

/// Changes that wait to be taken; what comes on top is found when the bucket is read again, which is then done at once.
const ROOM: usize = 1024;

/// The pause between two looks at a bucket whose changes are heard; each edge takes a random part of it off.
const PAUSE: Duration = Duration::from_secs(60);

/// The pause after the first failure of a kind that passes; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause after such failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

struct Follower {
    control: Control,
    bucket: Bucket,
    awaited: Arc<watch::Sender<Vec<&'static str>>>,
    /// The bucket as it was read last, if that was all of it.
    mark: Option<Mark>,
    max_age: Option<Duration>,
    /// Why the bucket cannot be read, as it was logged last.
    trouble: Option<String>,
    /// Failures since the last success, of a kind that passes.
    failures: u32,
}

/// Runs until the connection ends.
pub(super) async fn run(
    control: Control,
    listener: Listener,
    bucket: Bucket,
    awaited: Arc<watch::Sender<Vec<&'static str>>>,
) {
    let subject = bucket.subject();
    let mut follower = Follower {
        max_age: Some(control.max_age),
        control,
        bucket,
        awaited,
        mark: None,
        trouble: None,
        failures: 0,
    };
    let mut known = None;
    loop {
        let Ok(mut hearing) = listener.subscribe(&subject, ROOM).await else {
            return;
        };
        let Some(reason) = follower.follow(&mut hearing).await else {
            return;
        };
        if known.as_ref() != Some(&reason) {
            tracing::warn!(
                subject,
                reason,
                "NATS refuses to tell of changes in the bucket: they come late, when it is looked at"
            );
        }
        known = Some(reason);
        let pause = follower.look().await;
        tokio::time::sleep(pause).await;
    }
}

impl Follower {
    /// Follows until the subscription is refused, and says why; nothing if the connection has ended.
    async fn follow(&mut self, hearing: &mut Hearing) -> Option<String> {
        // The first look waits for the subscription: what is changed behind it is heard.
        let mut due = Instant::now() + PAUSE;
        loop {
            tokio::select! {
                heard = hearing.next() => match heard? {
                    Heard::Note(note) => self.take(&note).await,
                    Heard::Missed => due = Instant::now(),
                    Heard::Refused(reason) => return Some(reason),
                },
                () = tokio::time::sleep_until(due) => {
                    let pause = self.look().await;
                    due = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                }
            }
        }
    }

    /// Takes one change.
    async fn take(&mut self, note: &Note) {
        let Some(entry) = self.bucket.entry(note) else {
            return;
        };
        let Some((revoked, terms)) = self.read(&entry) else {
            return;
        };
        tracing::info!(target: "audit", event = "bucket.changed", key = entry.key, revoked = terms.is_some());
        if !self.control.revocations.change(revoked.clone(), terms) {
            return;
        }
        let selector = match revoked {
            Revoked::User(user) => Selector::User {
                user,
                issued_before: terms.map(|terms| terms.issued_before),
            },
            Revoked::Token(token_id) => Selector::Token(token_id),
        };
        self.close(Whom::Selected(selector)).await;
    }

    /// Looks whether the bucket has changed, reads it if it has, and says when to look again.
    async fn look(&mut self) -> Duration {
        self.control.revocations.forget(now());
        match self.bucket.read(self.mark.as_ref()).await {
            Ok(snapshot) => {
                if let Some(snapshot) = snapshot {
                    self.replace(snapshot).await;
                }
                if self.trouble.take().is_some() {
                    tracing::info!(bucket = self.bucket.name(), "the revocations are read again");
                }
                self.control.found_bucket(true);
                self.failures = 0;
                arrived(&self.awaited, AWAITED);
                PAUSE
            }
            Err(error) => self.fail(&error),
        }
    }

    async fn replace(&mut self, snapshot: Snapshot) {
        self.max_age = snapshot.max_age;
        self.mark = snapshot.mark;
        let read: Vec<_> = snapshot
            .entries
            .iter()
            .filter_map(|entry| self.read(entry))
            .collect();
        let goes_further = self.control.revocations.replace(read);
        tracing::debug!(
            count = self.control.revocations.stored(),
            "the revocations were read"
        );
        if goes_further {
            self.close(Whom::Revoked(self.control.revocations.clone())).await;
        }
    }

    async fn close(&self, whom: Whom) {
        let reason = "revoked in the bucket".into();
        self.control
            .workers
            .close(&whom, CloseCode::Revoked, Some(&reason))
            .await;
    }

    /// The bucket cannot be read: what passes by itself is waited for, without what does not the edge goes on.
    fn fail(&mut self, error: &BrokerError) -> Duration {
        let passes = matches!(
            error,
            BrokerError::Away
                | BrokerError::Unavailable { .. }
                | BrokerError::NoLeader { .. }
                | BrokerError::Busy
        );
        let bucket = self.bucket.name();
        let trouble = error.to_string();
        let is_new = self.trouble.as_ref() != Some(&trouble);
        match error {
            // The connection itself tells the log about that.
            BrokerError::Away => {}
            _ if !is_new => {}
            _ if passes => {
                tracing::warn!(
                    bucket,
                    error = trouble,
                    "revocations cannot be read now, trying again"
                );
            }
            _ => tracing::warn!(
                bucket,
                error = trouble,
                "revocations cannot be read or stored: they end sessions, and are forgotten when this edge restarts"
            ),
        }
        self.trouble = Some(trouble);
        if !passes {
            let is_missing = matches!(
                error,
                BrokerError::NoJetStream { .. } | BrokerError::NoStream { .. }
            );
            self.control.found_bucket(!is_missing);
            arrived(&self.awaited, AWAITED);
            return PAUSE;
        }
        self.failures = self.failures.saturating_add(1);
        (FIRST_PAUSE * 2_u32.pow(self.failures.min(10))).min(LONGEST_PAUSE)
    }

    /// What an entry revokes, or no longer does; nothing if its key is none of ours.
    fn read(&self, entry: &Entry) -> Option<(Revoked, Option<Terms>)> {
        let Some(revoked) = Revoked::of_key(&entry.key) else {
            tracing::warn!(
                key = entry.key,
                "the bucket holds what is no revocation: write `user.NAME` or `token.ID`"
            );
            return None;
        };
        if entry.value.is_none() {
            return Some((revoked, None));
        }
        let (terms, is_readable) = Terms::of_entry(entry, self.max_age, now());
        if !is_readable {
            tracing::warn!(
                key = entry.key,
                "the value of a revocation is no JSON object, and is left out of account"
            );
        }
        Some((revoked, Some(terms)))
    }
}
