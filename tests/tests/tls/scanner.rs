//! What a scanner looks for, asked by another implementation that still speaks what we must not: OpenSSL's `s_client`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tailwater_tests::authority::Files;
use tailwater_tests::{Authority, Edge, soon};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What is good enough in TLS 1.2, without the kind of key.
const SUITES: [&str; 3] = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];

const REQUEST: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";

/// Everything that the library has, also what it would not offer by itself.
fn weakest(suites: &str) -> String {
    format!("{suites}:@SECLEVEL=0")
}

async fn openssl(arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A handshake that fails ends it before.
    let _ = stdin.write_all(input).await;
    let output = soon("the end of openssl", child.wait_with_output())
        .await
        .expect("it is ours");
    drop(stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Makes a request with these arguments; says all that `s_client` says.
async fn request(address: SocketAddr, arguments: &[&str]) -> String {
    let address = address.to_string();
    let common = ["s_client", "-connect", &address, "-ign_eof"];
    openssl(&[&common[..], arguments].concat(), REQUEST).await
}

#[track_caller]
fn is_answered(said: &str, parts: &[&str]) {
    for part in [&["HTTP/1.1 404 "], parts].concat() {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

#[track_caller]
fn is_refused(said: &str, alert: &str) {
    assert!(!said.contains("HTTP/1.1 "), "{said}");
    // The edge says so, not the library here.
    assert!(
        said.contains(&format!("alert {alert}:")),
        "{alert:?} is missing: {said}"
    );
}

/// A certificate by itself with a key of RSA, which our authority does not make.
async fn rsa_files(folder: &Path) -> Files {
    let files = (folder.join("rsa.pem"), folder.join("rsa.key"));
    let (certificate, key) = (&files.0.to_string_lossy(), &files.1.to_string_lossy());
    let arguments = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -out";
    let arguments: Vec<_> = arguments.split(' ').collect();
    openssl(&[&arguments[..], &[certificate, "-keyout", key]].concat(), b"").await;
    files
}

/// An edge with a certificate of each kind of key, and what the names of the suites begin with that fit it.
async fn both_kinds(folder: &Path) -> Vec<(Edge, &'static str)> {
    let (certificate, key) = rsa_files(folder).await;
    let rsa = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    vec![
        (
            Edge::start_alone(&Authority::new().edge_table()).await,
            "ECDHE-ECDSA",
        ),
        (Edge::start_alone(&rsa).await, "ECDHE-RSA"),
    ]
}

#[tokio::test]
async fn versions_before_1_2_are_refused() {
    let edge = Edge::start_alone(&Authority::new().edge_table()).await;
    for version in ["-tls1", "-tls1_1"] {
        let arguments = [version, "-cipher", &weakest("ALL")];
        let said = request(edge.server().public_addr(), &arguments).await;
        // They lack what a newer hello must have, which is noticed first.
        is_refused(&said, "handshake failure");
    }
    edge.stop().await;
}

#[tokio::test]
async fn of_tls_1_2_only_forward_secret_suites_with_authenticated_encryption_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    for (edge, kind) in both_kinds(folder.path()).await {
        let address = edge.server().public_addr();
        let good: Vec<_> = SUITES.iter().map(|suite| format!("{kind}-{suite}")).collect();
        for suite in &good {
            let said = request(address, &["-tls1_2", "-cipher", suite]).await;
            let cipher = format!("Cipher    : {suite}\n");
            is_answered(&said, &[&cipher, "Extended master secret: yes"]);
        }
        // Key exchange without forward secrecy, CBC, no certificate at all, and what nobody uses.
        let others = weakest(&format!("ALL:COMPLEMENTOFALL:!{}", good.join(":!")));
        let said = request(address, &["-tls1_2", "-cipher", &others]).await;
        is_refused(&said, "handshake failure");
        let hashes = [
            "-tls1_2",
            "-cipher",
            &weakest("ALL"),
            "-sigalgs",
            "ECDSA+SHA1:RSA+SHA1",
        ];
        is_refused(&request(address, &hashes).await, "handshake failure");
        edge.stop().await;
    }
}

#[tokio::test]
async fn tls_1_3_has_its_three_suites_and_no_early_data() {
    let folder = tempfile::tempdir().unwrap();
    for (edge, _) in both_kinds(folder.path()).await {
        let address = edge.server().public_addr();
        for suite in [
            "AES_128_GCM_SHA256",
            "AES_256_GCM_SHA384",
            "CHACHA20_POLY1305_SHA256",
        ] {
            let suite = format!("TLS_{suite}");
            let said = request(address, &["-tls1_3", "-ciphersuites", &suite]).await;
            let agreed = format!("New, TLSv1.3, Cipher is {suite}\n");
            is_answered(&said, &[&agreed, "Max Early Data: 0\n"]);
        }
        let short = [
            "-tls1_3",
            "-ciphersuites",
            "TLS_AES_128_CCM_8_SHA256:TLS_AES_128_CCM_SHA256",
        ];
        is_refused(&request(address, &short).await, "handshake failure");
        edge.stop().await;
    }
}

#[tokio::test]
async fn keys_are_agreed_on_over_x25519_p_256_or_p_384_alone() {
    let edge = Edge::start_alone(&Authority::new().edge_table()).await;
    let address = edge.server().public_addr();
    for group in ["X25519", "P-256", "P-384"] {
        is_answered(&request(address, &["-tls1_3", "-groups", group]).await, &[]);
    }
    for other in [
        ["-tls1_2", "P-521"],
        ["-tls1_3", "P-521"],
        ["-tls1_3", "ffdhe2048"],
    ] {
        let said = request(address, &[other[0], "-groups", other[1]]).await;
        is_refused(&said, "handshake failure");
    }
    edge.stop().await;
}

#[tokio::test]
async fn http_1_1_is_chosen_where_it_is_offered_and_who_wants_something_else_alone_is_refused() {
    let edge = Edge::start_alone(&Authority::new().edge_table()).await;
    let address = edge.server().public_addr();
    for version in ["-tls1_2", "-tls1_3"] {
        for offer in ["http/1.1", "h2,http/1.1"] {
            let said = request(address, &[version, "-alpn", offer]).await;
            is_answered(&said, &["ALPN protocol: http/1.1\n"]);
        }
        is_answered(&request(address, &[version]).await, &["No ALPN negotiated"]);
        let said = request(address, &[version, "-alpn", "h2"]).await;
        is_refused(&said, "no application protocol");
    }
    edge.stop().await;
}

#[tokio::test]
async fn nothing_is_compressed_and_a_name_or_an_ocsp_answer_is_not_needed() {
    let edge = Edge::start_alone(&Authority::new().edge_table()).await;
    let address = edge.server().public_addr();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = request(address, &[version, "-comp", "-legacy_server_connect"]).await;
        is_answered(&said, &["Compression: NONE\n", "Secure Renegotiation IS"]);
        is_answered(&request(address, &[version, "-noservername"]).await, &[]);
        let said = request(address, &[version, "-servername", "other.example"]).await;
        is_answered(&said, &[]);
        let said = request(address, &[version, "-status"]).await;
        is_answered(&said, &["OCSP response: no response sent"]);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_client_cannot_renegotiate() {
    let edge = Edge::start_alone(&Authority::new().edge_table()).await;
    let address = edge.server().public_addr().to_string();
    let arguments = ["s_client", "-connect", &address, "-tls1_2"];
    // A line that begins so is a command.
    let said = openssl(&arguments, b"R\n").await;
    assert!(said.contains("RENEGOTIATING\n"), "{said}");
    // Its name for the alert `no_renegotiation` (RFC 5246 section 7.2.2).
    assert!(said.contains(":no renegotiation:"), "{said}");
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_of_a_client_that_has_expired_is_called_that() {
    let authority = Authority::new();
    let table = authority.edge_table();
    let more = format!(
        "client_auth = \"required\"\nclient_ca = {:?}\n",
        authority.certificate()
    );
    let edge = Edge::start_alone(&format!("{table}{more}")).await;
    let address = edge.server().public_addr();
    for version in ["-tls1_2", "-tls1_3"] {
        for (days, alert) in [(-5..5, None), (-5..-1, Some("certificate expired"))] {
            let (certificate, key) = authority.client_files_for(days);
            let files = [certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
            let said = request(address, &[&[version, "-cert"], &files[..]].concat()).await;
            match alert {
                None => is_answered(&said, &["Acceptable client certificate CA names"]),
                Some(alert) => is_refused(&said, alert),
            }
        }
    }
    edge.stop().await;
}
