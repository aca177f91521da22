//! Proves to a server who we are: turns credentials and the server's nonce into the fields of CONNECT.
//!
//! A credentials file is read again for every connection, so that a renewed one is used without a
//! restart. Nothing here shows a secret: errors name the file or the kind of credentials, never content.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;

use super::info::Proof;
use crate::config::Credentials;
use crate::error::BrokerError;

/// Checks once, before the first connection, that the credentials can be used at all.
///
/// # Errors
/// [`BrokerError::Credentials`] for a file that cannot be read or is none, [`BrokerError::Setup`] for a
/// seed that is none.
pub(super) fn check(credentials: &Credentials) -> Result<(), BrokerError> {
    match prove(credentials, Some("nonce")) {
        Ok(_) => Ok(()),
        Err(source) => Err(match credentials {
            Credentials::File(path) => BrokerError::Credentials {
                path: path.clone(),
                source,
            },
            _ => BrokerError::Setup(Box::new(source)),
        }),
    }
}

/// The fields of CONNECT that prove who we are, given what the server wants signed.
///
/// # Errors
/// If a file cannot be read, a key is none, or the server gave nothing to sign.
pub(super) fn prove(credentials: &Credentials, nonce: Option<&str>) -> io::Result<Proof> {
    Ok(match credentials {
        Credentials::Anonymous => Proof::default(),
        Credentials::UserPassword { user, password } => Proof {
            user: Some(user.clone()),
            password: Some(password.clone()),
            ..Proof::default()
        },
        Credentials::Token(token) => Proof {
            token: Some(token.clone()),
            ..Proof::default()
        },
        Credentials::NkeySeed(seed) => {
            let pair = key_pair(seed)?;
            Proof {
                nkey: Some(pair.public_key()),
                signature: Some(sign(&pair, nonce)?),
                ..Proof::default()
            }
        }
        Credentials::File(path) => {
            let text = std::fs::read_to_string(path)?;
            let jwt = section(&text, "NATS USER JWT").ok_or_else(|| invalid("it holds no user JWT"))?;
            let seed = section(&text, "USER NKEY SEED").ok_or_else(|| invalid("it holds no user seed"))?;
            Proof {
                jwt: Some(jwt.to_owned()),
                signature: Some(sign(&key_pair(seed)?, nonce)?),
                ..Proof::default()
            }
        }
    })
}

fn key_pair(seed: &str) -> io::Result<KeyPair> {
    // The library's error may quote what it was given.
    KeyPair::from_seed(seed.trim()).map_err(|_| invalid("the seed is not an nkey"))
}

fn sign(pair: &KeyPair, nonce: Option<&str>) -> io::Result<String> {
    let nonce = nonce.ok_or_else(|| invalid("the server accepts no nkey: it gave nothing to sign"))?;
    let signature = pair
        .sign(nonce.as_bytes())
        .map_err(|_| invalid("the seed cannot sign"))?;
    Ok(URL_SAFE_NO_PAD.encode(signature))
}

/// The text between `-----BEGIN label-----` and the line of dashes that ends it.
fn section<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.trim_matches('-') == format!("BEGIN {label}"))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with('-'))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_seed_signs_the_nonce_so_that_the_server_can_verify_it() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().expect("a fresh pair has a seed");
        let proof = prove(&Credentials::NkeySeed(format!("{seed}\n")), Some("abc")).expect("a good seed");
        assert_eq!(proof.nkey, Some(pair.public_key()));
        let signature = URL_SAFE_NO_PAD
            .decode(proof.signature.expect("signed"))
            .expect("base64");
        assert!(pair.verify(b"abc", &signature).is_ok());
        assert!(prove(&Credentials::NkeySeed(seed), None).is_err());
    }

    #[test]
    fn a_credentials_file_gives_a_jwt_and_a_signature() {
        let seed = KeyPair::new_user().seed().expect("a fresh pair has a seed");
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        write!(
            file,
            "-----BEGIN NATS USER JWT-----\r\nab.cd.ef\r\n------END NATS USER JWT------\r\n\r\n*** secret ***\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        )
        .expect("written");
        let credentials = Credentials::File(file.path().to_owned());
        let proof = prove(&credentials, Some("abc")).expect("a good file");
        assert_eq!(proof.jwt.as_deref(), Some("ab.cd.ef"));
        assert!(proof.signature.is_some());
        assert!(check(&credentials).is_ok());
    }

    #[test]
    fn no_error_tells_a_secret() {
        let bad = "SUSECRETSECRETSECRET";
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        writeln!(
            file,
            "-----BEGIN NATS USER JWT-----\nx\n-----\n-----BEGIN USER NKEY SEED-----\n{bad}"
        )
        .expect("written");
        for credentials in [
            Credentials::NkeySeed(bad.to_owned()),
            Credentials::File(file.path().to_owned()),
            Credentials::File("/nowhere/at.creds".into()),
        ] {
            let error = check(&credentials).expect_err("bad credentials");
            assert!(!format!("{error:?} {error}").contains("SECRET"), "{error:?}");
        }
    }
}
