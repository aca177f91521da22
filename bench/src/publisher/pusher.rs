//! How a publication proves who sends it to the HTTP API of Pusher, which sockudo speaks: the query holds the body's MD5,
//! and an HMAC-SHA256 of method, path and query.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::dialect::PusherApp;

/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// `PATH?QUERY` of a request with this method and body that is sent now.
pub(super) fn signed(app: PusherApp, method: &str, path: &str, body: &[u8]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    signed_at(now.as_secs(), app, method, path, body)
}

fn signed_at(seconds: u64, app: PusherApp, method: &str, path: &str, body: &[u8]) -> String {
    let PusherApp { key, secret } = app;
    let digest = hexadecimal(&Md5::digest(body));
    // In the order of the alphabet, in which it is signed.
    let query = format!("auth_key={key}&auth_timestamp={seconds}&auth_version=1.0&body_md5={digest}");
    let signature = hmac_sha256(secret.as_bytes(), format!("{method}\n{path}\n{query}").as_bytes());
    format!("{path}?{query}&auth_signature={}", hexadecimal(&signature))
}

/// RFC 2104, with a key that is no longer than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_example_of_rfc_4231_has_its_hmac() {
        assert_eq!(
            hexadecimal(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_request_is_signed_with_its_time_and_the_digest_of_its_body() {
        let app = PusherApp {
            key: "k",
            secret: "s",
        };
        let signed = |seconds, body: &[u8]| signed_at(seconds, app, "POST", "/apps/a/events", body);
        let one = signed(7, b"");
        let begin = "/apps/a/events?auth_key=k&auth_timestamp=7&auth_version=1.0\
                     &body_md5=d41d8cd98f00b204e9800998ecf8427e&auth_signature=";
        assert!(one.starts_with(begin), "{one}");
        assert_eq!(one.len(), begin.len() + 64);
        let signature = |mut signed: String| signed.split_off(begin.len());
        assert_ne!(signature(one.clone()), signature(signed(8, b"")));
        assert_ne!(signature(one), signature(signed(7, b"x")));
    }
}
