//! One connection of the floor: its socket, and what could not be sent or read whole yet.

use std::net::TcpStream;

use rustix::io::{Errno, write};

/// The most that is kept for a socket that does not take it, in bytes; then it is closed.
const BACKLOG: usize = 1024 * 1024;

/// One connection. A subscriber that keeps up holds no buffer.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The handshake is done.
    pub(super) upgraded: bool,
    /// The beginning of a message whose end has not come.
    pub(super) inbound: Vec<u8>,
    pub(super) seat: Option<Seat>,
    backlog: Vec<u8>,
    /// How much of the backlog has been sent.
    sent: usize,
}

/// Where a subscriber is found in the audience of its channel.
pub(super) struct Seat {
    pub(super) channel: usize,
    pub(super) place: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            upgraded: false,
            inbound: Vec::new(),
            seat: None,
            backlog: Vec::new(),
            sent: 0,
        }
    }

    /// Sends a whole frame with one system call, and keeps what the socket does not take; false if the connection has
    /// failed, or more would have to be kept than may be.
    pub(super) fn deliver(&mut self, frame: &[u8]) -> bool {
        if !self.backlog.is_empty() {
            return self.keep(frame);
        }
        match write(&self.stream, frame) {
            Ok(length) if length == frame.len() => true,
            Ok(length) => self.keep(&frame[length..]),
            Err(Errno::AGAIN) => self.keep(frame),
            Err(_) => false,
        }
    }

    /// Sends what was kept, as far as the socket takes it; false if the connection has failed.
    pub(super) fn flush(&mut self) -> bool {
        while self.sent < self.backlog.len() {
            match write(&self.stream, &self.backlog[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        // Its memory too.
        self.backlog = Vec::new();
        self.sent = 0;
        true
    }

    #[cold]
    fn keep(&mut self, bytes: &[u8]) -> bool {
        if self.backlog.len() - self.sent + bytes.len() > BACKLOG {
            crate::report::say(format_args!(
                "floor: a subscriber was closed: {BACKLOG} bytes waited for it"
            ));
            return false;
        }
        // At most as often as half of it has been sent, so each byte moves once on average.
        if self.sent > self.backlog.len() / 2 {
            self.backlog.drain(..self.sent);
            self.sent = 0;
        }
        self.backlog.extend_from_slice(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (Connection::new(server), client)
    }

    /// Frames of which each begins with its number, until one of them is kept; gives how many there were.
    fn fill(connection: &mut Connection, frame: &mut [u8]) -> u32 {
        for number in 0_u32.. {
            frame[..4].copy_from_slice(&number.to_be_bytes());
            assert!(connection.deliver(frame));
            if !connection.backlog.is_empty() {
                return number + 1;
            }
        }
        unreachable!("no socket takes everything");
    }

    #[test]
    fn what_a_socket_does_not_take_follows_later_in_order_and_frees_its_memory() {
        let (mut connection, mut client) = pair();
        let mut frame = vec![0; 50_000];
        let mut sent = fill(&mut connection, &mut frame);
        for _ in 0..10 {
            frame[..4].copy_from_slice(&sent.to_be_bytes());
            assert!(connection.deliver(&frame));
            sent += 1;
        }
        let reader = std::thread::spawn(move || {
            let mut frame = vec![0; 50_000];
            (0..sent)
                .all(|number| client.read_exact(&mut frame).is_ok() && frame[..4] == number.to_be_bytes())
        });
        while !connection.backlog.is_empty() {
            assert!(connection.flush());
            std::thread::yield_now();
        }
        assert!(reader.join().unwrap());
        assert_eq!((connection.backlog.capacity(), connection.sent), (0, 0));
    }

    #[test]
    fn a_socket_for_which_too_much_waits_is_given_up() {
        let (mut connection, _client) = pair();
        let mut frame = vec![0; 50_000];
        fill(&mut connection, &mut frame);
        let more = (0..BACKLOG / frame.len() + 1)
            .filter(|_| connection.deliver(&frame))
            .count();
        assert!(
            (BACKLOG / frame.len() - 1..=BACKLOG / frame.len()).contains(&more),
            "{more}"
        );
        assert!(connection.backlog.len() <= BACKLOG);
    }
}
