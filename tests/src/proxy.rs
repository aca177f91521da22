//! A link between an edge and NATS that a test can cut, and that can swallow a message.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A proxy before a nats-server; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    swallows: Arc<Swallows>,
    task: JoinHandle<()>,
}

/// The subjects of which the next message does not arrive.
type Swallows = Mutex<Vec<String>>;

impl Proxy {
    /// Starts one before the server at this address.
    ///
    /// # Panics
    /// If there is no port to be had.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (cut, is_cut) = watch::channel(false);
        let swallows = Arc::new(Swallows::default());
        let task = tokio::spawn(serve(listener, server, is_cut, swallows.clone()));
        Self {
            address,
            cut,
            swallows,
            task,
        }
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Breaks every connection, and lets nobody through until [`Proxy::mend`].
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }

    /// The next message that the server sends on this subject does not arrive.
    pub fn swallow(&self, subject: &str) {
        lock(&self.swallows).push(subject.to_owned());
    }

    /// Whether everything that was to be swallowed was.
    pub fn has_swallowed(&self) -> bool {
        lock(&self.swallows).is_empty()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(swallows: &Swallows) -> std::sync::MutexGuard<'_, Vec<String>> {
    swallows.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    cut: watch::Receiver<bool>,
    swallows: Arc<Swallows>,
) {
    let mut links = JoinSet::new();
    while let Ok((edge, _)) = listener.accept().await {
        let (mut cut, swallows) = (cut.clone(), swallows.clone());
        links.spawn(async move {
            tokio::select! {
                _ = cut.wait_for(|cut| *cut) => {}
                () = link(edge, server, &swallows) => {}
            }
        });
    }
}

async fn link(edge: TcpStream, server: SocketAddr, swallows: &Swallows) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_edge, to_edge) = edge.into_split();
    let (from_server, mut to_server) = server.into_split();
    // Whichever side ends first ends both.
    tokio::select! {
        _ = tokio::io::copy(&mut from_edge, &mut to_server) => {}
        () = pass_on(from_server, to_edge, swallows) => {}
    }
}

/// Passes the server's lines and messages on, each whole.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: &Swallows) {
    let mut bytes = Vec::new();
    while let Ok(1..) = from.read_buf(&mut bytes).await {
        let mut passed = Vec::new();
        let mut at = 0;
        while let Some(length) = unit(&bytes[at..]) {
            let unit = &bytes[at..at + length];
            at += length;
            if !is_swallowed(unit, swallows) {
                passed.extend_from_slice(unit);
            }
        }
        bytes.drain(..at);
        if to.write_all(&passed).await.is_err() {
            return;
        }
    }
}

/// How long the first line is, with the message that follows it; nothing if it is not all there.
fn unit(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|window| window == b"\r\n")? + 2;
    let text = String::from_utf8_lossy(&bytes[..line]);
    let is_message = text.starts_with("MSG ") || text.starts_with("HMSG ");
    let length = match text.split_whitespace().next_back() {
        Some(length) if is_message => line + length.parse::<usize>().ok()? + 2,
        _ => line,
    };
    (bytes.len() >= length).then_some(length)
}

fn is_swallowed(unit: &[u8], swallows: &Swallows) -> bool {
    let mut swallows = lock(swallows);
    if swallows.is_empty() || !(unit.starts_with(b"HMSG ") || unit.starts_with(b"MSG ")) {
        return false;
    }
    let line = String::from_utf8_lossy(&unit[..unit.len().min(512)]).into_owned();
    let subject = line.split_whitespace().nth(1).unwrap_or_default();
    let found = swallows.iter().position(|swallowed| swallowed == subject);
    found.map(|index| swallows.swap_remove(index)).is_some()
}
