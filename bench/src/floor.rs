//! The floor: what fan-out costs if nothing is done but the kernel's part of it. One thread waits with epoll; a publication
//! is framed once, and one `write(2)` a subscriber sends those bytes. Nothing is collected, no two publications share a
//! write. What a socket does not take is kept for it, up to a bound.
//!
//! It is what servers are compared with, and no server: it speaks to the generator alone, has no limits against clients
//! that mean harm, and takes names and payloads as they come. A client says `sub CHANNEL` and reads `subscribed`, or says
//! `pub CHANNEL PAYLOAD`. Publications look as an edge writes them, so that the kernel copies as many bytes for both.

mod connection;
mod frames;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, read};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use slab::Slab;
use tailwater_protocol::Opcode;
use tailwater_protocol::frame::{frame, write_header};

use connection::{Connection, Seat};
use frames::{Found, Message};

/// The event data of the listener; connections have their place in the slab.
const LISTENER: u64 = u64::MAX;

/// Events that one wait takes.
const EVENTS: usize = 512;

/// Bytes that one read takes.
const READ: usize = 64 * 1024;

/// Connections that the kernel holds until they are accepted; it lowers this to `somaxconn`.
const ACCEPT_QUEUE: i32 = 4096;

/// A loop of one write a socket, for comparison
#[derive(Debug, clap::Args)]
pub(crate) struct Floor {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
}

impl Floor {
    /// Serves until the process is ended.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        crate::process::make_room_for(0)?;
        let listener = listener(self.listen).with_context(|| format!("cannot listen on {}", self.listen))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let server = Server {
            epoll,
            listener,
            connections: Slab::new(),
            channels: Vec::new(),
            names: HashMap::new(),
            frame: Vec::new(),
            failed: Vec::new(),
        };
        server.serve()
    }
}

/// A listener that does not block; `std` offers no say in the length of its queue.
fn listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, ACCEPT_QUEUE)?;
    Ok(socket.into())
}

/// Who hears of a channel, and what stands before every payload of it.
struct Channel {
    envelope: Vec<u8>,
    /// Places in the slab of connections, in no order.
    audience: Vec<usize>,
}

impl Channel {
    fn new(name: &[u8]) -> Self {
        let envelope = [br#"{"type":"update","channel":""#, name, br#"","payload":"#].concat();
        Self {
            envelope,
            audience: Vec::new(),
        }
    }

    /// Puts the frame of a publication into `frame`.
    fn write_frame(&self, payload: &[u8], frame: &mut Vec<u8>) {
        frame.clear();
        write_header(Opcode::Text, self.envelope.len() + payload.len() + 1, frame);
        frame.extend_from_slice(&self.envelope);
        frame.extend_from_slice(payload);
        frame.push(b'}');
    }
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Slab<Connection>,
    channels: Vec<Channel>,
    /// Places in `channels`, by name.
    names: HashMap<Vec<u8>, usize>,
    /// The frame of the publication at hand; kept for its memory.
    frame: Vec<u8>,
    /// Whom the publication at hand did not reach.
    failed: Vec<usize>,
}

impl Server {
    fn serve(mut self) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut scratch = vec![0; READ];
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    key => self.attend(usize::try_from(key)?, event.flags, &mut scratch),
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Whoever it was has gone already (accept(2)).
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept a connection"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            // Edge triggered, so that nothing has to be said to epoll when a backlog comes or goes.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &stream, data, flags)?;
            entry.insert(Connection::new(stream));
        }
    }

    /// Does what a connection is ready for. It may be gone by then, or be another one in the same place, which is then
    /// read and written for nothing.
    fn attend(&mut self, key: usize, flags: EventFlags, scratch: &mut [u8]) {
        if !self.connections.contains(key) {
            return;
        }
        if flags.contains(EventFlags::OUT) && !self.connections[key].flush() {
            return self.close(key);
        }
        let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        while self.connections.contains(key) {
            match read(&self.connections[key].stream, &mut *scratch) {
                Ok(0) => return self.close(key),
                Ok(length) => {
                    self.take(key, &scratch[..length]);
                    // What comes now brings an event of its own; the end has brought its event already.
                    if length < scratch.len() && !ending {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => return self.close(key),
            }
        }
    }

    /// Takes what a client has sent, and does everything that is whole.
    fn take(&mut self, key: usize, bytes: &[u8]) {
        let connection = &mut self.connections[key];
        let mut inbound = std::mem::take(&mut connection.inbound);
        inbound.extend_from_slice(bytes);
        let mut used = 0;
        if !connection.upgraded {
            match frames::handshake(&inbound) {
                Found::Whole(answer, length) => {
                    used = length;
                    connection.upgraded = true;
                    if !connection.deliver(answer.as_bytes()) {
                        return self.close(key);
                    }
                }
                Found::Part => {
                    connection.inbound = inbound;
                    return;
                }
                Found::Wrong => return self.close(key),
            }
        }
        loop {
            match frames::message(&mut inbound[used..]) {
                Found::Whole(message, length) => {
                    if !self.obey(key, message) {
                        return self.close(key);
                    }
                    used += length;
                }
                Found::Part => break,
                Found::Wrong => return self.close(key),
            }
        }
        // Nobody who waits for a publication holds a buffer.
        if used < inbound.len()
            && let Some(connection) = self.connections.get_mut(key)
        {
            inbound.drain(..used);
            connection.inbound = inbound;
        }
    }

    /// Does what a message says; false if the connection is to end.
    fn obey(&mut self, key: usize, message: Message<'_>) -> bool {
        match message {
            Message::Subscribe { channel } => self.subscribe(key, channel),
            Message::Publish { channel, payload } => {
                self.publish(channel, payload);
                true
            }
            Message::Ping(body) => self.connections[key].deliver(&frame(Opcode::Pong, body)),
            Message::Close => false,
        }
    }

    fn subscribe(&mut self, key: usize, name: &[u8]) -> bool {
        let connection = &mut self.connections[key];
        if connection.seat.is_some() {
            crate::report::say("floor: a second subscription on one connection");
            return false;
        }
        let channel = *self.names.entry(name.to_vec()).or_insert_with(|| {
            self.channels.push(Channel::new(name));
            self.channels.len() - 1
        });
        let audience = &mut self.channels[channel].audience;
        connection.seat = Some(Seat {
            channel,
            place: audience.len(),
        });
        audience.push(key);
        connection.deliver(&frame(Opcode::Text, b"subscribed"))
    }

    fn publish(&mut self, name: &[u8], payload: &[u8]) {
        let Some(&channel) = self.names.get(name) else {
            return;
        };
        let channel = &self.channels[channel];
        channel.write_frame(payload, &mut self.frame);
        for &key in &channel.audience {
            if !self.connections[key].deliver(&self.frame) {
                self.failed.push(key);
            }
        }
        while let Some(key) = self.failed.pop() {
            self.close(key);
        }
    }

    /// Forgets a connection and closes it, if it is still there.
    fn close(&mut self, key: usize) {
        let Some(connection) = self.connections.try_remove(key) else {
            return;
        };
        if let Some(Seat { channel, place }) = connection.seat {
            let audience = &mut self.channels[channel].audience;
            audience.swap_remove(place);
            if let Some(&moved) = audience.get(place)
                && let Some(seat) = &mut self.connections[moved].seat
            {
                seat.place = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tailwater_protocol::{Codec, PayloadRef, UpdateRef};

    use super::*;

    #[test]
    fn a_publication_is_as_many_bytes_as_an_edge_writes() {
        for payload in [r#"{"n":1}"#.to_owned(), format!("\"{}\"", "x".repeat(200))] {
            let mut body = Vec::new();
            let channel = "l.deployments".parse().expect("a channel");
            let payload = payload.as_bytes();
            Codec::Json.encode_update(
                &UpdateRef::new(&channel, PayloadRef::classify(payload)),
                &mut body,
            );
            let mut written = Vec::new();
            Channel::new(b"l.deployments").write_frame(payload, &mut written);
            assert_eq!(written, frame(Opcode::Text, &body));
        }
    }
}
