//! Keeps what the public listener proves itself with current: looks at the files of `[tls]` every
//! `tls.reload_secs` and when it is asked to, and hands what is new to the workers.
//!
//! Contents are compared and not times, since orchestrators replace links to folders. Connections keep what they began
//! with. Files that are of no use change nothing: the log says why, and what was in use stays in use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{Contents, Material, Standing, TlsConfig, TlsFiles, Validity};
use crate::socket::tls;

/// The files are replaced one after the other: those that do not fit each other may do so when they are read again.
const SETTLE: Duration = Duration::from_secs(1);

/// So often the log repeats that a certificate is to be renewed.
const REMINDER_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How the workers learn of new settings.
type Settings = watch::Receiver<Arc<ServerConfig>>;

/// The task that looks at the files; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    asked: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Renewal {
    /// Begins with what was read with the configuration. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn start(config: &TlsConfig) -> Result<(Self, Settings), rustls::Error> {
        let tickets = tls::tickets()?;
        let (settings, receiver) = watch::channel(tls::settings(&config.material, &tickets)?);
        let asked = Arc::new(Notify::new());
        let keeper = Keeper {
            files: config.files.clone(),
            material: config.material.clone(),
            tickets,
            settings,
            complaint: None,
        };
        let task = tokio::spawn(keeper.keep(config.reload_interval, asked.clone()));
        Ok((Self { asked, task }, receiver))
    }

    /// Looks at the files now. What was found is logged, also if it is nothing new.
    pub(crate) fn reload(&self) {
        self.asked.notify_one();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a look at the files found.
enum Found {
    /// What is in use.
    Same,
    New(Material, Arc<ServerConfig>),
    /// Something else that cannot be used, for these reasons.
    Unusable(String),
}

struct Keeper {
    files: TlsFiles,
    /// What is in use.
    material: Material,
    /// The same for all certificates, so that a new one does not cost every client a whole handshake.
    tickets: Arc<dyn ProducesTickets>,
    settings: watch::Sender<Arc<ServerConfig>>,
    /// What the log has already.
    complaint: Option<String>,
}

impl Keeper {
    async fn keep(mut self, interval: Duration, asked: Arc<Notify>) {
        let mut reminder = Reminder::default();
        self.announce("the certificate in use");
        loop {
            reminder.remind(self.material.validity);
            let is_asked = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                () = asked.notified() => true,
            };
            match self.look_twice().await {
                Found::Same => {
                    self.complaint = None;
                    if is_asked {
                        self.announce("the files hold the certificate in use, nothing is new");
                    }
                }
                Found::New(material, settings) => {
                    self.complaint = None;
                    self.material = material;
                    self.settings.send_replace(settings);
                    self.announce("a new certificate is in use");
                }
                Found::Unusable(why) => {
                    if is_asked || self.complaint.as_ref() != Some(&why) {
                        tracing::error!(
                            error = why,
                            "the new files of `[tls]` are refused, the old certificate stays in use"
                        );
                    }
                    self.complaint = Some(why);
                }
            }
        }
    }

    fn announce(&self, message: &str) {
        let Validity {
            not_before,
            not_after,
        } = self.material.validity;
        let certificate = self.files.certificate.display();
        let (not_before, not_after) = (date(not_before), date(not_after));
        tracing::info!(%certificate, not_before, not_after, "{message}");
    }

    async fn look_twice(&self) -> Found {
        match self.look().await {
            Found::Unusable(_) => {
                tokio::time::sleep(SETTLE).await;
                self.look().await
            }
            found => found,
        }
    }

    async fn look(&self) -> Found {
        let files = self.files.clone();
        // A file system that hangs must not hold up what else runs here.
        let read = tokio::task::spawn_blocking(move || Contents::read(&files)).await;
        match read {
            Ok(contents) if contents.fingerprint() != self.material.fingerprint => {
                let found = self.understand(&contents);
                found.unwrap_or_else(Found::Unusable)
            }
            // Nothing was read if the process ends.
            _ => Found::Same,
        }
    }

    /// Unlike at start, a certificate that no client would accept is refused: the old one is better.
    fn understand(&self, contents: &Contents) -> Result<Found, String> {
        let material = contents.material(&self.files).map_err(|mistakes| {
            let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            mistakes.join("; ")
        })?;
        let Validity {
            not_before,
            not_after,
        } = material.validity;
        let end = match material.validity.standing(SystemTime::now()) {
            Standing::Over => format!("expired on {}", date(not_after)),
            Standing::NotYet => format!("is not valid before {}", date(not_before)),
            Standing::Valid | Standing::Ending => {
                let settings = tls::settings(&material, &self.tickets).map_err(|error| error.to_string())?;
                return Ok(Found::New(material, settings));
            }
        };
        let certificate = self.files.certificate.display();
        Err(format!("`tls.certificate` is `{certificate}`, which {end}"))
    }
}

/// Warns of a certificate that clients refuse or soon will: when that begins, and once a day.
#[derive(Default)]
struct Reminder {
    last: Option<(Standing, Instant)>,
}

impl Reminder {
    fn remind(&mut self, validity: Validity) {
        let standing = validity.standing(SystemTime::now());
        let is_told = |(told, at): (Standing, Instant)| told == standing && at.elapsed() < REMINDER_INTERVAL;
        if self.last.is_some_and(is_told) {
            return;
        }
        self.last = Some((standing, Instant::now()));
        let (not_before, not_after) = (date(validity.not_before), date(validity.not_after));
        match standing {
            Standing::Valid => {}
            Standing::Ending => {
                tracing::warn!(
                    not_after,
                    "the certificate in use expires within 14 days: renew it"
                );
            }
            Standing::Over => {
                tracing::warn!(
                    not_after,
                    "the certificate in use has expired, clients refuse it: renew it"
                );
            }
            Standing::NotYet => {
                tracing::warn!(
                    not_before,
                    "the certificate in use is not valid yet, clients refuse it"
                );
            }
        }
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
