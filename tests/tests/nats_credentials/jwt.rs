//! An operator with one account, as `nsc` would make it: JWTs signed with nkeys (NATS architecture,
//! ADR-14).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator and its account.
pub(crate) struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

impl Operator {
    /// With new keys.
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
        }
    }

    /// A server that trusts this operator and knows its account.
    pub(crate) fn server_config(&self) -> String {
        let account = self.account.public_key();
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1,
        });
        let operator_jwt = sign(
            &self.operator,
            &self.operator.public_key(),
            &json!({"type": "operator", "version": 2}),
        );
        let account_jwt = sign(
            &self.operator,
            &account,
            &json!({"type": "account", "version": 2, "limits": unlimited}),
        );
        format!(
            "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {account}: {account_jwt} }}"
        )
    }

    /// A new user: its seed, and the text of its credentials file.
    pub(crate) fn user(&self) -> (String, String) {
        let user = KeyPair::new_user();
        let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let jwt = sign(&self.account, &user.public_key(), &claims);
        let seed = user.seed().expect("a new key has its seed");
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        (seed, file)
    }
}

fn sign(issuer: &KeyPair, subject: &str, nats: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": subject, "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject,
        "name": "test", "nats": nats,
    });
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("it holds the private key");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
