//! The hub with sessions on real sockets, and the outbox of one session: what the micro-benchmarks measure of this
//! crate.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use tailwater_broker::feed::{Delivery, Membership};
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::position::Epoch;
use tokio::runtime::Runtime;

use crate::config::SlowConsumer;
use crate::hub::{self, Hub, Seat};
use crate::limits::memory::{Capacity, Counted, Memory};
use crate::outbox::{Outbox, OutboxLimits};
use crate::session::Session;
use crate::socket::Socket;
use crate::telemetry::traces::Tracer;

/// The bounds of the outboxes of [`BenchAudience`].
const LIMITS: OutboxLimits = OutboxLimits {
    bytes: 1024 * 1024,
    frames: 1024,
};

/// How many slices a session lays out for one vectored write.
const SLICES: usize = 64;

/// The sessions of one worker in the audience of one interest, and their clients.
#[derive(Debug)]
pub struct BenchAudience {
    runtime: Runtime,
    hub: RefCell<Hub>,
    sessions: Vec<Rc<Session>>,
    clients: Vec<TcpStream>,
    memory: Rc<Memory>,
    tracer: Tracer,
}

impl BenchAudience {
    /// Seats so many sessions that get what the member gets; those of a durable interest are in step at offset 0.
    ///
    /// # Errors
    /// What the system refuses: sockets (two a session) or a runtime.
    pub fn seat(membership: &Membership, sessions: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let mut audience = Self {
            runtime,
            hub: RefCell::default(),
            sessions: Vec::new(),
            clients: Vec::new(),
            tracer: Tracer::default(),
            memory: Rc::new(Memory::new(Arc::new(Capacity::new(0)), Arc::default())),
        };
        for id in 0..sessions as u64 {
            let client = TcpStream::connect(listener.local_addr()?)?;
            client.set_nonblocking(true)?;
            audience.clients.push(client);
            let (socket, remote_addr) = listener.accept()?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let socket = audience.runtime.block_on(async {
                let socket = tokio::net::TcpStream::from_std(socket)?;
                socket.writable().await?;
                io::Result::Ok(socket)
            })?;
            let session = Rc::new(Session::new(
                id,
                membership.encoding(),
                remote_addr,
                None,
                Socket::Plain(socket),
                Rc::default(),
                Outbox::new(Counted::new(audience.memory.clone())),
            ));
            audience.join(membership, &session);
            audience.sessions.push(session);
        }
        Ok(audience)
    }

    fn join(&self, membership: &Membership, session: &Rc<Session>) -> Seat {
        let mut hub = self.hub.borrow_mut();
        if membership.interest().place().is_none() {
            return hub.add(membership, SlowConsumer::DropOldest, session);
        }
        let epoch = Epoch::new("1-0").expect("an epoch");
        hub.add_stored(membership, session, Some(0), (0, &epoch)).0
    }

    /// Passes `deliveries` on, as a worker does with what it has taken from its inbox.
    pub fn deliver(&mut self, deliveries: &mut Vec<Delivery>) {
        self.runtime.block_on(hub::deliver(
            &self.hub,
            deliveries,
            LIMITS,
            &self.memory,
            &self.tracer,
        ));
    }

    /// Lets every client read all that has come, and says how many bytes they were.
    ///
    /// # Errors
    /// Those of a socket.
    pub fn read_all(&mut self) -> io::Result<usize> {
        let mut piece = vec![0; 64 * 1024];
        let mut bytes = 0;
        for client in &mut self.clients {
            loop {
                match client.read(&mut piece) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(count) => bytes += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(bytes)
    }

    /// Gives the first session one more seat, and takes it away again.
    pub fn join_and_leave(&mut self, membership: &Membership) {
        let seat = self.join(membership, &self.sessions[0]);
        self.hub.borrow_mut().remove(seat, membership.encoding());
    }
}

/// The outbox of one session.
#[derive(Debug)]
pub struct BenchOutbox {
    outbox: Outbox,
    codec: Codec,
    limits: OutboxLimits,
}

impl BenchOutbox {
    /// An empty outbox for at most so many frames.
    pub fn new(codec: Codec, frames: usize) -> Self {
        Self {
            outbox: Outbox::default(),
            codec,
            limits: OutboxLimits { frames, ..LIMITS },
        }
    }

    /// Queues all of a batch but its first `written` bytes.
    ///
    /// # Panics
    /// If the queue is full and `policy` is to disconnect.
    pub fn push(&mut self, batch: &Batch, written: usize, channel: &Channel, policy: SlowConsumer) {
        let pushed = self
            .outbox
            .push_batch(batch, written, channel, policy, self.limits);
        pushed.expect("there is room");
    }

    /// Writes once, to a socket that has room for `room` bytes, and says whether more waits.
    pub fn write(&mut self, room: usize) -> bool {
        let mut slices = [io::IoSlice::new(&[]); SLICES];
        let used = self.outbox.fill(self.codec.into(), &mut slices);
        let laid_out: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        self.outbox.advance(laid_out.min(room));
        !self.outbox.is_empty()
    }
}
