//! What is fetched and from whom: each mistake of an issuer's server is told apart. Against a real server.

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::key_server::{Answer, KeyServer, from, set};
use super::*;
use crate::client::Trust;
use crate::config::KeyUrl;
use crate::identity::source::{inspect, load};

const SOON: Duration = Duration::from_secs(5);

/// What loading from this answer fails with, without the address.
async fn failure(answer: impl Into<Answer>) -> String {
    let server = KeyServer::start(answer).await;
    let error = load(&from(&server), SOON).await.expect_err("it fails");
    error.to_string().replace(&server.url(""), "")
}

#[tokio::test]
async fn answers_that_are_no_keys_are_told_apart() {
    let status = |line: &str| Answer::Raw(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(
        failure(status("404 Not Found")).await,
        "/keys cannot be fetched: the answer is 404 Not Found"
    );
    assert_eq!(
        failure(status("302 Found\r\nlocation: http://127.0.0.1:1/")).await,
        "/keys cannot be fetched: the answer is 302 Found, a redirect, which is not followed: configure the address it leads to"
    );
    let large = format!("{{\"keys\":[],\"more\":\"{}\"}}", "a".repeat(1 << 20));
    assert_eq!(
        failure(Answer::Body(large.into_bytes())).await,
        "/keys cannot be fetched: the answer has more than 1048576 bytes"
    );
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(2 << 20));
    assert_eq!(
        failure(Answer::Raw(endless)).await,
        "/keys cannot be fetched: the answer has more than 1048576 bytes"
    );
    for wrong in ["", "<html></html>", "[]", "{}", "{\"keys\":{}}", "\u{0}"] {
        assert_eq!(
            failure(Answer::Body(wrong.into())).await,
            "what is at /keys is no JSON Web Key Set: an object with a list `keys` is expected"
        );
    }
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
        "SSH-2.0-x\r\n",
        "",
    ] {
        let error = failure(Answer::Raw(broken.to_owned())).await;
        assert!(error.starts_with("/keys cannot be fetched: "), "{error}");
    }
    let server = KeyServer::start(Answer::Silence).await;
    let error = load(&from(&server), Duration::from_millis(50))
        .await
        .expect_err("it is silent");
    assert_eq!(error.to_string(), "no keys came within 50ms");
}

#[tokio::test]
async fn a_discovery_document_says_where_the_keys_are_and_must_be_of_the_issuer() {
    let pair = p256();
    let server = KeyServer::start(set(&[("key", &pair)])).await;
    let url = server.url("/tenant");
    let source = KeySource::OpenId {
        issuer: KeyUrl::parse(&url).expect("an address"),
        trust: Trust::System,
    };
    let mut from = issuer("one", source);
    from.issuer = Some(url.clone());
    let path = "/tenant/.well-known/openid-configuration";
    server.set_at(path, json!({"issuer": url, "jwks_uri": server.url("/keys")}));
    let claims = ann(json!({"iss": url}));
    let token = pair.signer().sign(&claims, Some("key")).expect("a token");
    assert!(verify(&config(vec![from.clone()]), &token).await.is_ok());
    assert_eq!(server.requests(), 2);

    for (document, expected) in [
        (
            json!({"issuer": format!("{url}/"), "jwks_uri": server.url("/keys")}),
            "is another one",
        ),
        (json!({"issuer": url}), "no discovery document"),
        (
            json!({"issuer": url, "jwks_uri": "http://keys.example/"}),
            "without TLS",
        ),
        (
            json!({"issuer": url, "jwks_uri": "file:///etc/passwd"}),
            "the `jwks_uri` in",
        ),
    ] {
        server.set_at(path, document);
        let error = load(&from, SOON).await.expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn keys_come_over_tls_only_from_whom_a_trusted_authority_vouches_for() {
    let pair = p256();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let server = KeyServer::start_tls(set(&[("key", &pair)]), tls).await;
    let authority = file(&certified.cert.pem());
    let mut trusting = from(&server);
    let url = KeyUrl::parse(&server.url("/keys")).expect("an address");
    let trust = Trust::File(authority.path().to_owned());
    trusting.keys = KeySource::JwksUrl { url, trust };
    assert!(load(&trusting, SOON).await.is_ok());

    let error = load(&from(&server), SOON)
        .await
        .expect_err("nobody vouches for it");
    assert!(
        error
            .to_string()
            .contains("cannot be fetched: invalid peer certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn check_tells_of_every_issuer_what_keys_it_has() {
    let pair = p256();
    let mut keys = set(&[("key", &pair)]);
    keys["keys"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "x"}));
    let server = KeyServer::start(keys).await;
    let nowhere = KeySource::JwksUrl {
        url: KeyUrl::parse("http://127.0.0.1:1/keys").expect("an address"),
        trust: Trust::System,
    };
    let found = inspect(&config(vec![
        from(&server),
        issuer("away", nowhere),
        issuer("here", secret().0),
    ]))
    .await;
    assert_eq!(found[0].keys, Ok((1, 1)));
    let error = found[1].keys.as_ref().expect_err("nobody is there");
    assert!(
        error.starts_with("http://127.0.0.1:1/keys cannot be fetched: "),
        "{error}"
    );
    assert_eq!((&*found[2].issuer, &found[2].keys), ("here", &Ok((1, 0))));
}
