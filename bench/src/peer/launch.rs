//! How peers are run: as their users would run them, on the loopback, with no limit that a comparison would run into and
//! nothing that costs without serving it (TLS, compression, logs, metrics).

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

use super::install::{Program, Script};
use super::{Peer, dialects, free_address};
use crate::dialect::{Dialect, PusherApp};

const WS_NODE: &str = include_str!("../../peers/ws-node.js");
const UWS: &str = include_str!("../../peers/uws.js");
const BUN: &str = include_str!("../../peers/bun.js");

/// What a server is started with, and spoken to by.
pub(super) struct Launch {
    pub(super) command: Command,
    pub(super) dialect: Dialect,
}

/// The application that the server of the Pusher protocol knows.
const APP: PusherApp = PusherApp {
    key: "bench-key",
    secret: "bench-secret",
};

/// Its name in paths.
const APP_ID: &str = "bench";

/// Who may publish on Centrifugo.
const API_KEY: &str = "bench-key";

/// How a peer is run so that clients find it at `address`; files that it needs are written into `folder`.
pub(super) fn launch(
    peer: Peer,
    program: &Program,
    address: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Launch> {
    match (peer, program) {
        (Peer::Floor, Program::Binary(binary)) => {
            let mut command = Command::new(binary);
            command.arg("floor").arg("--listen").arg(address.to_string());
            let dialect = dialects::floor();
            Ok(Launch { command, dialect })
        }
        (Peer::NatsServer, Program::Binary(binary)) => nats_server(binary, address, folder),
        (Peer::WsNode, Program::Script(script)) => scripted(script, WS_NODE, address, folder),
        (Peer::Uws, Program::Script(script)) => scripted(script, UWS, address, folder),
        (Peer::Bun, Program::Script(script)) => scripted(script, BUN, address, folder),
        (Peer::Sockudo, Program::Binary(binary)) => Ok(sockudo(binary, address)),
        (Peer::Centrifugo, Program::Binary(binary)) => centrifugo(binary, address, folder),
        (Peer::Centrifuge, Program::Binary(binary)) => {
            let mut command = Command::new(binary);
            command.arg(address.to_string());
            let dialect = dialects::centrifugo(API_KEY);
            Ok(Launch { command, dialect })
        }
        (peer, program) => anyhow::bail!("{} is not run by {program:?}", peer.name()),
    }
}

/// Its defaults, but for pings, which a client that reads slowly would have to answer.
fn nats_server(binary: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Launch> {
    let nats = free_address()?;
    let config = format!(
        "listen: \"{nats}\"\nping_interval: \"1h\"\nmax_connections: 1000000\n\
         websocket {{ listen: \"{address}\", no_tls: true, compression: false }}\n"
    );
    let path = write(folder, "nats-server.conf", &config)?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(path);
    let dialect = dialects::nats_server(nats);
    Ok(Launch { command, dialect })
}

/// A server of a few lines, as the documentation of its library begins. It is told its port as its first argument.
fn scripted(script: &Script, text: &str, address: SocketAddr, folder: &Path) -> anyhow::Result<Launch> {
    let path = write(folder, "server.js", text)?;
    let mut command = Command::new(&script.runtime);
    command
        .arg(path)
        .arg(address.port().to_string())
        .env("NODE_PATH", &script.modules)
        .env("NODE_ENV", "production")
        .env_remove("NODE_OPTIONS");
    let dialect = dialects::script();
    Ok(Launch { command, dialect })
}

/// One application in memory, and no limits of rate. It takes its settings from the environment.
fn sockudo(binary: &Path, address: SocketAddr) -> Launch {
    let port = address.port().to_string();
    let settings = [
        ("HOST", "127.0.0.1"),
        ("PORT", &port),
        ("ADAPTER_DRIVER", "local"),
        ("APP_MANAGER_DRIVER", "memory"),
        ("CACHE_DRIVER", "memory"),
        ("QUEUE_DRIVER", "memory"),
        ("RATE_LIMITER_ENABLED", "false"),
        ("METRICS_ENABLED", "false"),
        ("DEBUG_MODE", "false"),
        ("LOG_COLORS_ENABLED", "false"),
        ("RUST_LOG", "error"),
        ("SOCKUDO_DEFAULT_APP_ENABLED", "true"),
        ("SOCKUDO_DEFAULT_APP_ID", APP_ID),
        ("SOCKUDO_DEFAULT_APP_KEY", APP.key),
        ("SOCKUDO_DEFAULT_APP_SECRET", APP.secret),
        ("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "1000000"),
        ("SOCKUDO_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SECOND", "10000000"),
    ];
    let mut command = Command::new(binary);
    command.envs(settings);
    let dialect = dialects::sockudo(APP_ID, APP);
    Launch { command, dialect }
}

/// Its memory engine; anybody may connect and subscribe, as on an anonymous namespace of an edge.
fn centrifugo(binary: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Launch> {
    let config = serde_json::json!({
        "http_server": { "address": "127.0.0.1", "port": address.port().to_string() },
        "client": { "allow_anonymous_connect_without_token": true },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": true,
                "allow_subscribe_for_anonymous": true,
            },
        },
        "http_api": { "key": API_KEY },
        "log": { "level": "error" },
    });
    let path = write(folder, "centrifugo.json", &config.to_string())?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(path);
    let dialect = dialects::centrifugo(API_KEY);
    Ok(Launch { command, dialect })
}

fn write(folder: &Path, name: impl AsRef<OsStr>, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name.as_ref());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
