//! What is signed rightly is accepted, by every kind of key.

use jsonwebtoken::Algorithm;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};

use super::*;

async fn accepted(keys: KeySource, signer: &Signer) {
    let token = signer.sign(&ann(json!({})), None).expect("a token");
    let claims = verify(&config(vec![issuer("one", keys)]), &token)
        .await
        .expect("it is accepted");
    assert_eq!(claims.user.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_secret_verifies_by_each_algorithm_that_it_is_long_enough_for() {
    let (keys, signer) = secret();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        accepted(keys.clone(), &signer.clone().with_algorithm(algorithm)).await;
    }
    let short = KeySource::Secret(SecretSource::Given(Secret::new("a".repeat(32))));
    let signer = Signer::from_issuer(&issuer("short", short.clone())).expect("a secret");
    accepted(short.clone(), &signer).await;
    let token = signer
        .with_algorithm(Algorithm::HS512)
        .sign(&ann(json!({})), None)
        .expect("a token");
    refused(
        verify(&config(vec![issuer("short", short)]), &token).await,
        &TokenError::Algorithm,
    );
}

#[tokio::test]
async fn a_public_key_in_pem_verifies_what_its_private_key_signed() {
    for pair in [p256(), p384(), ed25519()] {
        let file = pair.file();
        accepted(KeySource::PublicKey(file.path().to_owned()), &pair.signer()).await;
    }
    let file = rsa().file();
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
        let keys = KeySource::PublicKey(file.path().to_owned());
        accepted(keys, &rsa().signer().with_algorithm(algorithm)).await;
    }
}

#[tokio::test]
async fn a_certificate_verifies_what_its_key_signed() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = rcgen::CertificateParams::new(["issuer.example".to_owned()]).expect("a name");
        let certificate = file(&params.self_signed(&key).expect("a certificate").pem());
        let signer = Signer::from_private_pem(key.serialize_pem().as_bytes()).expect("a private key");
        accepted(KeySource::PublicKey(certificate.path().to_owned()), &signer).await;
    }
}

#[tokio::test]
async fn tokens_that_another_implementation_signed_are_accepted() {
    let header = |alg: &str| base64url(json!({"typ": "JWT", "alg": alg}).to_string().as_bytes());
    let claims = base64url(Value::Object(ann(json!({}))).to_string().as_bytes());
    // One that it can read: of keys of ours it does not know the form with both halves.
    let private_pem = openssl("genpkey -quiet -algorithm ED25519", "");
    let pair = Pair {
        public_pem: openssl("pkey -pubout", &private_pem),
        private_pem,
        jwk: Value::Null,
    };
    let curve = p256();
    let public = pair.file();
    accepted(KeySource::PublicKey(public.path().to_owned()), &pair.signer()).await;
    for (alg, pair, how) in [
        ("RS256", rsa(), "dgst -sha256 -sign"),
        (
            "PS256",
            rsa(),
            "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 -sign",
        ),
        ("ES256", &curve, "dgst -sha256 -sign"),
        ("EdDSA", &pair, "pkeyutl -sign -rawin -inkey"),
    ] {
        let message = format!("{}.{claims}", header(alg));
        let (key, input) = (file(&pair.private_pem), file(&message));
        let (key, input) = (key.path().display(), input.path().display());
        let last = if alg == "EdDSA" { "-in " } else { "" };
        let mut signature = openssl_bytes(&format!("{how} {key} {last}{input}"), b"");
        if alg == "ES256" {
            signature = fixed(&signature);
        }
        let token = format!("{message}.{}", base64url(&signature));
        let public = pair.file();
        let config = config(vec![issuer(
            "one",
            KeySource::PublicKey(public.path().to_owned()),
        )]);
        let verified = verify(&config, &token).await;
        assert!(verified.is_ok(), "{alg}: {verified:?}");
    }
}

/// An ECDSA signature in the form of JOSE (RFC 7518 section 3.4), which is not that of X.509.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(der).expect("DER");
    let numbers = reader.sequence(|inside| {
        let (r, s) = (UintRef::decode(inside)?, UintRef::decode(inside)?);
        Ok([r, s].map(|number| [&vec![0; 32 - number.as_bytes().len()], number.as_bytes()].concat()))
    });
    numbers.expect("two numbers").concat()
}

#[tokio::test]
async fn a_set_of_keys_in_a_file_verifies_by_name() {
    let (one, other, third) = (p256(), p384(), ed25519());
    let set =
        json!({"keys": [one.named("one"), other.named("other"), third.named("third"), rsa().named("rsa")]});
    let set = file(&set.to_string());
    let config = config(vec![issuer("one", KeySource::JwksFile(set.path().to_owned()))]);
    let (verifier, _owner) = Verifier::start(&config);
    for (id, pair) in [
        ("one", &one),
        ("other", &other),
        ("third", &third),
        ("rsa", rsa()),
    ] {
        let token = pair.signer().sign(&ann(json!({})), Some(id)).expect("a token");
        assert!(verifier.verify(&token).await.is_ok(), "{id}");
        // Without a name the kind of the signature tells, as long as one key alone is of it.
        let token = pair.signer().sign(&ann(json!({})), None).expect("a token");
        assert!(verifier.verify(&token).await.is_ok(), "{id}");
    }
    let token = one
        .signer()
        .sign(&ann(json!({})), Some("other"))
        .expect("a token");
    refused(verifier.verify(&token).await, &TokenError::Algorithm);
}

#[tokio::test]
async fn a_token_without_a_name_is_refused_where_several_keys_are_of_its_kind() {
    let (one, other) = (p256(), p256());
    let set = file(&json!({"keys": [one.named("one"), other.named("other")]}).to_string());
    let config = config(vec![issuer("one", KeySource::JwksFile(set.path().to_owned()))]);
    let token = one.signer().sign(&ann(json!({})), None).expect("a token");
    refused(verify(&config, &token).await, &TokenError::UnnamedKey);
}
