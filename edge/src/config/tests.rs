//! The configuration as a whole: sources over sources, each mistake at its place, unknown keys.

mod control;
mod identity;
mod limits;
mod namespaces;
mod secrets;
mod services;
mod telemetry;
mod tls;
mod values;

use std::path::PathBuf;

use tailwater_protocol::channel::Channel;

use super::*;

const NEWS: &str = "[namespace.news]\nchannels = \"news.>\"\n";

/// A folder with a `tailwater.toml`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        folder.write("tailwater.toml", text);
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn load(&self, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let flags: Vec<_> = flags
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        Config::load(
            Some(&self.0.path().join("tailwater.toml")),
            pairs(environment),
            &flags,
        )
    }

    /// The mistakes without the folder's name.
    fn mistakes(&self, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
        let errors = self.load(environment, flags).expect_err("mistakes");
        let folder = format!("{}/", self.0.path().display());
        errors
            .to_string()
            .replace(&folder, "")
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(text: &str) -> Config {
    Folder::new(text).load(&[], &[]).expect("a valid configuration")
}

#[track_caller]
fn one_mistake(text: &str, expected: &str) {
    assert_eq!(Folder::new(text).mistakes(&[], &[]), [expected]);
}

#[test]
fn a_namespace_is_all_that_is_needed_and_the_defaults_are_those_of_the_reference() {
    let config = load(NEWS);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(
        config
            .nats
            .servers
            .iter()
            .map(ServerUrl::to_string)
            .collect::<Vec<_>>(),
        ["nats://127.0.0.1:4222"]
    );
    assert_eq!(config.nats.credentials, NatsCredentials::Anonymous);
    assert_eq!(config.websocket.ping_interval, Duration::from_secs(25));
    assert_eq!(config.websocket.max_connections, None);
    assert_eq!(config.feed.linger, Duration::from_millis(2000));
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(!config.console.enabled);
    let news = config.namespaces.iter().next().expect("a namespace");
    assert_eq!(
        news.delivery,
        Delivery::Live {
            slow_consumer: SlowConsumer::DropOldest
        }
    );
    assert!(news.wildcards && !news.anonymous && !news.publish && news.subject_prefix.is_none());
}

#[test]
fn the_reference_lists_every_key_once_and_every_default_is_valid() {
    let reference = reference();
    let mut rows = 0;
    for key in schema::KEYS {
        let row = format!("| `{}` |", key.path.replace('*', "NAME"));
        assert_eq!(reference.matches(&row).count(), 1, "{row}");
        let _ = source::default_value(key);
        rows += 1;
    }
    assert_eq!(reference.lines().count(), rows + 2);
    assert!(
        reference.contains("| `feed.linger_ms` | `2000` | 0 to 60000 milliseconds |"),
        "{reference}"
    );
}

#[test]
fn the_readme_has_the_reference() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    assert!(
        readme.contains(&reference()),
        "the settings in README.md should be:\n{}",
        reference()
    );
}

#[test]
fn every_mistake_is_reported_at_its_place_and_in_order() {
    let text = "listen = \"8080\"\n\n[websocket]\nmax_message_bytes = 1\nping_interval = 5\n\n[nats]\n  url = [\"nats://a\", \"http://b\"]\n\n[namespace.news]\npublish = 1\n";
    let environment = [
        ("TAILWATER_LOG__FORMAT", "jsn"),
        ("TAILWATER_EDGE__WORKERS", "many"),
        ("HOME", "/root"),
    ];
    let mistakes = Folder::new(text).mistakes(&environment, &[("admin.listen", "localhost:1")]);
    assert_eq!(
        mistakes,
        [
            "tailwater.toml:1:10: `listen` is `8080`: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080` for all",
            "tailwater.toml:4:21: `websocket.max_message_bytes` is 1: the range is 256 to 67108864 bytes",
            "tailwater.toml:5:1: unknown key `websocket.ping_interval`: did you mean `websocket.ping_interval_secs`?",
            "tailwater.toml:8:22: `nats.url` holds `http://b`, and `http` is not a scheme that is known here: write `nats://HOST:4222` or `tls://HOST:4222`",
            "tailwater.toml:10:12: `namespace.news.channels` is missing: say which channels belong to it, such as [\"news.>\"]",
            "tailwater.toml:11:11: `namespace.news.publish` must be `true` or `false`, but is an integer",
            "environment variable TAILWATER_EDGE__WORKERS: `edge.workers` is `many`: it must be a whole number, 0 to 1024 threads",
            "environment variable TAILWATER_LOG__FORMAT: `log.format` is `jsn`: it must be `human` or `json`; did you mean `json`?",
            "flag --admin-listen: `admin.listen` is `localhost:1`: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080` for all",
        ]
    );
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults() {
    let folder = Folder::new(&format!(
        "listen = \"127.0.0.1:1\"\n[drain]\ntimeout_secs = 1\n{NEWS}"
    ));
    let environment = [
        ("TAILWATER_LISTEN", "127.0.0.1:2"),
        ("TAILWATER_DRAIN__TIMEOUT_SECS", "2"),
        ("TAILWATER_NAMESPACE__NEWS__PUBLISH", "true"),
        ("TAILWATER_NAMESPACE__CHAT__CHANNELS", "chat.*, talk"),
        ("TAILWATER_NATS__URL", "nats://a:1,tls://[::1]"),
    ];
    let config = folder
        .load(&environment, &[("listen", "127.0.0.1:3")])
        .expect("a configuration");
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.drain.timeout, Duration::from_secs(2));
    let urls: Vec<_> = config.nats.servers.iter().map(ServerUrl::to_string).collect();
    assert_eq!(urls, ["nats://a:1", "tls://[::1]:4222"]);
    let names: Vec<_> = config
        .namespaces
        .iter()
        .map(|one| (&*one.name, one.channels.len(), one.publish))
        .collect();
    assert_eq!(names, [("chat", 2, false), ("news", 1, true)]);
}

#[test]
fn a_mistake_in_a_value_that_a_later_source_replaces_is_still_one() {
    let mistakes =
        Folder::new(&format!("listen = 1\n{NEWS}")).mistakes(&[("TAILWATER_LISTEN", "127.0.0.1:2")], &[]);
    assert_eq!(
        mistakes,
        ["tailwater.toml:1:10: `listen` must be text in quotes, but is an integer"]
    );
}

#[test]
fn development_is_open_and_a_file_goes_over_it() {
    let config = Config::development(None, [], &[]).expect("the built-in configuration");
    assert!(config.console.enabled);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.log.format, LogFormat::Human);
    let resolve = |text: &str| {
        let channel = Channel::new(text).expect("a channel");
        config
            .namespaces
            .resolve(&channel)
            .map(|namespace| (namespace.name.to_string(), namespace.publish))
    };
    assert_eq!(resolve("deployments"), Ok(("all".to_owned(), false)));
    assert_eq!(resolve("deployments.1"), Ok(("deployments".to_owned(), false)));
    assert_eq!(resolve("demo.x"), Ok(("demo".to_owned(), false)));
    assert_eq!(resolve("chat.room"), Ok(("chat".to_owned(), true)));
    assert_eq!(resolve("chat.*"), Ok(("chat".to_owned(), true)));
    assert_eq!(resolve("deployments.>"), Ok(("deployments".to_owned(), false)));
    let streams = config
        .streams
        .iter()
        .map(|stream| (&*stream.name, stream.subjects[0].as_str()));
    assert_eq!(
        streams.collect::<Vec<_>>(),
        [("DEMO", "demo.>"), ("DEPLOYMENTS", "deployments.>")]
    );

    let folder = Folder::new("[console]\nenabled = false\n[namespace.all]\npublish = true\n");
    let path = folder.0.path().join("tailwater.toml");
    let config = Config::development(Some(&path), [], &[]).expect("a configuration");
    assert!(!config.console.enabled);
    assert!(
        config
            .namespaces
            .iter()
            .any(|one| &*one.name == "all" && one.publish)
    );
    assert!(config.namespaces.iter().all(|namespace| namespace.anonymous));
}

#[test]
fn without_a_namespace_nothing_can_be_served() {
    let expected = "there is no namespace, and so no channel: add a table such as `[namespace.news]` with `channels = [\"news.>\"]`";
    one_mistake("", &format!("tailwater.toml: {expected}"));
    let errors = Config::load(None, [], &[]).expect_err("no namespace");
    assert_eq!(errors.to_string(), format!("configuration: {expected}"));
}

#[test]
fn an_unreadable_file_is_one_clear_message() {
    let folder = Folder::new(NEWS);
    let load = |path: PathBuf| {
        Config::load(Some(&path), pairs(&[("TAILWATER_X", "")]), &[]).expect_err("unreadable")
    };
    let missing = load(folder.0.path().join("absent.toml")).to_string();
    assert!(
        missing.ends_with("absent.toml: there is no such file: check the path given with `--config`"),
        "{missing}"
    );
    let is_folder = load(folder.0.path().to_owned()).to_string();
    assert!(
        is_folder.ends_with(": is a folder: give the file in it"),
        "{is_folder}"
    );
    let path = folder.0.path().join("latin1.toml");
    std::fs::write(&path, b"# a\n# \xe9\n").expect("a file");
    assert!(
        load(path)
            .to_string()
            .ends_with("latin1.toml: is not UTF-8 text (line 2): save it as UTF-8")
    );
}

#[test]
fn syntax_errors_are_placed_and_never_show_the_line() {
    let text = "[nats]\npassword = \"hunter2\nname = \"é\" x\n";
    let mistakes = Folder::new(text).mistakes(&[("TAILWATER_LISTEN", "x"), ("TAILWATER_NOPE", "")], &[]);
    assert!(mistakes[0].starts_with("tailwater.toml:2:"), "{mistakes:?}");
    assert!(
        mistakes.iter().all(|mistake| !mistake.contains("hunter2")),
        "{mistakes:?}"
    );
    assert!(
        mistakes.iter().any(|mistake| mistake.contains("TAILWATER_NOPE")),
        "{mistakes:?}"
    );
    let duplicate = Folder::new(&format!("{NEWS}channels = \"a\"\n")).mistakes(&[], &[]);
    assert!(
        duplicate[0].starts_with("tailwater.toml:3:1: not TOML: duplicate key"),
        "{duplicate:?}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let nearest = [
        ("lissten", "listen"),
        ("websocket.max_mesage_bytes", "websocket.max_message_bytes"),
        ("nats.urls", "nats.url"),
        ("nats.ca_file", "nats.tls.ca_file"),
        ("websockets", "websocket"),
        ("outbox.max_byte", "outbox.max_bytes"),
        ("namespace.chat.channel", "namespace.chat.channels"),
        ("drain.timeout", "drain.timeout_secs"),
        ("websocket.close_timeout_ms", "websocket.close_timeout_secs"),
        ("workers", "edge.workers"),
    ];
    for (unknown, known) in nearest {
        let path: Vec<&str> = unknown.split('.').collect();
        assert_eq!(suggest::nearest_key(&path).as_deref(), Some(known), "{unknown}");
    }
    assert_eq!(suggest::nearest_key(&["colour"]), None);
    one_mistake(
        &format!("[websockets]\npath = \"/\"\n{NEWS}"),
        "tailwater.toml:1:2: unknown key `websockets`: did you mean `[websocket]`?",
    );
    one_mistake(
        &format!("colour = \"red\"\n{NEWS}"),
        "tailwater.toml:1:1: unknown key `colour`: remove it; the README lists every key",
    );
    one_mistake(
        &format!("nats = \"nats://a\"\n{NEWS}"),
        "tailwater.toml:1:1: `nats` is a table: write `[nats]` and its keys below",
    );
}

#[test]
fn an_unknown_variable_is_refused_except_for_those_that_are_not_ours() {
    let folder = Folder::new(NEWS);
    let fine = [
        ("TAILWATER_NATS_SERVER", "/usr/bin/nats-server"),
        ("TAILWATER_LOG", "debug"),
        ("TAILWATER_SERVICE_HOST", "10.0.0.1"),
        ("TAILWATER_SERVICE_PORT_HTTP", "80"),
        ("TAILWATER_PORT", "tcp://10.0.0.1:80"),
        ("TAILWATER_ADMIN_PORT_8081_TCP_ADDR", "10.0.0.1"),
        ("TAILWATER_ADMIN_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
        ("TAILWATERS", "x"),
    ];
    assert_eq!(
        folder.load(&fine, &[]).expect("a configuration").log.level,
        "debug"
    );
    let wrong = [
        ("TAILWATER_NATS_URL", "nats://a"),
        ("TAILWATER_NATS_SERVR", "x"),
        ("TAILWATER_PORT", "80"),
        ("TAILWATER_WEBSOCKET__PATHS", "/"),
        ("TAILWATER_NATS__NAME", "\u{FFFD}"),
    ];
    let variable = "environment variable";
    assert_eq!(
        folder.mistakes(&wrong, &[]),
        [
            format!("{variable} TAILWATER_NATS_SERVR: names no key: did you mean `TAILWATER_NATS_SERVER`?"),
            format!("{variable} TAILWATER_NATS_URL: names no key: did you mean `TAILWATER_NATS__URL`?"),
            format!("{variable} TAILWATER_NATS__NAME: `nats.name` is not UTF-8 text"),
            format!(
                "{variable} TAILWATER_PORT: names no key: remove it; the README lists every key, `__` stands between levels"
            ),
            format!(
                "{variable} TAILWATER_WEBSOCKET__PATHS: names no key: did you mean `TAILWATER_WEBSOCKET__PATH`?"
            ),
        ]
    );
}

#[test]
fn whatever_stands_in_a_file_nothing_panics() {
    let text = "listen = \"[::]:1\"\nnats = { url = [\"tls://é\"], tls.first = true }\n[namespace.a]\nchannels = \"a.>\"\nmax_delay_ms = 0x1f\ndurable = true\n[stream.A]\n";
    for (at, _) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let without: String = after.chars().skip(1).collect();
        for text in [
            before.to_owned(),
            format!("{before}{without}"),
            format!("{before}\"{after}"),
            format!("{before}[{after}"),
            format!("{before}.{after}"),
            format!("{before}\n{after}"),
        ] {
            let _ = Config::layered(Some(&text), None, [], &[]).map_err(|errors| errors.to_string());
        }
    }
}
