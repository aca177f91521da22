//! A configuration, right or wrong, never says a secret: not in its mistakes and not in `Debug`.

use rcgen::generate_simple_self_signed;

use super::*;

/// In every secret that may be any text.
const MARK: &str = "Xylophone7";

/// What loading says, whether it succeeds or not.
fn said(folder: &Folder, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    match folder.load(environment, flags) {
        Ok(config) => format!("{config:?}\n{config:#?}"),
        Err(errors) => format!("{errors}\n{errors:?}"),
    }
}

#[track_caller]
fn tells_nothing(what: &str, said: &str) {
    let found = said.lines().find(|line| line.contains(MARK));
    assert_eq!(found, None, "{what}");
}

#[test]
fn no_secret_key_is_repeated_however_it_is_given() {
    let values = [
        "\"MARK\"",
        "[\"MARK\"]",
        "{ a = \"MARK\" }",
        "\"MARK",
        "MARK",
        "7MARK",
        "'MARK' 'MARK'",
        "\"\\qMARK\"",
        "\"MARK\\n\"",
        "\"MARK\"\nlisten = 1",
    ];
    let secrets = || {
        schema::KEYS
            .iter()
            .filter(|key| matches!(key.kind, schema::Kind::Secret))
    };
    assert!(secrets().count() >= 3);
    for key in secrets() {
        let path = key.path.replace('*', "name");
        for value in values {
            for path in [&path, &format!("{path}x"), &format!("x{path}")] {
                let line = format!("{path} = {}", value.replace("MARK", MARK));
                let folder = Folder::new(&format!("{line}\n{line}\n{NEWS}"));
                tells_nothing(&line, &said(&folder, &[], &[]));
                folder.write("tailwater.toml", &format!("{line}\n{NEWS}"));
                tells_nothing(&line, &said(&folder, &[], &[]));
            }
        }
        let variable = format!("TAILWATER_{}", path.to_uppercase().replace('.', "__"));
        let folder = Folder::new(NEWS);
        for variable in [&variable, &format!("{variable}X"), &variable.replace("__", "_")] {
            for text in ["MARK", " MARK\n", "MARK\u{fffd}"] {
                let text = text.replace("MARK", MARK);
                tells_nothing(variable, &said(&folder, &[(variable, &text)], &[]));
            }
        }
    }
}

#[test]
fn neither_addresses_nor_files_with_secrets_in_them_are_repeated() {
    let folder = Folder::new(NEWS);
    let file = |name: &str, content: &[u8]| std::fs::write(folder.0.path().join(name), content).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n");
    let edge = generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    file("edge.pem", edge.cert.pem().as_bytes());
    file("binary", &[MARK.as_bytes(), &[0xff]].concat());
    file("seed", format!("SUA{MARK}").as_bytes());
    file("text", MARK.as_bytes());
    file("short.key", pem.as_bytes());
    file("cut.key", &pem.as_bytes()[..40]);
    file("wrong.key", pem.replace(MARK, &format!("?{MARK}?")).as_bytes());
    let tls = "[tls]\ncertificate = \"edge.pem\"\nkey = ";
    let cases = [
        format!("[nats]\nurl = \"nats://a:{MARK}@127.0.0.1:4222\""),
        format!("[nats]\nurl = [\"nats://127.0.0.1\", \"{MARK}@127.0.0.1\"]"),
        format!("[nats]\nuser = \"a\"\npassword = \"{MARK}\"\ntoken = \"{MARK}\""),
        format!("[nats]\nuser = \"a\"\npassword = \"{MARK}\"\npassword_file = \"text\""),
        "[nats]\nuser = \"a\"\npassword_file = \"binary\"".to_owned(),
        "[nats]\nnkey_seed_file = \"seed\"".to_owned(),
        "[nats.tls]\ncert_file = \"text\"\nkey_file = \"text\"\nca_file = \"text\"".to_owned(),
        format!("{tls}\"text\""),
        format!("{tls}\"short.key\""),
        format!("{tls}\"cut.key\""),
        format!("{tls}\"wrong.key\""),
        format!("{tls}\"text\"\nclient_auth = \"required\"\nclient_ca = \"text\""),
        format!("nats = \"{MARK}\""),
    ];
    for case in cases {
        folder.write("tailwater.toml", &format!("{case}\n{NEWS}"));
        assert!(folder.load(&[], &[]).is_err(), "{case}");
        tells_nothing(&case, &said(&folder, &[], &[]));
    }
    folder.write("tailwater.toml", NEWS);
    let url = format!("nats://a:{MARK}@127.0.0.1:4222");
    tells_nothing(
        "a variable",
        &said(&folder, &[("TAILWATER_NATS__URL", &url)], &[]),
    );
    tells_nothing("a flag", &said(&folder, &[], &[("nats.url", &url)]));
}
