//! The last seconds of a connection: what still waits, the close frame, and the peer's own close.
//!
//! A socket that is closed while the peer's bytes lie unread resets the connection and may destroy the
//! close frame on its way; so after our last byte we read until the peer is done, for a limited time and so much.

use std::future::poll_fn;
use std::io::ErrorKind;

use bytes::Bytes;
use socket2::SockRef;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::event_stream;
use tailwater_protocol::frame::{self, Opcode};
use tokio::time::timeout_at;

use super::{End, Session};
use crate::worker::Worker;

/// So much is read of a peer that goes on sending: more than the two kernels hold between us. Who sends more has not
/// heard the close, and will not.
const LAST_BYTES: usize = 16 * 1024 * 1024;

/// How long an `EventSource` waits whose stream ends because its time to leave has come, in milliseconds. Those times are
/// spread already, so it may come at once; browsers wait no shorter than this.
const RETRY_MS: u32 = 500;

/// Ends the connection within `websocket.close_timeout`. A drain is patient: what waits for the client is written for as
/// long as the drain lasts, and only the peer's own close is then waited for that long.
pub(super) async fn close(session: &Session, worker: &Worker, end: End) {
    let frame = match end {
        End::Broken => return,
        End::Done => Bytes::new(),
        End::Echo(None) => frame::frame(Opcode::Close, &[]),
        End::Echo(Some(code)) => frame::frame(Opcode::Close, &code.to_be_bytes()),
        End::Close(code, reason) => session.encoding.close(code.code(), reason),
        End::Cut(code, reason) => {
            session.outbox.borrow_mut().clear();
            session.encoding.close(code.code(), reason)
        }
    };
    let leaves = matches!(end, End::Close(CloseCode::Drain, _));
    if leaves && session.encoding.is_events() && !worker.config().drain.window.is_zero() {
        let retry = event_stream::retry(RETRY_MS);
        session.outbox.borrow_mut().push_message(retry);
    }
    if !frame.is_empty() {
        session.outbox.borrow_mut().push_message(frame);
    }
    let timeout = worker.config().websocket.close_timeout;
    if leaves
        && let Some(schedule) = worker.drain().schedule()
        && timeout_at(schedule.cut_off, write_out(session)).await.is_err()
    {
        return;
    }
    let _ = tokio::time::timeout(timeout, finish(session, worker)).await;
}

/// Writes until nothing is left to write or the connection breaks.
async fn write_out(session: &Session) {
    loop {
        session.flush();
        if session.end.get() == Some(End::Broken) || !session.has_backlog() {
            return;
        }
        poll_fn(|context| session.socket.poll_write_ready(context)).await;
    }
}

async fn finish(session: &Session, worker: &Worker) {
    write_out(session).await;
    session.socket.announce_end();
    write_out(session).await;
    if session.end.get() == Some(End::Broken) {
        return;
    }
    let Some(tcp) = session.socket.tcp() else { return };
    if SockRef::from(tcp).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut read = 0;
    while read < LAST_BYTES && tcp.readable().await.is_ok() {
        match tcp.try_read(&mut worker.scratch()) {
            Ok(0) => return,
            Ok(count) => read += count,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
        // Who always has more to send takes turns with the others.
        tokio::task::yield_now().await;
    }
}
