//! Which files and documents are keys, and what is said of those that are not.

use super::*;
use crate::identity::jwks;
use crate::identity::keys::Key;

#[test]
fn a_secret_must_be_long_and_must_not_be_a_key() {
    for (length, algorithms) in [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3)] {
        let key = Key::from_secret(&"a".repeat(length)).expect("a secret");
        assert_eq!(key.algorithms().len(), algorithms, "{length}");
        assert!(!format!("{key:?}").contains("aaaa"));
    }
    for length in [0, 1, 31] {
        let error = Key::from_secret(&"a".repeat(length)).expect_err("too short");
        assert!(
            error.starts_with(&format!("has {length} bytes, which can be guessed: ")),
            "{error}"
        );
    }
    for pair in [&p256(), rsa()] {
        for pem in [&pair.public_pem, &pair.private_pem] {
            let error = Key::from_secret(pem).expect_err("no secret");
            assert_eq!(
                error,
                "holds a key in PEM, which is no secret: set `public_key_file` instead"
            );
        }
    }
}

#[test]
fn a_file_that_is_no_public_key_is_refused_with_what_it_is() {
    let pkcs1 = openssl("rsa -pubin -RSAPublicKey_out", &rsa().public_pem);
    let small = rsa_of(1024).public_pem;
    let pss = openssl(
        "pkey -pubout",
        &openssl(
            "genpkey -quiet -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "",
        ),
    );
    let p521 = openssl(
        "pkey -pubout",
        &openssl(
            "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
            "",
        ),
    );
    let koblitz = openssl(
        "pkey -pubout",
        &openssl(
            "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "",
        ),
    );
    let x25519 = openssl("pkey -pubout", &openssl("genpkey -quiet -algorithm X25519", ""));
    let unsupported = "is a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA";
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    for (content, expected) in [
        (String::new(), "holds no PUBLIC KEY and no CERTIFICATE in PEM"),
        (
            "a secret".to_owned(),
            "holds no PUBLIC KEY and no CERTIFICATE in PEM",
        ),
        (
            p256().private_pem,
            "holds a private key, which is the issuer's alone: give the public one (`openssl pkey -in KEY -pubout`)",
        ),
        (
            pkcs1,
            "holds an RSA key in PKCS#1: convert it with `openssl rsa -RSAPublicKey_in -in KEY -pubout`",
        ),
        (small, "is an RSA key of 1024 bits: it must have 2048 to 8192"),
        (pss, unsupported),
        (p521, unsupported),
        (koblitz, unsupported),
        (x25519, unsupported),
        (block("PUBLIC KEY", "AAAA"), "holds no valid public key"),
        (block("CERTIFICATE", "AAAA"), "holds no valid certificate"),
    ] {
        assert_eq!(
            Key::from_public_pem(content.as_bytes()).expect_err("no key"),
            expected
        );
    }
    let whole = p256().public_pem;
    for end in 0..whole.len() - 30 {
        assert!(Key::from_public_pem(&whole.as_bytes()[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_private_key_that_cannot_sign_is_refused_with_what_to_do() {
    let sec1 = openssl(
        "ec",
        &openssl(
            "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            "",
        ),
    );
    let p521 = openssl(
        "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        "",
    );
    for (content, expected) in [
        (
            p256().public_pem,
            "holds no PRIVATE KEY in PEM, or one with a passphrase",
        ),
        (
            sec1,
            "holds a key in SEC1: convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY`",
        ),
        (
            p521,
            "holds a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519, or RSA of 2048 bits or more",
        ),
    ] {
        assert_eq!(
            Signer::from_private_pem(content.as_bytes()).expect_err("no key"),
            expected
        );
    }
    assert!(!format!("{:?}", p256().signer()).contains('+'));
}

/// A set with one good key and these members over those of another.
fn beside_a_good_one(pair: &Pair, more: Value) -> Result<jwks::KeySet, String> {
    let mut odd = object(pair.named("odd"));
    odd.extend(object(more));
    odd.retain(|_, value| !value.is_null());
    jwks::parse(
        json!({"keys": [odd, ed25519().named("good")], "more": 1})
            .to_string()
            .as_bytes(),
    )
}

#[test]
fn keys_that_cannot_verify_tokens_are_left_out_of_a_set_and_the_others_are_not() {
    for (pair, fine) in [
        (
            &p256(),
            json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"], "x5c": ["?"], "ext": true}),
        ),
        (&p384(), json!({"alg": "ES384"})),
        (&ed25519(), json!({"alg": "EdDSA"})),
        (&ed25519(), json!({"alg": "Ed25519"})),
        (rsa(), json!({"alg": "PS512"})),
    ] {
        assert_eq!(beside_a_good_one(pair, fine).expect("a set").keys.len(), 2);
    }
    for (pair, odd) in [
        (&p256(), json!({"kid": null})),
        (&p256(), json!({"kid": ""})),
        (&p256(), json!({"kid": "a".repeat(257)})),
        (&p256(), json!({"kid": 7})),
        (&p256(), json!({"use": "enc"})),
        (&p256(), json!({"key_ops": ["sign", "deriveKey"]})),
        (&p256(), json!({"kty": "oct", "k": base64url(&[0; 64])})),
        (&p256(), json!({"kty": "AKP"})),
        (&p256(), json!({"kty": null})),
        (&p256(), json!({"alg": "RS256"})),
        (&p256(), json!({"alg": "ES384"})),
        (&p256(), json!({"alg": "HS256"})),
        (&p256(), json!({"alg": "none"})),
        (&p256(), json!({"crv": "P-384"})),
        (&p384(), json!({"crv": "P-256"})),
        (&p256(), json!({"crv": "P-521"})),
        (&p256(), json!({"crv": null})),
        (&p256(), json!({"x": null})),
        (&p256(), json!({"x": "AAAA"})),
        (&p256(), json!({"y": "not base64url!"})),
        (&ed25519(), json!({"crv": "X25519"})),
        (&ed25519(), json!({"x": base64url(&[0; 31])})),
        (rsa(), json!({"n": base64url(&[255; 128])})),
        (rsa(), json!({"n": ""})),
        (rsa(), json!({"e": null})),
        (rsa(), json!({"alg": "RSA-OAEP-256"})),
    ] {
        let set = beside_a_good_one(pair, odd.clone()).expect("a set");
        assert_eq!((set.keys.len(), set.skipped), (1, 1), "{odd}");
        assert_eq!(set.keys[0].id(), Some("good"));
    }
}

#[test]
fn a_set_without_any_key_of_use_says_why() {
    let only = json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}).to_string();
    assert_eq!(
        jwks::parse(only.as_bytes()).expect_err("no key"),
        "holds no key that can verify tokens (the first one is of a kind that is not supported (`kty`, `crv`))"
    );
    let many: Vec<_> = (0..65).map(|_| json!({})).collect();
    assert_eq!(
        jwks::parse(json!({"keys": many}).to_string().as_bytes()).expect_err("too many"),
        "has 65 keys: at most 64 are taken"
    );
}
