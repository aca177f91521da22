//! Whose tokens are accepted: each mistake has a sentence of its own, and no secret is ever repeated.

use jsonwebtoken::Algorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::*;

const SECRET: &str = "an-example-of-thirty-two-or-more-bytes";

fn one(keys: &str) -> String {
    format!("{NEWS}[identity.issuer.main]\n{keys}\n")
}

fn mistakes(text: &str) -> Vec<String> {
    Folder::new(text).mistakes(&[], &[])
}

/// A mistake in the first line of the issuer's table.
#[track_caller]
fn one_mistake_at(keys: &str, column: usize, expected: &str) {
    assert_eq!(
        mistakes(&one(keys)),
        [format!(
            "tailwater.toml:4:{column}: `identity.issuer.main.{expected}"
        )]
    );
}

#[test]
fn without_the_table_there_is_no_issuer_and_with_a_secret_there_is_one() {
    assert!(load(NEWS).identity.issuers.is_empty());
    let config = load(&one(&format!("hmac_secret = \"{SECRET}\"")));
    let identity = &config.identity;
    assert_eq!(
        (identity.leeway, identity.grace),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!((identity.max_token_bytes, identity.require_expiry), (8192, true));
    for place in [
        TokenPlace::Header,
        TokenPlace::Cookie,
        TokenPlace::Subprotocol,
        TokenPlace::Connect,
    ] {
        assert!(identity.places.is_open(place), "{place:?}");
    }
    assert!(!identity.places.is_open(TokenPlace::Query));
    assert_eq!(identity.places.cookie, "tailwater_token");
    let [issuer] = &identity.issuers[..] else {
        panic!("one issuer")
    };
    assert_eq!(
        (&*issuer.name, issuer.issuer.as_deref(), issuer.audience.len()),
        ("main", None, 0)
    );
    assert_eq!(
        (issuer.refresh.as_secs(), issuer.max_stale.as_secs()),
        (300, 86_400)
    );
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn everything_about_an_issuer_can_be_said_by_environment_variables() {
    let environment = [
        ("TAILWATER_IDENTITY__PLACES", "header, query"),
        (
            "TAILWATER_IDENTITY__ISSUER__MAIN__OIDC_ISSUER",
            "https://login.example/a",
        ),
        ("TAILWATER_IDENTITY__ISSUER__MAIN__AUDIENCE", "edge,live"),
        ("TAILWATER_IDENTITY__ISSUER__MAIN__ALGORITHMS", "ES256,EdDSA"),
        ("TAILWATER_IDENTITY__ISSUER__AN_APP__HMAC_SECRET", SECRET),
        ("TAILWATER_IDENTITY__ISSUER__AN_APP__ISSUER", "app"),
    ];
    let folder = Folder::new(&format!("{NEWS}[identity.issuer.an-app]\nrefresh_secs = 60\n"));
    let identity = folder.load(&environment, &[]).expect("a configuration").identity;
    let [app, main] = &identity.issuers[..] else {
        panic!("two issuers")
    };
    assert_eq!(
        (&*app.name, app.issuer.as_deref(), app.refresh.as_secs()),
        ("an-app", Some("app"), 60)
    );
    assert_eq!(
        (&*main.name, main.issuer.as_deref()),
        ("main", Some("https://login.example/a"))
    );
    assert_eq!(main.audience, ["edge", "live"]);
    assert_eq!(main.algorithms, [Algorithm::ES256, Algorithm::EdDSA]);
    assert!(identity.places.is_open(TokenPlace::Query) && !identity.places.is_open(TokenPlace::Cookie));
}

#[test]
fn an_issuer_has_exactly_one_source_of_keys() {
    assert_eq!(
        mistakes(&one("audience = \"a\"")),
        [
            "tailwater.toml:3:18: `identity.issuer.main.jwks_url` is missing: give one source of keys, which are \
          `hmac_secret`, `hmac_secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `oidc_issuer`"
        ]
    );
    let two = one(&format!(
        "hmac_secret = \"{SECRET}\"\njwks_url = \"https://a.example/\""
    ));
    assert_eq!(
        mistakes(&two),
        [
            "tailwater.toml:5:12: `identity.issuer.main.jwks_url` and `identity.issuer.main.hmac_secret` are two sources \
          of keys: keep one of them"
        ]
    );
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_and_not_repeated() {
    let expected = "hmac_secret` has 7 bytes, which can be guessed: give at least 32 random ones, such as those of \
                    `openssl rand -base64 48`";
    one_mistake_at("hmac_secret = \"hunter2\"", 15, expected);
    let folder = Folder::new(&one("hmac_secret_file = \"secret\""));
    folder.write("secret", "hunter2\n");
    let mistakes = folder.mistakes(&[], &[]).join("\n");
    assert!(
        mistakes.contains("`identity.issuer.main.hmac_secret_file` has 7 bytes"),
        "{mistakes}"
    );
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}

#[test]
fn what_is_accepted_must_be_what_the_keys_can_do() {
    let text = one(&format!(
        "algorithms = [\"HS256\", \"HS512\", \"RS256\"]\nhmac_secret = \"{SECRET}\""
    ));
    assert_eq!(
        mistakes(&text),
        [
            "tailwater.toml:4:24: `identity.issuer.main.algorithms` holds `HS512`, which \
             `identity.issuer.main.hmac_secret` cannot do (it needs a secret of 64 bytes): it can do `HS256`",
            "tailwater.toml:4:33: `identity.issuer.main.algorithms` holds `RS256`, which \
             `identity.issuer.main.hmac_secret` cannot do: it can do `HS256`",
        ]
    );
    assert_eq!(
        mistakes(&one("algorithms = \"HS256\"\njwks_url = \"https://a.example/\"")),
        [
            "tailwater.toml:4:14: `identity.issuer.main.algorithms` holds `HS256`, which needs a secret, and what is \
          fetched is none: remove it"
        ]
    );
    assert_eq!(
        mistakes(&one("algorithms = \"none\"\njwks_url = \"https://a.example/\"")),
        [
            "tailwater.toml:4:14: `identity.issuer.main.algorithms` holds `none`, which is not a signature that is known \
          here: use HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
        ]
    );
}

#[test]
fn addresses_must_not_let_anybody_put_keys_in() {
    for (url, expected) in [
        (
            "http://a.example/keys",
            "is `http://a.example/keys`, and without TLS anybody on the way could put in keys of their own: write `https://HOST/PATH`",
        ),
        (
            "ftp://a.example/",
            "is `ftp://a.example/`, whose scheme is not known here: write `https://HOST/PATH`",
        ),
        (
            "a.example",
            "is `a.example`, which has no scheme: write `https://HOST/PATH`",
        ),
        (
            "https://",
            "is `https://`, which is no address: write `https://HOST/PATH`",
        ),
        (
            "https://a.example/#k",
            "is `https://a.example/#k`, which has a fragment: write `https://HOST/PATH`",
        ),
        (
            "https://a.example:0/",
            "is `https://a.example:0/`, which has no valid port: write `https://HOST/PATH`",
        ),
        (
            "https://u:hunter2@a.example/",
            "holds credentials inside an address, where logs would show them: remove them",
        ),
    ] {
        one_mistake_at(
            &format!("jwks_url = \"{url}\""),
            12,
            &format!("jwks_url` {expected}"),
        );
        assert!(KeyUrl::parse(url).is_err());
    }
    for url in [
        "http://127.0.0.1:8000/k",
        "http://[::1]/k",
        "http://localhost:1",
        "https://a.example:8443/k?v=1",
    ] {
        assert_eq!(KeyUrl::parse(url).expect("an address").to_string(), url);
    }
    one_mistake_at(
        "oidc_issuer = \"https://a.example/?t=1\"",
        15,
        "oidc_issuer` is `https://a.example/?t=1`: the address of an issuer has no `?`",
    );
}

#[test]
fn files_are_read_at_once_and_judged() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let folder = Folder::new(&one("public_key_file = \"key.pem\"\nalgorithms = \"ES256\""));
    let missing = folder.mistakes(&[], &[]).join("\n");
    assert!(
        missing.contains("`identity.issuer.main.public_key_file` is `key.pem`, which cannot be read: "),
        "{missing}"
    );
    folder.write("key.pem", &key.public_key_pem());
    assert!(folder.load(&[], &[]).is_ok());
    folder.write("key.pem", &key.serialize_pem());
    let private = folder.mistakes(&[], &[]).join("\n");
    assert!(
        private.contains("is `key.pem`, which holds a private key, which is the issuer's alone"),
        "{private}"
    );

    let folder = Folder::new(&one("jwks_file = \"keys.json\""));
    folder.write("keys.json", "{}");
    assert_eq!(
        folder.mistakes(&[], &[]),
        [
            "tailwater.toml:4:13: `identity.issuer.main.jwks_file` is `keys.json`, which is no JSON Web Key Set: an \
          object with a list `keys` is expected"
        ]
    );
    let folder = Folder::new(&one("jwks_url = \"https://a.example/\"\nca_file = \"ca.pem\""));
    folder.write("ca.pem", "");
    assert_eq!(
        folder.mistakes(&[], &[]),
        [
            "tailwater.toml:5:11: `identity.issuer.main.ca_file` is `ca.pem`, of no use: it holds no CERTIFICATE in PEM"
        ]
    );
    let folder = Folder::new(&one(&format!(
        "hmac_secret = \"{SECRET}\"\nca_file = \"tailwater.toml\""
    )));
    assert_eq!(
        folder.mistakes(&[], &[]),
        [
            "tailwater.toml:5:11: `identity.issuer.main.ca_file` is for keys that are fetched: remove it, or set \
          `jwks_url` or `oidc_issuer`"
        ]
    );
}

#[test]
fn several_issuers_are_told_apart_by_name() {
    let text = format!(
        "{}[identity.issuer.other]\nhmac_secret = \"{SECRET}\"\nissuer = \"b\"\n",
        one(&format!("hmac_secret = \"{SECRET}\""))
    );
    assert_eq!(
        mistakes(&text),
        [
            "tailwater.toml:3:18: `identity.issuer.main.issuer` is missing: where there are several issuers, `iss` tells \
          which one a token is of"
        ]
    );
    assert_eq!(
        mistakes(&format!(
            "{NEWS}[identity.issuer.Main]\nhmac_secret = \"{SECRET}\"\n"
        )),
        [
            "tailwater.toml:3:18: `Main` cannot name an issuer: use 1 to 64 lower-case letters, digits, `-` and single `_`"
        ]
    );
}

#[test]
fn settings_that_do_nothing_and_names_that_mean_nothing_are_refused() {
    assert_eq!(
        mistakes(&format!("{NEWS}[identity]\nleeway_secs = 5\n")),
        [
            "tailwater.toml:4:15: `identity.leeway_secs` is of no use without an issuer of tokens: add a table such as \
          `[identity.issuer.main]`"
        ]
    );
    let with = |line: &str| {
        format!("{NEWS}[identity]\n{line}\n[identity.issuer.main]\nhmac_secret = \"{SECRET}\"\n")
    };
    assert_eq!(
        mistakes(&with("places = [\"header\", \"cokie\"]")),
        [
            "tailwater.toml:4:21: `identity.places` holds `cokie`, which is not a place for a token: use header, cookie, \
          subprotocol, connect, query; did you mean `cookie`?"
        ]
    );
    assert_eq!(
        mistakes(&with("places = []")),
        [
            "tailwater.toml:4:10: `identity.places` is empty, so no client could show a token: name at least one place"
        ]
    );
    assert_eq!(
        mistakes(&with("cookie = \"a b\"")),
        [
            "tailwater.toml:4:10: `identity.cookie` is `a b`: the name of a cookie has 1 to 128 letters, digits, `-`, `_` \
          and `.`"
        ]
    );
    assert_eq!(
        mistakes(&one(&format!("hmac_secret = \"{SECRET}\"\naudiences = \"a\""))),
        [
            "tailwater.toml:5:1: unknown key `identity.issuer.main.audiences`: did you mean \
          `identity.issuer.main.audience`?"
        ]
    );
}
