//! `tailwater token` and what `check` says of issuers, as an operator meets them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tailwater_edge::config::Config;
use tailwater_edge::identity::{TokenError, accepts};
use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{Finished, config_file, failed_with, run};
use tempfile::{NamedTempFile, TempDir, tempdir};

const SECRET: &str = "an-example-of-forty-eight-or-more-bytes-for-tests";

fn configuration(issuers: &str) -> NamedTempFile {
    config_file(&format!("{OPEN}\n{issuers}"))
}

/// `tailwater token` with this configuration and these arguments.
async fn token(config: &NamedTempFile, arguments: &[&str]) -> Finished {
    let path = config.path().to_str().expect("text");
    run([&["token", "--config", path], arguments].concat()).await
}

/// The token alone was printed.
fn printed(finished: &Finished) -> &str {
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
    let token = finished.stdout.strip_suffix('\n').expect("a line");
    assert_eq!(token.split('.').count(), 3, "{token}");
    token
}

async fn accepted(config: &Path, token: &str) -> Result<(), TokenError> {
    let config = Config::load(Some(config), [], &[]).expect("a configuration");
    accepts(&config.identity, token).await
}

#[tokio::test]
async fn a_token_by_the_secret_of_the_configuration_is_accepted_by_its_edge() {
    let issuer = "[identity.issuer.main]\nissuer = \"app\"\naudience = \"live\"\n";
    let config = configuration(&format!("{issuer}hmac_secret = \"{SECRET}\"\n"));
    let arguments = [
        "--sub",
        "ann",
        "--expires",
        "15m",
        "--subscribe",
        "users.{sub}.>",
        "--subscribe",
        "news.>",
        "--publish",
        "chat.{tenant}",
        "--request",
        "api.*",
        "--channel",
        "users.{sub}.inbox",
        "--claim",
        "tenant=acme",
        "--claim",
        "level=3",
    ];
    let finished = token(&config, &arguments).await;
    assert_eq!(accepted(config.path(), printed(&finished)).await, Ok(()));
    let other = configuration(&format!("{issuer}hmac_secret = \"another {SECRET}\"\n"));
    assert_eq!(
        accepted(other.path(), printed(&finished)).await,
        Err(TokenError::Signature)
    );
}

#[tokio::test]
async fn without_a_configuration_it_is_the_secret_of_this_machine_that_signs() {
    let folder: TempDir = tempdir().expect("a folder");
    let state = folder.path().join("state");
    let state_dir = state.to_str().expect("text");
    let secret = state.join("token-secret");
    let first = run(["token", "--state-dir", state_dir, "--sub", "ann"]).await;
    let kept = std::fs::read_to_string(&secret).expect("a secret");
    let mode = std::fs::metadata(&secret).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = run(["token", "--state-dir", state_dir, "--sub", "bob"]).await;
    assert_eq!(std::fs::read_to_string(&secret).expect("a secret"), kept);
    let config = configuration(&format!("[identity.issuer.dev]\nhmac_secret_file = {secret:?}\n"));
    for finished in [&first, &second] {
        assert_eq!(accepted(config.path(), printed(finished)).await, Ok(()));
        assert!(!finished.stdout.contains(kept.trim()));
    }
}

#[tokio::test]
async fn a_private_key_signs_for_an_issuer_whose_public_key_the_edge_has() {
    let (key, stranger) = (rcgen::KeyPair::generate(), rcgen::KeyPair::generate());
    let (key, stranger) = (key.expect("a key"), stranger.expect("a key"));
    let [public, private, other] = [
        key.public_key_pem(),
        key.serialize_pem(),
        stranger.serialize_pem(),
    ]
    .map(|pem| config_file(&pem));
    let config = configuration(&format!(
        "[identity.issuer.main]\npublic_key_file = {:?}\n",
        public.path()
    ));
    let path = |file: &NamedTempFile| file.path().to_str().expect("text").to_owned();
    let finished = token(&config, &["--key-file", &path(&private)]).await;
    assert_eq!(accepted(config.path(), printed(&finished)).await, Ok(()));

    let finished = token(&config, &["--key-file", &path(&other)]).await;
    assert_eq!(finished.code, Some(0));
    assert_eq!(
        finished.stderr,
        "tailwater: an edge with this configuration would refuse it: the signature of the token is not right\n"
    );
    failed_with(
        &token(&config, &[]).await,
        1,
        &[
            "issuer `main` signs with a private key, which the edge does not have: ",
            "there is `--key-file`",
        ],
    );
    failed_with(
        &token(&config, &["--key-file", &path(&public)]).await,
        1,
        &["holds no PRIVATE KEY in PEM, or one with a passphrase"],
    );
}

#[tokio::test]
async fn one_of_several_issuers_must_be_chosen() {
    let table = |name: &str| {
        format!("[identity.issuer.{name}]\nissuer = \"{name}\"\nhmac_secret = \"{name} {SECRET}\"\n")
    };
    let config = configuration(&format!("{}{}", table("one"), table("two")));
    let chosen = token(&config, &["--issuer", "two"]).await;
    assert_eq!(accepted(config.path(), printed(&chosen)).await, Ok(()));
    failed_with(
        &token(&config, &[]).await,
        1,
        &["there are several issuers: choose one with `--issuer` (one, two)"],
    );
    failed_with(
        &token(&config, &["--issuer", "three"]).await,
        1,
        &["there is no issuer `three`: there is one, two"],
    );
}

#[tokio::test]
async fn claims_that_a_patterns_placeholder_needs_are_missed_at_once() {
    let config = configuration(&format!("[identity.issuer.main]\nhmac_secret = \"{SECRET}\"\n"));
    let finished = token(&config, &["--subscribe", "users.{sub}.>"]).await;
    assert_eq!(finished.code, Some(0));
    assert!(
        finished
            .stderr
            .contains("would refuse it: pattern 1 of `tailwater.subscribe` names a claim that is missing"),
        "{finished:?}"
    );
    let finished = token(&config, &["--claim", "tenant"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

#[tokio::test]
async fn check_tells_of_keys_that_cannot_be_had() {
    let config = configuration(
        "[nats]\nurl = \"nats://127.0.0.1:1\"\n[identity.issuer.main]\njwks_url = \"http://127.0.0.1:1/keys\"\n",
    );
    let finished = run(["check", "--config", config.path().to_str().expect("text")]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .stdout
            .contains("error  issuer main: http://127.0.0.1:1/keys cannot be fetched: "),
        "{finished:?}"
    );
}
