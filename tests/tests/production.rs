//! The configuration for production that is shipped: an edge that follows it starts, and `check` has nothing to say.

use std::fs;
use std::path::Path;

use serde_json::json;
use tailwater_tests::authority::ALWAYS;
use tailwater_tests::process::run;
use tailwater_tests::{Authority, Cluster};

/// What the example says of its NATS, and what the test puts there.
const NATS: &str = r#"url = ["tls://nats-0.internal:4222", "tls://nats-1.internal:4222"]
user = "tailwater"
password_file = "secrets/nats-password"

[nats.tls]
ca_file = "secrets/nats-ca.pem"
"#;

#[tokio::test]
async fn the_configuration_for_production_passes_check() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/tailwater.toml");
    let example = fs::read_to_string(example).expect("it is there");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).expect("a folder");
    let authority = Authority::new();
    let (certificate, key) = authority.edge_files(ALWAYS);
    fs::copy(&certificate, secrets.join("tls.crt")).expect("a certificate");
    fs::copy(&key, secrets.join("tls.key")).expect("a key");
    fs::copy(&certificate, secrets.join("issuer.pem")).expect("a public key");
    fs::write(secrets.join("nats-password"), "s3cret-s3cret").expect("a file");
    fs::copy(authority.certificate(), secrets.join("nats-ca.pem")).expect("a file");

    // As it is, without NATS.
    let config = folder.path().join("tailwater.toml");
    fs::write(&config, &example).expect("a file");
    let path = config.to_str().expect("text");
    let offline = run(["check", "--offline", "--config", path]).await;
    assert_eq!(offline.code, Some(0), "{offline:?}");

    // With a cluster that is open, since the names of the example are nobody's.
    let cluster = Cluster::start().await;
    let urls: Vec<String> = cluster
        .addresses()
        .iter()
        .map(|address| format!("nats://{address}"))
        .collect();
    assert!(example.contains(NATS), "the example names its NATS");
    fs::write(
        &config,
        example.replace(NATS, &format!("url = {}\n", json!(urls))),
    )
    .expect("a file");
    let checked = run(["check", "--config", path]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
}
