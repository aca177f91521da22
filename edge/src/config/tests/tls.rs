//! The certificate of the public listener: each mistake has a sentence of its own, and no key is ever repeated.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

const TLS: &str = "[tls]\ncertificate = \"edge.pem\"\nkey = \"edge.key\"\n";

/// A folder with a configuration that wants TLS, a certificate and its key.
fn folder() -> (Folder, String) {
    let folder = Folder::new(&format!("{NEWS}{TLS}"));
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    folder.write("edge.pem", &cert.pem());
    folder.write("edge.key", &signing_key.serialize_pem());
    (folder, signing_key.serialize_pem())
}

#[track_caller]
fn one_mistake_in(folder: &Folder, expected: &str) {
    assert_eq!(folder.mistakes(&[], &[]), [expected]);
}

#[test]
fn a_certificate_and_its_key_are_all_that_tls_needs() {
    assert!(load(NEWS).tls.is_none());
    let (folder, key) = folder();
    let config = folder.load(&[], &[]).expect("a valid configuration");
    let tls = config.tls.as_ref().expect("it is given");
    assert!(tls.files.certificate.ends_with("edge.pem") && tls.files.key.ends_with("edge.key"));
    let shown = format!("{config:?}");
    assert!(shown.contains("edge.key"), "{shown}");
    for line in key.lines() {
        assert!(!shown.contains(line));
    }
}

#[test]
fn one_without_the_other_is_refused() {
    let (folder, _) = folder();
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        folder.write("tailwater.toml", &format!("{NEWS}[tls]\n{one} = \"edge.pem\"\n"));
        let mistakes = folder.mistakes(&[], &[]).join("\n");
        assert!(
            mistakes.contains(&format!("`tls.{one}` needs `tls.{other}` beside it")),
            "{mistakes}"
        );
    }
}

#[test]
fn files_that_are_no_certificate_or_no_key_are_refused_with_what_they_are() {
    let (folder, key) = folder();
    let certificate = std::fs::read_to_string(folder.0.path().join("edge.pem")).unwrap();
    let half = &key[..key.len() / 2];
    let cases = [
        (
            "edge.pem",
            "",
            "4:15: `tls.certificate` is `edge.pem`, which holds no CERTIFICATE in PEM",
        ),
        (
            "edge.pem",
            key.as_str(),
            "4:15: `tls.certificate` is `edge.pem`, which holds no CERTIFICATE in PEM",
        ),
        (
            "edge.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "4:15: `tls.certificate` is `edge.pem`, the first certificate of which cannot be read",
        ),
        (
            "edge.pem",
            "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
            "4:15: `tls.certificate` is `edge.pem`, which is no valid PEM: a section is not base64",
        ),
        (
            "edge.key",
            certificate.as_str(),
            "5:7: `tls.key` is `edge.key`, which holds no PRIVATE KEY in PEM (PKCS#8, PKCS#1 or SEC1)",
        ),
        (
            "edge.key",
            half,
            "5:7: `tls.key` is `edge.key`, which is no whole PEM: a section has no END line",
        ),
        (
            "edge.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "5:7: `tls.key` is `edge.key`, which is encrypted with a passphrase: store it without one, readable by the edge alone",
        ),
        (
            "edge.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "5:7: `tls.key` is `edge.key`, a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA",
        ),
    ];
    for (file, content, expected) in cases {
        folder.write("edge.pem", &certificate);
        folder.write("edge.key", &key);
        folder.write(file, content);
        one_mistake_in(&folder, &format!("tailwater.toml:{expected}"));
    }
}

#[test]
fn a_missing_file_and_the_key_of_another_certificate_are_refused() {
    let (folder, _) = folder();
    let (_, other) = self::folder();
    folder.write("edge.key", &other);
    one_mistake_in(
        &folder,
        "tailwater.toml:5:7: `tls.key` is `edge.key`, which is not the key of the first certificate in `edge.pem`",
    );
    std::fs::remove_file(folder.0.path().join("edge.key")).unwrap();
    let mistakes = folder.mistakes(&[], &[]).join("\n");
    assert!(
        mistakes.contains("`tls.key` is `edge.key`, which cannot be read: "),
        "{mistakes}"
    );
}

#[test]
fn what_clients_are_asked_for_needs_to_be_said_in_full() {
    let (folder, _) = folder();
    let authority = generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    folder.write("ca.pem", &authority);
    folder.write(
        "broken.pem",
        &format!("{authority}{}", authority.replace("MII", "AII")),
    );
    let cases = [
        (
            "client_auth = \"required\"",
            "6:15: `tls.client_auth` needs `tls.client_ca`: the authorities (PEM) that sign the certificates of clients",
        ),
        (
            "client_ca = \"ca.pem\"",
            "6:13: `tls.client_ca` does nothing while `tls.client_auth` is `none`: set that to `optional` or `required`",
        ),
        (
            "client_auth = \"optional\"\nclient_ca = \"edge.key\"",
            "7:13: `tls.client_ca` is `edge.key`, which holds no CERTIFICATE in PEM",
        ),
        (
            "client_auth = \"optional\"\nclient_ca = \"broken.pem\"",
            "7:13: `tls.client_ca` is `broken.pem`, of which certificate number 2 cannot be read",
        ),
        (
            "client_auth = \"optional\"\nclient_ca = \".\"",
            "7:13: `tls.client_ca` is `.`, which is a folder: give the file in it",
        ),
    ];
    for (more, expected) in cases {
        folder.write("tailwater.toml", &format!("{NEWS}{TLS}{more}\n"));
        one_mistake_in(&folder, &format!("tailwater.toml:{expected}"));
    }
    for (word, is_required) in [("optional", false), ("required", true)] {
        let more = format!("client_auth = \"{word}\"\nclient_ca = \"ca.pem\"\n");
        folder.write("tailwater.toml", &format!("{NEWS}{TLS}{more}"));
        let config = folder.load(&[], &[]).expect("a valid configuration");
        let auth = config
            .tls
            .and_then(|tls| tls.files.client_auth)
            .expect("it is given");
        assert_eq!(auth.is_required, is_required);
    }
    folder.write(
        "tailwater.toml",
        &format!("{NEWS}[tls]\nclient_ca = \"ca.pem\"\nclient_auth = \"required\"\n"),
    );
    one_mistake_in(
        &folder,
        "tailwater.toml:4:13: `tls.client_ca` needs `tls.certificate` beside it",
    );
}
