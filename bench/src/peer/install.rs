//! Where peers come from: each by its package, at the version that stands here or in `bench/peers/package-lock.json`, into
//! `peers/` of the cache directory, beside nats-server.
//!
//! Whatever is installed is made in a folder of its own and then renamed, so that nobody sees half of it; two that install
//! the same at once do it twice, and one of them stays.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use sha2::{Digest as _, Sha256};
use tailwater_broker::embedded;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Peer, last_lines};
use crate::report::say;

const SOCKUDO: &str = "5.2.0";

/// Its servers for one node without what needs other services, and its newer protocol, without which it does not build.
const SOCKUDO_FEATURES: &str = "local,v2";

const CENTRIFUGO: &str = "v6.9.1";

/// A package manager that fetches what is built already.
const DOWNLOAD: Duration = Duration::from_secs(600);

/// A compiler that builds some hundred packages on few cores.
const BUILD: Duration = Duration::from_secs(3600);

/// A program that is asked for its version.
const ANSWER: Duration = Duration::from_secs(10);

const PACKAGE_LOCK: &str = include_str!("../../peers/package-lock.json");

/// The npm project that has the packages of all peers that run on JavaScript.
const NPM: &Project = &[
    ("package.json", include_str!("../../peers/package.json")),
    ("package-lock.json", PACKAGE_LOCK),
];

const CENTRIFUGE_MODULE: &str = include_str!("../../peers/centrifuge/go.mod");

/// The server on Centrifugo's library.
const CENTRIFUGE: &Project = &[
    ("go.mod", CENTRIFUGE_MODULE),
    ("go.sum", include_str!("../../peers/centrifuge/go.sum")),
    ("main.go", include_str!("../../peers/centrifuge/main.go")),
];

/// Files that a package manager works on, by name.
type Project = [(&'static str, &'static str)];

/// What is run.
#[derive(Debug)]
pub(super) enum Program {
    /// A program by itself.
    Binary(PathBuf),
    /// A script by a program, with the packages of this folder.
    Script(Script),
}

/// What runs a script.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) runtime: PathBuf,
    pub(super) modules: PathBuf,
}

/// The version of a peer and what to run, installed if it was not there.
pub(super) async fn install(peer: Peer) -> anyhow::Result<(String, Program)> {
    match peer {
        Peer::Floor => {
            let program = Program::Binary(std::env::current_exe()?);
            Ok((env!("CARGO_PKG_VERSION").to_owned(), program))
        }
        Peer::NatsServer => nats_server().await,
        Peer::WsNode => on_node("ws").await,
        Peer::Uws => on_node("uwebsockets").await,
        Peer::Bun => bun().await,
        Peer::Sockudo => sockudo().await,
        Peer::Centrifugo => centrifugo().await,
        Peer::Centrifuge => centrifuge().await,
    }
}

async fn nats_server() -> anyhow::Result<(String, Program)> {
    let cache = embedded::default_cache_dir()?;
    let found = spawn_blocking(move || embedded::locate(&cache, &|line| say(line))).await??;
    Ok((found.version.to_string(), Program::Binary(found.path)))
}

async fn on_node(package: &str) -> anyhow::Result<(String, Program)> {
    let modules = npm_modules().await?;
    let node = answer(Command::new("node").arg("--version"), "Node.js 20 or newer").await?;
    let version = format!(
        "{} on node {}",
        locked_version(package)?,
        node.trim_start_matches('v')
    );
    let runtime = PathBuf::from("node");
    Ok((version, Program::Script(Script { runtime, modules })))
}

async fn bun() -> anyhow::Result<(String, Program)> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        other => other,
    };
    let package = format!("@oven/bun-linux-{architecture}");
    let version = locked_version(&package)?;
    let modules = npm_modules().await?;
    let runtime = modules.join(&package).join("bin/bun");
    anyhow::ensure!(runtime.is_file(), "npm has not installed {package}");
    Ok((version, Program::Script(Script { runtime, modules })))
}

/// The version of an npm package in the lock file.
fn locked_version(package: &str) -> anyhow::Result<String> {
    let lock: serde_json::Value = serde_json::from_str(PACKAGE_LOCK)?;
    let version = lock["packages"][format!("node_modules/{package}")]["version"].as_str();
    Ok(version
        .with_context(|| format!("no npm package {package}"))?
        .to_owned())
}

async fn npm_modules() -> anyhow::Result<PathBuf> {
    let folder = install_project("npm", NPM, async |folder, log| {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        run(npm, log, DOWNLOAD, "npm, which comes with Node.js").await
    });
    Ok(folder.await?.join("node_modules"))
}

async fn sockudo() -> anyhow::Result<(String, Program)> {
    let folder = install_once(&format!("sockudo-{SOCKUDO}"), async |folder, log| {
        let protoc = "protoc with its well-known types: the packages protobuf-compiler and libprotobuf-dev";
        answer(Command::new("protoc").arg("--version"), protoc).await?;
        let mut cargo = Command::new("cargo");
        cargo
            .args(["install", "sockudo", "--locked", "--no-default-features"])
            .args(["--version", SOCKUDO, "--features", SOCKUDO_FEATURES])
            .arg("--root")
            .arg(folder)
            // Not into the workspace that this may have been started from.
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(folder);
        run(cargo, log, BUILD, "cargo").await
    })
    .await?;
    let program = Program::Binary(folder.join("bin/sockudo"));
    Ok((SOCKUDO.to_owned(), program))
}

async fn centrifugo() -> anyhow::Result<(String, Program)> {
    let folder = install_once(&format!("centrifugo-{CENTRIFUGO}"), async |folder, log| {
        let mut go = Command::new("go");
        go.arg("install")
            .arg(format!("github.com/centrifugal/centrifugo/v6@{CENTRIFUGO}"))
            .env("GOBIN", folder)
            .current_dir(folder);
        run(go, log, BUILD, "Go").await
    })
    .await?;
    let program = Program::Binary(folder.join("centrifugo"));
    Ok((CENTRIFUGO.trim_start_matches('v').to_owned(), program))
}

async fn centrifuge() -> anyhow::Result<(String, Program)> {
    let mut lines = CENTRIFUGE_MODULE.lines();
    let version = lines.find_map(|line| line.strip_prefix("require github.com/centrifugal/centrifuge v"));
    let version = version.context("go.mod names no version")?.to_owned();
    let folder = install_project("centrifuge", CENTRIFUGE, async |folder, log| {
        let mut go = Command::new("go");
        go.args(["build", "-o", "server", "."]).current_dir(folder);
        run(go, log, BUILD, "Go").await
    });
    Ok((version, Program::Binary(folder.await?.join("server"))))
}

/// The folder of a project that `make` has worked on, named after what its files say.
async fn install_project(
    name: &str,
    files: &Project,
    make: impl AsyncFnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let mut digest = Sha256::new();
    for (_, text) in files {
        digest.update(text);
    }
    let digest: String = digest.finalize()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    install_once(&format!("{name}-{digest}"), async |folder, log| {
        for (file, text) in files {
            fs::write(folder.join(file), text)?;
        }
        make(folder, log).await
    })
    .await
}

/// The folder `peers/NAME` of the cache directory. If it is not there, `make` fills it; a log of that is beside it.
async fn install_once(
    name: &str,
    make: impl AsyncFnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let peers = embedded::default_cache_dir()?.join("peers");
    let target = peers.join(name);
    if target.is_dir() {
        return Ok(target);
    }
    fs::create_dir_all(&peers).with_context(|| format!("cannot make {}", peers.display()))?;
    let log = peers.join(format!("{name}.log"));
    say(format_args!(
        "installing {name}, which may take minutes; its log: {}",
        log.display()
    ));
    let folder = tempfile::Builder::new()
        .prefix("installing-")
        .tempdir_in(&peers)?;
    make(folder.path(), &log).await?;
    match fs::rename(folder.path(), &target) {
        Ok(()) => drop(folder.keep()),
        // Somebody else was first.
        Err(_) if target.is_dir() => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", target.display())),
    }
    say(format_args!("{name} is installed"));
    Ok(target)
}

/// Runs a program that installs.
async fn run(mut command: Command, log: &Path, limit: Duration, what: &str) -> anyhow::Result<()> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("this needs {what}"))?;
    let status = timeout(limit, child.wait())
        .await
        .with_context(|| format!("it takes longer than {limit:?}: see {}", log.display()))??;
    if !status.success() {
        let lines = last_lines(log);
        say(format_args!(
            "{what} failed; all of its log: {}\n{lines}",
            log.display()
        ));
        // Reports quote it: the line that says why, without places of this machine.
        anyhow::bail!(
            "{what} failed: {}",
            lines.lines().last().unwrap_or_default().trim()
        );
    }
    Ok(())
}

/// The first line that a program prints.
async fn answer(command: &mut Command, what: &str) -> anyhow::Result<String> {
    let output = timeout(ANSWER, command.stdin(Stdio::null()).kill_on_drop(true).output()).await?;
    let output = output.with_context(|| format!("this needs {what}"))?;
    anyhow::ensure!(output.status.success(), "this needs {what}");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
