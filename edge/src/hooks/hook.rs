//! One service that decides: how it is asked, how often at a time, how long its answers hold, and what its silence
//! means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderName;
use sha2::{Digest, Sha256};
use tailwater_broker::BrokerError;
use tailwater_broker::request::{Answer, Requester};
use tokio::sync::Semaphore;

use super::HookRefusal;
use super::answer::{Denied, Verdict};
use super::cache::{Cache, Key};
use crate::config::{HookConfig, OnFailure};
use crate::telemetry::traces::{Span, Tracer};

/// At most one line about failures of a hook in this time: a flood of clients must not become one of logs.
const QUIET: Duration = Duration::from_secs(1);

/// What a service grants when it says yes.
pub(super) trait Grant: Clone + Default {
    /// Reads an answer; else a phrase that names the field that is wrong.
    fn read(answer: &[u8]) -> Result<Verdict<Self>, String>;

    /// How long it holds by itself, from now.
    fn holds(&self) -> Option<Duration> {
        None
    }
}

/// The service of one hook.
#[derive(Debug)]
pub(super) struct Hook<G> {
    event: &'static str,
    subject: Arc<str>,
    timeout: Duration,
    headers: Vec<HeaderName>,
    on_failure: OnFailure,
    requester: Requester,
    places: Semaphore,
    /// Nothing if answers do not hold.
    cache: Option<Mutex<Cache<Verdict<G>>>>,
    failures: Failures,
    tracer: Tracer,
}

/// Failures since the last line about them.
#[derive(Debug)]
struct Failures {
    begin: Instant,
    /// In milliseconds since `begin`; the first failure is told at once.
    next_line: AtomicU64,
    untold: AtomicU64,
}

/// Why there is no decision. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("as many questions as `max_in_flight` allows wait for the service")]
    Busy,
    #[error("no service listens on the subject")]
    NoResponders,
    #[error("the service did not answer within {0:?}")]
    Late(Duration),
    #[error("the service answered with an error: {code} {description}")]
    Service { code: String, description: String },
    #[error(transparent)]
    Broker(BrokerError),
}

impl<G: Grant> Hook<G> {
    pub(super) fn new(
        event: &'static str,
        config: &HookConfig,
        requester: Requester,
        tracer: Tracer,
    ) -> Self {
        let cache = (!config.cache.is_zero()).then(|| Mutex::new(Cache::new(config.cache)));
        Self {
            event,
            subject: config.subject.clone(),
            timeout: config.timeout,
            headers: config.headers.clone(),
            on_failure: config.on_failure,
            requester,
            places: Semaphore::new(config.max_in_flight),
            cache,
            failures: Failures::new(),
            tracer,
        }
    }

    /// Headers of a handshake that this service is shown.
    pub(super) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// What the service decides about `question`, which is asked for `session`, as a part of `whole`; without a session it is what makes two
    /// questions the same.
    ///
    /// # Errors
    /// [`HookRefusal`].
    pub(super) async fn ask(
        &self,
        session: &str,
        whole: &Span,
        question: impl Fn(Option<&str>) -> Vec<u8>,
    ) -> Result<G, HookRefusal> {
        let key: Option<Key> = self
            .cache
            .is_some()
            .then(|| Sha256::digest(question(None)).into());
        if let Some(verdict) = key.and_then(|key| self.cache()?.find(&key, Instant::now())) {
            return verdict.map_err(refusal);
        }
        let mut span = self.tracer.ask("hook", Some(whole));
        span.note("tailwater.event", self.event);
        let answer = match self.send(&question(Some(session)), &span).await {
            Ok(answer) => answer,
            Err(failure) => {
                span.fail(&failure);
                return self.failed(session, &failure);
            }
        };
        drop(span);
        match G::read(&answer.payload) {
            Ok(verdict) => {
                if let Some((key, mut cache)) = key.zip(self.cache()) {
                    let holds = verdict.as_ref().map_or(None, Grant::holds);
                    cache.keep(key, verdict.clone(), holds, Instant::now());
                }
                verdict.map_err(refusal)
            }
            // The service did speak, and it may have said no: never let through.
            Err(mistake) => {
                if let Some(untold) = self.failures.tell() {
                    tracing::error!(
                        event = self.event, subject = %self.subject, session_id = session, mistake, untold,
                        "a hook's answer cannot be read, and counts as a refusal: correct the service"
                    );
                }
                Err(HookRefusal::Failed)
            }
        }
    }

    async fn send(&self, question: &[u8], span: &Span) -> Result<Answer, Failure> {
        let _place = self.places.try_acquire().map_err(|_| Failure::Busy)?;
        let trace = span.headers();
        let asked = self
            .requester
            .ask(&self.subject, question, trace.as_ref(), self.timeout)
            .await;
        let answer = asked.map_err(|error| match error {
            BrokerError::NoResponders { .. } => Failure::NoResponders,
            BrokerError::Unavailable { timeout } => Failure::Late(timeout),
            other => Failure::Broker(other),
        })?;
        match answer.error {
            None => Ok(answer),
            Some(error) => Err(Failure::Service {
                code: error.code,
                description: error.description,
            }),
        }
    }

    fn failed(&self, session: &str, failure: &Failure) -> Result<G, HookRefusal> {
        let (allowed, decision) = match self.on_failure {
            OnFailure::Allow => (Ok(G::default()), "allow"),
            OnFailure::Deny => (Err(HookRefusal::Failed), "deny"),
        };
        if let Some(untold) = self.failures.tell() {
            tracing::warn!(
                event = self.event, subject = %self.subject, session_id = session, error = %failure, untold,
                on_failure = decision, "a hook gives no decision"
            );
        }
        allowed
    }

    /// Every change of the cache is complete before anything in it can panic.
    fn cache(&self) -> Option<MutexGuard<'_, Cache<Verdict<G>>>> {
        let cache = self.cache.as_ref()?;
        Some(cache.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refusal(Denied(reason): Denied) -> HookRefusal {
    HookRefusal::Denied { reason }
}

impl Failures {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            next_line: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// Counts a failure; if it is time for a line, how many others there were since the last one.
    fn tell(&self) -> Option<u64> {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let mine = self
            .next_line
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (now >= next).then(|| now + quiet)
            });
        match mine {
            Ok(_) => Some(self.untold.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.untold.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}
