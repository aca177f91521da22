use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use tailwater_broker::config::Credentials;
use tailwater_broker::error::BrokerError;

use crate::server::Server;
use crate::witness::{Client, DEADLINE, accepted, config, file};

async fn try_with(server: &Server, credentials: Credentials) -> Result<(), String> {
    let mut config = config(&[server.url()]);
    config.credentials = credentials;
    let outcome = accepted(&config).await;
    if let Err(reason) = &outcome {
        assert!(!reason.contains("secret"), "{reason}");
    }
    outcome
}

fn refused(outcome: Result<(), String>) {
    let reason = outcome.expect_err("refused");
    assert!(reason.contains("it said: Authorization Violation"), "{reason}");
    assert!(reason.starts_with("127.0.0.1:"), "{reason}");
}

fn user(user: &str, password: &str) -> Credentials {
    Credentials::UserPassword {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

#[tokio::test]
async fn a_user_with_the_right_password_is_let_in_and_no_other() {
    let server = Server::start("authorization { user: edge, password: \"secret\\\"1\" }").await;
    assert_eq!(try_with(&server, user("edge", "secret\"1")).await, Ok(()));
    refused(try_with(&server, user("edge", "secret2")).await);
    refused(try_with(&server, Credentials::Anonymous).await);
    refused(try_with(&server, Credentials::Token("secret".to_owned())).await);
}

#[tokio::test]
async fn the_right_token_is_let_in_and_no_other() {
    let server = Server::start("authorization { token: secret1 }").await;
    assert_eq!(
        try_with(&server, Credentials::Token("secret1".to_owned())).await,
        Ok(())
    );
    refused(try_with(&server, Credentials::Token("secret2".to_owned())).await);
}

#[tokio::test]
async fn the_right_nkey_is_let_in_and_no_other() {
    let pair = KeyPair::new_user();
    let other = KeyPair::new_user();
    let server = Server::start(&format!(
        "authorization {{ users: [{{ nkey: {} }}] }}",
        pair.public_key()
    ))
    .await;
    let seed = |pair: &KeyPair| Credentials::NkeySeed(pair.seed().expect("fresh"));
    assert_eq!(try_with(&server, seed(&pair)).await, Ok(()));
    refused(try_with(&server, seed(&other)).await);
    let open = Server::start("").await;
    let reason = try_with(&open, seed(&pair)).await.expect_err("nothing to sign");
    assert!(reason.contains("it gave nothing to sign"), "{reason}");
}

/// A JWT as NATS signs them.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &str) -> String {
    let issuer_key = issuer.public_key();
    let subject_key = subject.public_key();
    let claims = format!(
        "{{\"jti\":\"x\",\"iat\":1700000000,\"iss\":\"{issuer_key}\",\"name\":\"n\",\"sub\":\"{subject_key}\",\"nats\":{claims}}}"
    );
    let head = URL_SAFE_NO_PAD.encode("{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}");
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = issuer.sign(signed.as_bytes()).expect("it holds a seed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_credentials_file_is_let_in_if_its_account_vouches_for_it() {
    let (operator, account, stranger, user) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let operator_jwt = jwt(&operator, &operator, "{\"type\":\"operator\",\"version\":2}");
    let limits = "\"limits\":{\"subs\":-1,\"data\":-1,\"payload\":-1,\"imports\":-1,\"exports\":-1,\"wildcards\":true,\"conn\":-1,\"leaf\":-1}";
    let account_claims = format!("{{{limits},\"type\":\"account\",\"version\":2}}");
    let system = KeyPair::new_account();
    let preload = [&account, &system].map(|each| {
        format!(
            "{}: \"{}\"",
            each.public_key(),
            jwt(&operator, each, &account_claims)
        )
    });
    let server = Server::start(&format!(
        "operator: \"{operator_jwt}\"\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{\n{}\n}}\n",
        system.public_key(),
        preload.join("\n")
    ))
    .await;
    let creds = |name: &str, issuer: &KeyPair, seed: String| {
        let token = jwt(
            issuer,
            &user,
            "{\"subs\":-1,\"data\":-1,\"payload\":-1,\"type\":\"user\",\"version\":2}",
        );
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        Credentials::File(file(server.folder.path(), name, &text))
    };
    let seed = || user.seed().expect("fresh");
    assert_eq!(try_with(&server, creds("good", &account, seed())).await, Ok(()));
    refused(try_with(&server, creds("forged", &stranger, seed())).await);
    let other_seed = KeyPair::new_user().seed().expect("fresh");
    refused(try_with(&server, creds("stolen", &account, other_seed)).await);
}

#[tokio::test]
async fn a_file_that_can_never_work_is_told_before_the_first_connection() {
    let mut config = config(&["nats://127.0.0.1:1".to_owned()]);
    config.credentials = Credentials::File("/nowhere/edge.creds".into());
    assert!(matches!(
        Client::open(&config),
        Err(BrokerError::Credentials { .. })
    ));
    config.credentials = Credentials::NkeySeed("SUAsecret".to_owned());
    assert!(matches!(Client::open(&config), Err(BrokerError::Setup(_))));
}

#[tokio::test]
async fn who_is_refused_goes_on_trying_and_is_let_in_when_the_server_changes_its_mind() {
    let server = Server::start("authorization { user: edge, password: old }").await;
    let mut config = config(&[server.url()]);
    config.credentials = user("edge", "new");
    let client = Client::open(&config).expect("a good configuration");
    client.failure().await;
    assert!(!client.wire.is_connected());
    assert!(
        client
            .wire
            .failure()
            .is_some_and(|reason| reason.contains("Authorization Violation"))
    );
    server.reload("authorization { user: edge, password: new }");
    client.wire.wait_until_connected(DEADLINE).await.expect("let in");
    assert_eq!(client.wire.failure(), None);
}
