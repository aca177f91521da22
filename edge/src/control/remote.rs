//! Orders over NATS: one subscription that every edge has, without a queue group, so that each hears every order.

use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::listener::{Heard, Hearing, MAX_NOTE_BYTES, Note};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::order::{Order, Verb};
use super::{Asker, Control, EDGE_HEADER, Fleet, Outcome};
use crate::time::now;

/// What is waited for until the subscription is in place.
pub(super) const AWAITED: &str = "NATS has not confirmed the subscription to control messages yet";

/// Orders that wait to be carried out; what comes on top is dropped, with a line in the log.
const ROOM: usize = 1024;

/// Orders that are carried out at once.
const AT_ONCE: usize = 32;

/// The pause before a refused subscription is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Runs until the connection ends.
pub(super) async fn run(control: Control, awaited: Arc<watch::Sender<Vec<&'static str>>>) {
    let Some(fleet) = control.fleet.clone() else {
        return;
    };
    let subject = format!("{}.*", fleet.subject);
    let mut known = None;
    while let Ok(hearing) = fleet.listener.subscribe(&subject, ROOM).await {
        let Some(reason) = listen(&control, &fleet, hearing, &awaited).await else {
            return;
        };
        if known.as_ref() != Some(&reason) {
            tracing::error!(
                subject,
                reason,
                "NATS refuses the subscription to control messages: allow it, or set `control.enabled = false`"
            );
        }
        known = Some(reason);
        arrived(&awaited, AWAITED);
        tokio::time::sleep(REFUSED_PAUSE).await;
    }
}

/// Listens until the subscription is refused, and says why; nothing if the connection has ended.
async fn listen(
    control: &Control,
    fleet: &Arc<Fleet>,
    mut hearing: Hearing,
    awaited: &watch::Sender<Vec<&'static str>>,
) -> Option<String> {
    let mut orders = JoinSet::new();
    loop {
        tokio::select! {
            heard = hearing.next(), if orders.len() < AT_ONCE => match heard? {
                Heard::Note(note) => {
                    orders.spawn(serve(control.clone(), fleet.clone(), note));
                }
                Heard::Missed => arrived(awaited, AWAITED),
                Heard::Refused(reason) => return Some(reason),
            },
            Some(_) = orders.join_next() => {}
        }
    }
}

/// Something that was waited for has come.
pub(super) fn arrived(awaited: &watch::Sender<Vec<&'static str>>, what: &str) {
    awaited.send_if_modified(|awaited| {
        let before = awaited.len();
        awaited.retain(|each| *each != what);
        awaited.len() < before
    });
}

async fn serve(control: Control, fleet: Arc<Fleet>, note: Note) {
    let told_by = note.header(EDGE_HEADER);
    // Our own word to the others: it was carried out here first.
    if told_by == Some(fleet.edge.as_bytes()) {
        return;
    }
    let outcome = match read(&fleet, &note) {
        Ok(order) => {
            let asker = if told_by.is_some() {
                Asker::Admin
            } else {
                Asker::Nats
            };
            control.carry_out(&order, asker).await
        }
        Err(error) => {
            let subject = String::from_utf8_lossy(note.subject());
            tracing::warn!(%subject, error, "a control message is refused");
            Outcome::refused(error)
        }
    };
    if let Some(reply) = note.reply()
        && let Err(error) = fleet.listener.publish(reply, &[], &outcome.body()).await
    {
        tracing::debug!(%error, "a control message is not answered");
    }
}

fn read(fleet: &Fleet, note: &Note) -> Result<Order, String> {
    let name = note.subject().strip_prefix(fleet.subject.as_bytes());
    let name = name.and_then(|name| name.strip_prefix(b".")).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    let verb = Verb::new(&name)
        .ok_or_else(|| format!("there is no `{name}`: publish to `disconnect`, `unsubscribe` or `revoke`"))?;
    if note.too_long {
        return Err(format!("an order has at most {MAX_NOTE_BYTES} bytes"));
    }
    Order::parse(verb, note.payload(), now())
}
