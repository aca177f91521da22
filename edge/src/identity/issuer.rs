//! Keeps the keys of one issuer current. One task reads or fetches them: at its own pace, and at once for a token that
//! names a key nobody has seen, for all who wait together and not more often than the cool-down allows.
//!
//! Nothing here takes a lock that is held while something is waited for; a verification whose key is known waits for
//! nothing at all.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::jwks::KeySet;
use super::keys::Key;
use super::source::{self, DEADLINE};
use super::verifier::TokenError;
use crate::config::IssuerConfig;

/// How fast keys are asked for. Always [`Pace::DEFAULT`] but in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long keys may take to come.
    pub(super) deadline: Duration,
    /// Between two attempts at least, as far as tokens can bring them about.
    pub(super) cool_down: Duration,
    /// The pause after a first failure; it doubles with each, up to `refresh`.
    pub(super) first_retry: Duration,
}

impl Pace {
    pub(super) const DEFAULT: Self = Self {
        deadline: DEADLINE,
        cool_down: Duration::from_secs(10),
        first_retry: Duration::from_secs(1),
    };
}

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    config: IssuerConfig,
    pace: Pace,
    keys: watch::Receiver<Keyring>,
    /// Asks the task for an attempt. One request in the queue is as good as many.
    wanted: mpsc::Sender<()>,
}

/// The keys as they are known.
#[derive(Clone, Debug)]
struct Keyring {
    keys: Arc<[Key]>,
    /// When they came; nothing: they never have.
    loaded: Option<Instant>,
    /// When the last attempt ended, and whether it brought keys.
    last: Option<(Instant, bool)>,
    /// Attempts that have ended.
    attempts: u64,
}

impl Issuer {
    /// Starts the task that asks for the keys, which must be aborted when nobody verifies any more.
    pub(super) fn start(config: IssuerConfig, pace: Pace) -> (Self, JoinHandle<()>) {
        let (keys, current) = watch::channel(Keyring {
            keys: Arc::new([]),
            loaded: None,
            last: None,
            attempts: 0,
        });
        let (wanted, asked) = mpsc::channel(1);
        let task = tokio::spawn(keep(config.clone(), pace, keys, asked));
        let issuer = Self {
            config,
            pace,
            keys: current,
            wanted,
        };
        (issuer, task)
    }

    /// As configured.
    pub(super) fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// The key that a token with this `kid` and `alg` must have been signed with. Waits for an attempt at the keys if
    /// that may help, a few seconds at most.
    pub(super) async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Key, TokenError> {
        let mut keys = self.keys.clone();
        let seen = {
            let keyring = keys.borrow();
            match keyring.find(id, algorithm, &self.config) {
                Ok(key) => return Ok(key.clone()),
                Err(missing) if keyring.is_worth_an_attempt(&missing, self.pace.cool_down) => {
                    keyring.attempts
                }
                Err(missing) => return Err(missing),
            }
        };
        // A full queue holds the same request already.
        let _ = self.wanted.try_send(());
        let patience = self.pace.deadline + Duration::from_secs(1);
        let ended = timeout(patience, keys.wait_for(|keyring| keyring.attempts > seen)).await;
        match ended {
            Ok(Ok(keyring)) => keyring.find(id, algorithm, &self.config).cloned(),
            _ => Err(TokenError::KeysUnavailable),
        }
    }
}

impl Keyring {
    fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        config: &IssuerConfig,
    ) -> Result<&Key, TokenError> {
        if self
            .loaded
            .is_none_or(|loaded| loaded.elapsed() > config.max_stale)
        {
            return Err(TokenError::KeysUnavailable);
        }
        let is_named = self.keys.iter().any(|key| key.id().is_some());
        let mut named = self
            .keys
            .iter()
            .filter(|key| !is_named || id.is_none() || key.id() == id)
            .peekable();
        if named.peek().is_none() {
            // What it would have brought cannot be known.
            let failed = self.last.is_some_and(|(_, brought)| !brought);
            return Err(if failed {
                TokenError::KeysUnavailable
            } else {
                TokenError::UnknownKey
            });
        }
        let mut able = named.filter(|key| key.can(algorithm));
        let key = able.next().ok_or(TokenError::Algorithm)?;
        if id.is_none() && able.next().is_some() {
            return Err(TokenError::UnnamedKey);
        }
        Ok(key)
    }

    /// Whether another attempt may bring the key, and may be made.
    fn is_worth_an_attempt(&self, missing: &TokenError, cool_down: Duration) -> bool {
        let may_help = matches!(missing, TokenError::KeysUnavailable | TokenError::UnknownKey);
        may_help && self.last.is_none_or(|(ended, _)| ended.elapsed() >= cool_down)
    }
}

/// Asks for the keys for as long as somebody verifies.
async fn keep(config: IssuerConfig, pace: Pace, keys: watch::Sender<Keyring>, mut asked: mpsc::Receiver<()>) {
    let mut retry = pace.first_retry;
    loop {
        let loaded = source::load(&config, pace.deadline).await;
        let brought = loaded.is_ok();
        let ended = Instant::now();
        let pause = match &loaded {
            Ok(_) => {
                retry = pace.first_retry;
                config.refresh
            }
            Err(error) => {
                tracing::warn!(issuer = %config.name, %error, "no keys; those known stay in use for a while");
                let pause = retry;
                retry = config.refresh.min(retry * 2);
                pause
            }
        };
        // Who has asked so far is answered by this attempt.
        while asked.try_recv().is_ok() {}
        keys.send_modify(|keyring| keyring.take(&config, loaded.ok(), ended, brought));
        // Edges that started together do not ask together.
        let next = ended + pause.mul_f64(0.8 + fastrand::f64() / 5.0);
        loop {
            match timeout_at(next, asked.recv()).await {
                Err(_) => break,
                Ok(None) => return,
                Ok(Some(())) if ended.elapsed() >= pace.cool_down => break,
                // Asked for while the last attempt ended, which was the answer.
                Ok(Some(())) => {}
            }
        }
    }
}

impl Keyring {
    fn take(&mut self, config: &IssuerConfig, loaded: Option<KeySet>, ended: Instant, brought: bool) {
        self.last = Some((ended, brought));
        self.attempts += 1;
        let Some(set) = loaded else { return };
        let names = |keys: &[Key]| {
            keys.iter()
                .map(|key| key.id().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        if self.loaded.is_none() || names(&self.keys) != names(&set.keys) {
            tracing::info!(issuer = %config.name, keys = set.keys.len(), skipped = set.skipped, "keys of an issuer");
        }
        self.keys = set.keys.into();
        self.loaded = Some(ended);
    }
}
