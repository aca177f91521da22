//! The task that owns the client of one event stream: subscribes to what the request names, finishes writes that the
//! socket did not take at once, and tells the client where it stands.
//!
//! Updates carry their places themselves where there is one channel that is no pattern; otherwise an id of all places
//! follows what was written, as soon as the hub is through with it.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use socket2::SockRef;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::command::Subscribe;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::event_stream;

use super::places::Start;
use super::recovery::CatchUp;
use super::task::{Event, alongside, finish};
use super::{End, Session, commands};
use crate::worker::Worker;

/// Serves one client until it leaves.
pub(crate) async fn run(session: Rc<Session>, worker: Rc<Worker>, subscribes: Vec<Subscribe>) {
    let start = Start::of(&subscribes);
    let mut catch_up = CatchUp::new(&session, &worker);
    let joining = Box::pin(commands::subscribe_all(&session, &worker, subscribes.into_iter()));
    alongside(&session, &worker, joining, &mut catch_up).await;
    session.place_due.set(session.encoding == Encoding::EVENTS);
    let end = loop {
        let next = |context: &mut Context<'_>| {
            session.tell_places(&worker, &start, context);
            session.poll_event(&worker, context, &mut catch_up)
        };
        match poll_fn(next).await {
            Event::End(end) => break end,
            Event::Writable => session.flush(),
            Event::Readable => session.expect_nothing(&worker),
        }
    };
    drop(catch_up);
    finish(&session, &worker, end).await;
}

impl Session {
    /// Writes the id of where the client stands, if it is due.
    fn tell_places(&self, worker: &Worker, start: &Start, context: &mut Context<'_>) {
        if !self.place_due.get() || self.is_ending() {
            return;
        }
        match self.places(worker, &start.channels) {
            Some(places) => {
                self.place_due.set(false);
                if places.0.iter().any(Option::is_some) {
                    self.push_message(event_stream::id(&start.cursor(&places)));
                }
            }
            // The hub gives way to others on its way: look again when it has.
            None => context.waker().wake_by_ref(),
        }
    }

    /// Breaks the connection if TCP gets no word for `timeout` of what was sent (RFC 5482).
    pub(crate) fn expect_word_of_tcp(&self, timeout: Duration) {
        let Some(tcp) = self.socket.tcp() else { return };
        if let Err(error) = SockRef::from(tcp).set_tcp_user_timeout(Some(timeout)) {
            tracing::debug!(%error, "the user timeout of a socket cannot be set");
        }
    }

    /// Nobody sends anything behind a request for a stream: what can be read is its end.
    fn expect_nothing(&self, worker: &Worker) {
        match self.socket.try_read(&mut worker.scratch()) {
            Ok(0) => self.end(End::Broken),
            Ok(_) => self.end(End::Close(
                CloseCode::ProtocolError,
                "nothing may follow the request for a stream",
            )),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.end(End::Broken),
        }
    }
}
