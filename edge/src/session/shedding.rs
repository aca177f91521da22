//! What gives way when the memory for all outboxes is short: the largest of them, by the policies of their channels.
//!
//! Every outbox keeps to its share when something is added to it (see `limits::memory`). Here, once a second and only
//! while memory is short, those that nothing is added to are held to it too; and if even that is not enough, because
//! what waits may not be dropped, the sessions with the largest outboxes are closed, one by one. Those of durable
//! channels come back with their cursors and read on from JetStream.

use std::cmp::Reverse;
use std::rc::Rc;

use tailwater_protocol::close::CloseCode;

use super::{End, Session};
use crate::limits::memory::OWN_BYTES;
use crate::worker::Worker;

/// Sees to it that the outboxes of this worker keep to what there is.
pub(super) fn shed(worker: &Worker) {
    let (memory, limits) = (worker.memory(), worker.outbox_limits());
    if memory.free() >= limits.bytes {
        return;
    }
    let mut waiting: Vec<(usize, Rc<Session>)> = {
        let sessions = worker.sessions().borrow();
        // Who leaves has little time for it, and its close frame waits there too.
        let staying = sessions.iter().filter(|(_, session)| !session.is_ending());
        let waiting = staying.map(|(_, session)| (session.outbox_bytes(), session.clone()));
        waiting.filter(|(bytes, _)| *bytes > OWN_BYTES).collect()
    };
    waiting.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut cut = 0;
    for (bytes, session) in waiting {
        let overflown = session.outbox.borrow_mut().make_room(limits).is_err();
        if overflown || memory.is_exceeded() {
            session.outbox.borrow_mut().clear();
            session.end(End::Cut(
                CloseCode::SlowConsumer,
                CloseCode::SlowConsumer.reason(),
            ));
        }
        cut += usize::from(session.outbox_bytes() < bytes);
    }
    if cut > 0 {
        worker.limits().note_shed(cut);
    }
}

impl Session {
    fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }
}
