//! What is not signed rightly is refused, whatever it claims.

use jsonwebtoken::Algorithm;
use ring::hmac;

use super::*;

/// A token put together by hand, with an HMAC by these bytes.
fn by_hand(header: &Value, claims: &Map<String, Value>, key: &[u8]) -> String {
    let claims = Value::Object(claims.clone());
    let message = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
    format!("{message}.{}", base64url(tag.as_ref()))
}

/// Every form in which somebody could take a public key for a secret.
fn forms(pem: &str) -> Vec<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(&body)
        .expect("base64");
    let point = der[der.len().saturating_sub(65)..].to_vec();
    let raw = der[der.len().saturating_sub(32)..].to_vec();
    vec![
        pem.into(),
        pem.trim_end().into(),
        body.into_bytes(),
        der,
        point,
        raw,
    ]
}

#[tokio::test]
async fn a_public_key_never_serves_as_a_secret() {
    for pair in [&p256(), &ed25519(), rsa()] {
        let pem = pair.file();
        let set = file(&json!({"keys": [pair.named("one")]}).to_string());
        let sources = [
            KeySource::PublicKey(pem.path().to_owned()),
            KeySource::JwksFile(set.path().to_owned()),
        ];
        for keys in sources {
            let config = config(vec![issuer("one", keys)]);
            let (verifier, _owner) = Verifier::start(&config);
            for key in forms(&pair.public_pem) {
                for alg in ["HS256", "HS384", "HS512"] {
                    let token = by_hand(&json!({"alg": alg, "kid": "one"}), &ann(json!({})), &key);
                    refused(verifier.verify(&token).await, &TokenError::Algorithm);
                }
            }
        }
    }
}

#[tokio::test]
async fn no_signature_is_no_token() {
    let (keys, _) = secret();
    let config = config(vec![issuer("one", keys)]);
    let (verifier, _owner) = Verifier::start(&config);
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS1", "ES512", "hs256", "RSA1_5", "dir",
    ] {
        let signed = by_hand(&json!({"alg": alg}), &ann(json!({})), b"");
        let (message, _) = signed.rsplit_once('.').expect("three parts");
        for token in [signed.clone(), format!("{message}.")] {
            refused(verifier.verify(&token).await, &TokenError::Algorithm);
        }
    }
}

#[tokio::test]
async fn the_algorithm_must_be_of_the_key() {
    let (p256, p384, ed) = (p256(), p384(), ed25519());
    for (pair, wrong) in [
        (&p256, ["ES384", "RS256", "EdDSA", "PS256"]),
        (&p384, ["ES256", "RS384", "EdDSA", "PS384"]),
        (&ed, ["ES256", "RS256", "ES384", "PS512"]),
        (rsa(), ["ES256", "EdDSA", "ES384", "HS256"]),
    ] {
        let pem = pair.file();
        let config = config(vec![issuer("one", KeySource::PublicKey(pem.path().to_owned()))]);
        let (verifier, _owner) = Verifier::start(&config);
        let token = pair.signer().sign(&ann(json!({})), None).expect("a token");
        let (_, rest) = token.split_once('.').expect("three parts");
        for alg in wrong {
            let header = base64url(json!({"alg": alg}).to_string().as_bytes());
            refused(
                verifier.verify(&format!("{header}.{rest}")).await,
                &TokenError::Algorithm,
            );
        }
    }
}

#[tokio::test]
async fn only_the_configured_algorithms_are_accepted() {
    let pem = rsa().file();
    let mut only = issuer("one", KeySource::PublicKey(pem.path().to_owned()));
    only.algorithms = vec![Algorithm::PS256];
    let config = config(vec![only]);
    let sign = |algorithm| {
        rsa()
            .signer()
            .with_algorithm(algorithm)
            .sign(&ann(json!({})), None)
            .expect("a token")
    };
    assert!(verify(&config, &sign(Algorithm::PS256)).await.is_ok());
    refused(
        verify(&config, &sign(Algorithm::RS256)).await,
        &TokenError::Algorithm,
    );
    refused(
        verify(&config, &sign(Algorithm::PS384)).await,
        &TokenError::Algorithm,
    );
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_counts_for_nothing() {
    let (trusted, mine) = (p256(), p256());
    let pem = trusted.file();
    let config = config(vec![issuer("one", KeySource::PublicKey(pem.path().to_owned()))]);
    let token = mine.signer().sign(&ann(json!({})), None).expect("a token");
    refused(verify(&config, &token).await, &TokenError::Signature);
    let (_, rest) = token.split_once('.').expect("three parts");
    let header =
        json!({"alg": "ES256", "jwk": mine.jwk, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"});
    let header = base64url(header.to_string().as_bytes());
    refused(
        verify(&config, &format!("{header}.{rest}")).await,
        &TokenError::Signature,
    );
    let header = base64url(
        json!({"alg": "ES256", "crit": ["b64"], "b64": false})
            .to_string()
            .as_bytes(),
    );
    refused(
        verify(&config, &format!("{header}.{rest}")).await,
        &TokenError::Critical,
    );
}

#[tokio::test]
async fn whatever_is_changed_in_a_token_it_is_refused() {
    let (keys, signer) = secret();
    let config = config(vec![issuer("one", keys)]);
    let (verifier, _owner) = Verifier::start(&config);
    let token = signer.sign(&ann(json!({})), None).expect("a token");
    assert!(verifier.verify(&token).await.is_ok());
    for (at, letter) in token.char_indices() {
        let other = if letter == 'A' { 'Q' } else { 'A' };
        let mut changed = token.clone();
        changed.replace_range(at..=at, &other.to_string());
        let without = format!("{}{}", &token[..at], &token[at + 1..]);
        let with = format!("{}.{}", &token[..at], &token[at..]);
        for text in [&changed, &without, &with, &token[..at]] {
            assert!(verifier.verify(text).await.is_err(), "{at}");
        }
    }
    let padded = [
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}.{token}"),
    ];
    for text in padded {
        assert!(verifier.verify(&text).await.is_err());
    }
}

#[tokio::test]
async fn garbage_is_refused_with_one_sentence_and_nothing_panics() {
    let (keys, _) = secret();
    let mut identity = config(vec![issuer("one", keys)]);
    identity.max_token_bytes = 300;
    let (verifier, _owner) = Verifier::start(&identity);
    let json = |text: &str| base64url(text.as_bytes());
    let hs256 = json("{\"alg\":\"HS256\"}");
    let garbage = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b.c".to_owned(),
        "é.é.é".to_owned(),
        "\u{0}".to_owned(),
        "Bearer a.b.c".to_owned(),
        format!("{hs256}.{}", json("{}")),
        format!("{hs256}.{}.", json("{")),
        format!("{hs256}.{}.x.y.z", json("{}")),
        format!("{}.{}.x", json("[]"), json("{}")),
        format!("{}.{}.x", json("{\"alg\":1}"), json("{}")),
        format!(
            "{}.{}.x",
            json("{\"alg\":\"HS256\",\"alg\":\"none\"}"),
            json("{}")
        ),
        format!("{}.{}.x", json("{\"alg\":\"HS256\",\"kid\":7}"), json("{}")),
        format!("{}.{}.x", json("\u{feff}{\"alg\":\"HS256\"}"), json("{}")),
    ];
    for text in garbage {
        refused(verifier.verify(&text).await, &TokenError::Malformed);
    }
    refused(
        verifier.verify(&"a".repeat(301)).await,
        &TokenError::TooLong { limit: 300 },
    );
    for json_that_is_no_object in ["null", "[]", "7", "\"a\""] {
        let token = format!("{hs256}.{}.{}", json(json_that_is_no_object), json("x"));
        assert!(verifier.verify(&token).await.is_err(), "{json_that_is_no_object}");
    }
    // Deep JSON must not overflow the stack.
    let (keys, _) = secret();
    let (verifier, _owner) = Verifier::start(&config(vec![issuer("one", keys)]));
    for deep in ["[".repeat(5000), "{\"a\":".repeat(1000)] {
        assert!(
            verifier
                .verify(&format!("{}.{}.x", json(&deep), json("{}")))
                .await
                .is_err()
        );
        assert!(
            verifier
                .verify(&format!("{hs256}.{}.x", json(&deep)))
                .await
                .is_err()
        );
    }
}
