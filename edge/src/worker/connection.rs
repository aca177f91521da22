//! One connection from its first byte to its last: PROXY header, limits, TLS, HTTP, and the session if there is to be one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tailwater_protocol::command::Subscribe;
use tailwater_protocol::encoding::Encoding;
use tokio::net::TcpStream;

use super::{Worker, leaving};
use crate::connections::Admission;
use crate::hooks::KeptHeaders;
use crate::http::{self, Caller, Transport};
use crate::limits::memory::Counted;
use crate::limits::refusal::Refusal;
use crate::limits::{Place, proxy_protocol};
use crate::metrics::meters::Handshake;
use crate::outbox::Outbox;
use crate::session::{self, First, Session, event_stream, identify};
use crate::socket::{Socket, Stream};
use crate::transport;

/// How long a client may take to be told that it is not let in: a TLS handshake and a request.
const FAREWELL: Duration = Duration::from_secs(2);

/// One connection from its first byte to its last.
pub(super) async fn serve(worker: Rc<Worker>, socket: TcpStream, peer: SocketAddr, admission: Admission) {
    // All before the session is large and short: in a box that is gone before the session begins.
    if let Some(begun) = Box::pin(begin(&worker, socket, peer)).await {
        let session = begun.entered.session.clone();
        match begun.task {
            Task::WebSocket(first) => session::run(session, worker.clone(), first).await,
            Task::Events(subscribes) => event_stream::run(session, worker.clone(), subscribes).await,
        }
        drop((begun.entered, begun.place));
    }
    drop(admission);
}

/// A session that has been told how it begins.
struct Begun {
    entered: Entered,
    /// The client's among those of its address.
    place: Place,
    task: Task,
}

/// What a session goes on with.
enum Task {
    WebSocket(Option<Box<First>>),
    Events(Vec<Subscribe>),
}

/// From the first byte to the session, if there is to be one.
async fn begin(worker: &Rc<Worker>, socket: TcpStream, peer: SocketAddr) -> Option<Begun> {
    let http::Taken {
        socket,
        remote_addr,
        place,
        answer,
        read_ahead,
        agreed,
    } = http_phase(worker, socket, peer).await?;
    let encoding = match &agreed.transport {
        Transport::WebSocket(encoding) => *encoding,
        Transport::Events(request) => request.encoding(),
    };
    let Caller {
        token,
        headers,
        trace,
        ..
    } = agreed.caller;
    let entered = Entered::new(worker, encoding, remote_addr, headers, socket);
    let session = &entered.session;
    let task = match agreed.transport {
        Transport::WebSocket(_) => {
            let channels = identify::begin(session, worker, answer, (token, trace)).await;
            Task::WebSocket(First::of(channels, read_ahead))
        }
        Transport::Events(request) => {
            let subscribes = transport::event_stream::begin(session, worker, *request, (token, trace)).await;
            Task::Events(subscribes)
        }
    };
    leaving::greet(worker, session, entered.key);
    Some(Begun { entered, place, task })
}

/// From the first byte to where the connection belongs to a session, if it comes to that.
async fn http_phase(worker: &Rc<Worker>, mut socket: TcpStream, peer: SocketAddr) -> Option<http::Taken> {
    let (limits, timeout) = (worker.limits(), worker.config().websocket.header_timeout);
    let peer = if limits.proxies().announces(peer) {
        match in_time(timeout, proxy_protocol::read(&mut socket)).await {
            Ok(client) => client.unwrap_or(peer),
            Err(error) => {
                limits.note_misspoken(peer, &error);
                return None;
            }
        }
    } else {
        peer
    };
    // Whose place it is that comes through a proxy, its requests say.
    let place = if limits.proxies().trust(peer) {
        Place::default()
    } else {
        match limits.admit(peer.ip()) {
            Ok(place) => place,
            Err(refusal) => {
                let farewell = farewell(worker, &socket, refusal)?;
                turn_away(worker, socket, None, refusal).await;
                drop(farewell);
                return None;
            }
        }
    };
    match in_time(timeout, secure(worker, socket)).await {
        Ok(stream) => http::serve(worker, stream, peer, place).await,
        Err(error) => {
            tracing::debug!(remote_addr = %peer, %error, "the TLS handshake fails");
            // Who connects and says nothing, such as a balancer that looks whether the port is open, asked for nothing.
            if error.kind() == io::ErrorKind::InvalidData {
                worker.meters().handshakes.of(Handshake::TlsFailed).add(1);
            }
            None
        }
    }
}

/// The TLS handshake, if this listener speaks TLS.
async fn secure(worker: &Worker, socket: TcpStream) -> io::Result<Stream> {
    let Some(tls) = &worker.tls else {
        return Ok(Stream::new(Socket::Plain(socket), Vec::new()));
    };
    let (socket, early) = tls.accept(socket).await?;
    Ok(Stream::new(Socket::Tls(Box::new(socket)), early))
}

/// Leave to listen to a client and to tell it why it is not let in. Without it, it is told at once if that takes no TLS
/// handshake: a client that is still sending then may see nothing but a broken connection.
pub(super) fn farewell(worker: &Worker, socket: &TcpStream, refusal: Refusal) -> Option<Admission> {
    let farewell = worker.limits().farewell(worker.tls.is_some());
    if farewell.is_none() && worker.tls.is_none() {
        let _ = socket.try_write(&refusal.bytes());
    }
    farewell
}

/// Tells a client why it is not let in. `announcing` is a peer whose PROXY header has not been read, if it sends one.
pub(super) async fn turn_away(
    worker: &Worker,
    mut socket: TcpStream,
    announcing: Option<SocketAddr>,
    refusal: Refusal,
) {
    let told = async {
        if announcing.is_some_and(|peer| worker.limits().proxies().announces(peer)) {
            proxy_protocol::read(&mut socket).await?;
        }
        http::refuse(secure(worker, socket).await?, refusal).await
    };
    if let Err(error) = in_time(FAREWELL, Box::pin(told)).await {
        tracing::debug!(%error, "a client that is not let in could not be told why");
    }
}

async fn in_time<T>(timeout: Duration, result: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, result)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A session among those of its worker; dropping it takes the session out, whatever happened.
pub(crate) struct Entered {
    worker: Rc<Worker>,
    pub(crate) session: Rc<Session>,
    key: usize,
}

impl Entered {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        encoding: Encoding,
        remote_addr: SocketAddr,
        headers: Option<Box<KeptHeaders>>,
        socket: Socket,
    ) -> Self {
        let id = fastrand::u64(..);
        let anonymous = worker.anonymous().clone();
        let outbox = Outbox::new(Counted::new(worker.memory().clone()));
        let session = Rc::new(Session::new(
            id,
            encoding,
            remote_addr,
            headers,
            socket,
            anonymous,
            outbox,
        ));
        let key = worker.sessions.borrow_mut().insert(session.clone());
        worker.meters().connections.of(session.transport()).add(1);
        worker.drain().enter();
        tracing::debug!(session_id = %format_args!("{id:016x}"), %remote_addr, ?encoding, "session begins");
        Self {
            worker: worker.clone(),
            session,
            key,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        session::leave(&self.session, &self.worker);
        let meters = self.worker.meters();
        meters.connections.of(self.session.transport()).take(1);
        self.worker.drain().leave();
        let mut sessions = self.worker.sessions.borrow_mut();
        sessions.remove(self.key);
        if sessions.is_empty() {
            self.worker.empty.notify_one();
        }
    }
}
