//! Holds a session to its rates: who asks for too much waits, and is not read meanwhile.

use tailwater_protocol::close::CloseCode;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::push::Push;

use super::{End, Session};
use crate::limits::pace::Step;
use crate::worker::Worker;

/// Waits until the session may have its next command carried out, and counts that. It is ended instead if it has asked
/// for too much for too long.
pub(super) async fn next_command(session: &Session, worker: &Worker) {
    keep(session, worker).await;
    let limits = worker.limits();
    session.pace.took_command(limits.paces(), limits.clock().now());
}

/// Waits until the session is within its rates.
pub(super) async fn keep(session: &Session, worker: &Worker) {
    let limits = worker.limits();
    while !session.is_ending() {
        match session.pace.step(limits.paces(), limits.clock().now()) {
            Step::Go => return,
            Step::Wait(wait) => {
                // The answer to a ping may stand behind what is not read.
                session.waiting_for_nats.set(true);
                tokio::time::sleep(wait).await;
                session.waiting_for_nats.set(false);
                session.awaiting_pong.set(false);
            }
            Step::End { retry_after } => {
                limits.note_paced(session.id, session.remote_addr);
                let sentence = "this session has asked for more than its rate for too long";
                let error = ErrorMessage {
                    retry_after_ms: Some(u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX)),
                    ..ErrorMessage::new(ErrorCode::RateLimited, sentence)
                };
                session.push_message(session.encoding.encode(&Push::Error(error).into()));
                let code = CloseCode::RateLimited;
                session.end(End::Close(code, code.reason()));
            }
        }
    }
}

impl Session {
    /// Whether it has to wait before it is read again.
    pub(super) fn is_over_pace(&self, worker: &Worker) -> bool {
        let limits = worker.limits();
        self.pace.step(limits.paces(), limits.clock().now()) != Step::Go
    }
}
