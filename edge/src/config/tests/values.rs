//! Values: numbers, texts, credentials.

use super::*;

#[test]
fn numbers_are_refused_with_range_and_unit_however_they_are_written() {
    let range = "the range is 0 to 60000 milliseconds";
    for (written, shown) in [
        ("-1", "-1"),
        ("60_001", "60001"),
        ("0xFFFFFF", "0xFFFFFF"),
        ("9223372036854775808", "9223372036854775808"),
    ] {
        let mistakes = Folder::new(&format!("feed.linger_ms = {written}\n{NEWS}")).mistakes(&[], &[]);
        assert!(
            mistakes
                == [format!(
                    "tailwater.toml:1:18: `feed.linger_ms` is {shown}: {range}"
                )],
            "{mistakes:?}"
        );
    }
    for wrong in ["-5", "60001", "99999999999999999999999999999999999999999999"] {
        let mistakes = Folder::new(NEWS).mistakes(&[("TAILWATER_FEED__LINGER_MS", wrong)], &[]);
        assert_eq!(
            mistakes,
            [format!(
                "environment variable TAILWATER_FEED__LINGER_MS: `feed.linger_ms` is {wrong}: {range}"
            )]
        );
    }
    let expected = "a whole number, 0 to 60000 milliseconds";
    one_mistake(
        &format!("feed.linger_ms = \"2s\"\n{NEWS}"),
        &format!(
            "tailwater.toml:1:18: `feed.linger_ms` must be {expected}, but is a string: write it without quotes and without unit"
        ),
    );
}

#[test]
fn other_values_are_refused_with_what_to_write() {
    let mistakes = [
        (
            "websocket.path = \"ws\"",
            "18: `websocket.path` is `ws`: begin with `/` and use letters, digits, `/`, `-`, `.`, `_` and `~`",
        ),
        (
            "websocket.path = \"/sse\"",
            "18: `websocket.path` is `/sse`, which is another route: choose another one, such as `/ws`",
        ),
        (
            "websocket.path = \"/command\"",
            "18: `websocket.path` is `/command`, which is another route: choose another one, such as `/ws`",
        ),
        (
            "websocket.path = \"/realtime/poll\"",
            "18: `websocket.path` is `/realtime/poll`, which is another route: choose another one, such as `/ws`",
        ),
        (
            "log.level = \"inof\"",
            "13: `log.level` holds `inof`, which is no level: use off, error, warn, info, debug, trace, or `MODULE=LEVEL`; did you mean `info`?",
        ),
        (
            "nats.inbox_prefix = \"inbox\"",
            "21: `nats.inbox_prefix` is `inbox`: it must begin with `_`, because no channel can, so that no client reaches an inbox",
        ),
        (
            "nats.url = []",
            "12: `nats.url` is empty: give at least one server, such as `nats://127.0.0.1:4222`",
        ),
        (
            "nats.tls.cert_file = \"tailwater.toml\"",
            "22: `nats.tls.cert_file` needs `nats.tls.key_file` beside it",
        ),
        (
            "nats.tls.first = true",
            "18: `nats.tls.first` needs TLS on every server: set `nats.tls.required = true` or write `tls://` addresses",
        ),
        (
            "admin.listen = \"127.0.0.1:8080\"",
            "16: `admin.listen` is 127.0.0.1:8080, and so both listeners are the same: give them different ports",
        ),
        (
            "nats.jetstream_domain = \"a.b\"",
            "25: `nats.jetstream_domain` is `a.b`: a domain is one name without dots",
        ),
    ];
    for (line, mistake) in mistakes {
        one_mistake(&format!("{line}\n{NEWS}"), &format!("tailwater.toml:1:{mistake}"));
    }
    let filter = load(&format!("log.level = \"info,tailwater_edge::hub=trace\"\n{NEWS}"))
        .log
        .level;
    assert_eq!(filter, "info,tailwater_edge::hub=trace");
}

#[test]
fn exactly_one_form_of_credentials_is_taken() {
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let folder = Folder::new("");
    folder.write("secret", "hunter2\n");
    folder.write("seed", seed);
    let credentials = |lines: &str| {
        folder.write("tailwater.toml", &format!("[nats]\n{lines}\n{NEWS}"));
        folder.load(&[], &[]).expect("a configuration").nats.credentials
    };
    let file = |name: &str| SecretSource::File(folder.0.path().join(name));
    let user = "app".to_owned();
    assert_eq!(
        credentials("user = \"app\"\npassword_file = \"secret\""),
        NatsCredentials::Password {
            user,
            password: file("secret")
        }
    );
    assert_eq!(file("secret").read().expect("a secret").reveal(), "hunter2");
    assert_eq!(
        credentials("token = \"t\""),
        NatsCredentials::Token(SecretSource::Given(Secret::new("t")))
    );
    assert_eq!(
        credentials("nkey_seed_file = \"seed\""),
        NatsCredentials::NkeySeed(file("seed"))
    );
    assert_eq!(
        credentials("credentials_file = \"seed\"\nuser = \"\""),
        NatsCredentials::CredentialsFile(folder.0.path().join("seed"))
    );
    let wrong = [
        (
            "user = \"a\"\ntoken = \"b\"\npassword = \"c\"",
            "3:9: `nats.token` and `nats.user` are two forms of credentials: keep one of them",
        ),
        (
            "token = \"a\"\ntoken_file = \"secret\"",
            "3:14: `nats.token_file` and `nats.token` say the same: keep one of them",
        ),
        (
            "user = \"a\"",
            "2:8: `nats.user` needs `nats.password` or, better, `nats.password_file`",
        ),
        ("password = \"a\"", "2:12: `nats.password` needs `nats.user`"),
        (
            "nkey_seed = \"SUA\"",
            "2:13: `nats.nkey_seed` is not the seed of a user: such a seed has 58 characters and begins with `SU`",
        ),
        (
            "password = 1\nuser = \"a\"",
            "2:12: `nats.password` must be text in quotes, but is an integer",
        ),
        (
            "url = \"nats://me:hunter2@a\"",
            "2:7: `nats.url` holds credentials inside an address, where logs would show them: write them as `nats.user` and `nats.password_file` (or `nats.token_file`)",
        ),
    ];
    for (lines, mistake) in wrong {
        one_mistake(
            &format!("[nats]\n{lines}\n{NEWS}"),
            &format!("tailwater.toml:{mistake}"),
        );
    }
    let missing = Folder::new(&format!("[nats]\ntoken_file = \"absent\"\n{NEWS}")).mistakes(&[], &[]);
    assert_eq!(
        missing,
        [
            "tailwater.toml:2:14: `nats.token_file` is `absent`, which cannot be read: No such file or directory (os error 2)"
        ]
    );
}

#[test]
fn secrets_never_print() {
    let config = load(&format!("[nats]\nuser = \"app\"\npassword = \"hunter2\"\n{NEWS}"));
    let printed = format!("{config:?} {config:#?}");
    assert!(
        printed.contains("***") && !printed.contains("hunter2"),
        "{printed}"
    );
    assert_eq!(Secret::new("hunter2").to_string(), "***");
}
