//! Several issuers, and none.

use super::*;

fn named(name: &str, iss: &str, keys: KeySource) -> IssuerConfig {
    let mut issuer = issuer(name, keys);
    issuer.issuer = Some(iss.to_owned());
    issuer
}

#[tokio::test]
async fn without_an_issuer_every_token_is_refused_and_told_why() {
    let (_, signer) = secret();
    let token = signer.sign(&ann(json!({})), None).expect("a token");
    refused(
        verify(&config(Vec::new()), &token).await,
        &TokenError::NotConfigured,
    );
    refused(
        verify(&config(Vec::new()), "garbage").await,
        &TokenError::NotConfigured,
    );
}

#[tokio::test]
async fn each_issuer_speaks_for_itself_alone() {
    let ((keys, signer), pair) = (secret(), p256());
    let pem = pair.file();
    let public = KeySource::PublicKey(pem.path().to_owned());
    let config = config(vec![
        named("one", "https://one.example", keys),
        named("two", "https://two.example", public),
    ]);
    let (verifier, _owner) = Verifier::start(&config);
    let sign = |signer: &Signer, iss: Value| {
        let mut claims = ann(json!({"iss": iss}));
        claims.retain(|_, value| !value.is_null());
        signer.sign(&claims, None).expect("a token")
    };
    let (one, two) = (json!("https://one.example"), json!("https://two.example"));
    assert!(verifier.verify(&sign(&signer, one.clone())).await.is_ok());
    assert!(verifier.verify(&sign(&pair.signer(), two.clone())).await.is_ok());
    refused(verifier.verify(&sign(&signer, two)).await, &TokenError::Algorithm);
    refused(
        verifier.verify(&sign(&pair.signer(), one)).await,
        &TokenError::Algorithm,
    );
    for iss in [
        json!(null),
        json!("https://one.example/"),
        json!("three"),
        json!(7),
        json!(["https://one.example"]),
    ] {
        refused(verifier.verify(&sign(&signer, iss)).await, &TokenError::Issuer);
    }
}

#[tokio::test]
async fn two_secrets_of_one_issuer_both_count_while_one_replaces_the_other() {
    let ((old, old_signer), (new, new_signer)) = (secret(), secret());
    let config = config(vec![named("old", "app", old), named("new", "app", new)]);
    let (verifier, _owner) = Verifier::start(&config);
    let claims = ann(json!({"iss": "app"}));
    for signer in [&old_signer, &new_signer] {
        assert!(
            verifier
                .verify(&signer.sign(&claims, None).expect("a token"))
                .await
                .is_ok()
        );
    }
    let expired = ann(json!({"iss": "app", "exp": 1}));
    for signer in [&old_signer, &new_signer] {
        refused(
            verifier
                .verify(&signer.sign(&expired, None).expect("a token"))
                .await,
            &TokenError::Expired,
        );
    }
    let (_, stranger) = secret();
    refused(
        verifier
            .verify(&stranger.sign(&claims, None).expect("a token"))
            .await,
        &TokenError::Signature,
    );
}

#[tokio::test]
async fn the_one_issuer_may_be_nameless_and_a_named_one_must_be_named() {
    let (keys, signer) = secret();
    let token = signer
        .sign(&ann(json!({"iss": "whoever"})), None)
        .expect("a token");
    assert!(
        verify(&config(vec![issuer("one", keys.clone())]), &token)
            .await
            .is_ok()
    );
    refused(
        verify(&config(vec![named("one", "app", keys)]), &token).await,
        &TokenError::Issuer,
    );
}
