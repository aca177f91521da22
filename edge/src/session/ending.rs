//! The last seconds of a connection: what still waits, the close frame, and the peer's own close.
//!
//! A socket that is closed while the peer's bytes lie unread resets the connection and may destroy the
//! close frame on its way; so after our last byte we read until the peer is done, for a limited time.

use std::io::ErrorKind;

use bytes::Bytes;
use socket2::SockRef;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::frame::{self, Opcode};

use super::{End, Session};
use crate::worker::Worker;

/// Ends the connection within `websocket.close_timeout`.
pub(super) async fn close(session: &Session, worker: &Worker, end: End) {
    let frame = match end {
        End::Broken => return,
        End::Echo(None) => frame::frame(Opcode::Close, &[]),
        End::Echo(Some(code)) => frame::frame(Opcode::Close, &code.to_be_bytes()),
        End::Close(code, reason) => close_frame(code, reason),
        End::Cut(code, reason) => {
            session.outbox.borrow_mut().clear();
            close_frame(code, reason)
        }
    };
    session.outbox.borrow_mut().push_message(frame);
    let timeout = worker.config().websocket.close_timeout;
    let _ = tokio::time::timeout(timeout, finish(session, worker)).await;
}

fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    frame::close_frame_raw(code.code(), reason)
}

async fn finish(session: &Session, worker: &Worker) {
    loop {
        session.flush();
        if session.end.get() == Some(End::Broken) {
            return;
        }
        if session.outbox.borrow().is_empty() {
            break;
        }
        if session.socket.writable().await.is_err() {
            return;
        }
    }
    if SockRef::from(&session.socket)
        .shutdown(std::net::Shutdown::Write)
        .is_err()
    {
        return;
    }
    while session.socket.readable().await.is_ok() {
        match session.socket.try_read(&mut worker.scratch()) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
