//! Namespaces and streams: names, overlaps, prefixes, resolving channels.

use super::*;

#[test]
fn a_variable_finds_a_name_that_it_cannot_spell() {
    let folder = Folder::new("[namespace.live-news]\nchannels = \"a\"\n");
    let config = folder
        .load(&[("TAILWATER_NAMESPACE__LIVE_NEWS__CHANNELS", "b")], &[])
        .expect("a configuration");
    let namespaces: Vec<_> = config
        .namespaces
        .iter()
        .map(|one| (&*one.name, one.channels[0].as_str()))
        .collect();
    assert_eq!(namespaces, [("live-news", "b")]);
    one_mistake(
        "[namespace.live-news]\nchannels = \"a\"\n[namespace.live_news]\nchannels = \"b\"\n",
        "tailwater.toml:3:12: namespace `live_news` and namespace `live-news` have the same environment variables (TAILWATER_NAMESPACE__LIVE_NEWS__…): rename one",
    );
    one_mistake(
        &format!("[namespace.News]\nchannels = \"a\"\n{NEWS}"),
        "tailwater.toml:1:12: `News` cannot name a namespace: use 1 to 64 lower-case letters, digits, `-` and single `_`",
    );
}

#[test]
fn namespaces_that_leave_open_where_a_channel_belongs_are_refused() {
    one_mistake(
        "[namespace.a]\nchannels = [\"x\", \"a.*\"]\n[namespace.b]\nchannels = [\"y\", \"*.b\"]\n",
        "tailwater.toml:4:18: `*.b` of namespace `b` and `a.*` of namespace `a` overlap, and neither includes the other (`a.b` is in both): narrow one of them",
    );
    one_mistake(
        "[namespace.a]\nchannels = \"a.>\"\n[namespace.b]\nchannels = \"a.>\"\n",
        "tailwater.toml:4:12: `a.>` stands in namespace `a` and in namespace `b`: remove one",
    );
    one_mistake(
        "[namespace.all]\nchannels = \">\"\n[namespace.orders]\nchannels = \"orders.*\"\nsubject_prefix = \"prod\"\n",
        "tailwater.toml:4:12: the NATS subject `prod.orders.x` would be the channel `prod.orders.x` of namespace `all` and the channel `orders.x` of namespace `orders`: narrow the channels or change a `subject_prefix`",
    );
    load("[namespace.a]\nchannels = \"a\"\n[namespace.b]\nchannels = \"b\"\nsubject_prefix = \"prod\"\n");
}

#[test]
fn channels_and_prefixes_that_cannot_be_are_refused() {
    let mistakes = Folder::new(
        "[namespace.a]\nchannels = [\"$SYS.>\", \"a..b\", \"ok\"]\nsubject_prefix = \"_tw\"\n[namespace.b]\nchannels = 5\nsubject_prefix = \"a.*\"\n[namespace.c]\nchannels = []",
    )
    .mistakes(&[], &[]);
    let starts = [
        "tailwater.toml:2:13: `namespace.a.channels` holds `$SYS.>`, but no channel begins with `$` or `_`: remove it",
        "tailwater.toml:2:23: `namespace.a.channels` holds `a..b`, which is no channel or pattern: ",
        "tailwater.toml:3:18: `namespace.a.subject_prefix` is `_tw`: it must not begin with `$` or `_`, ",
        "tailwater.toml:5:12: `namespace.b.channels` must be text in quotes or a list of them, but is an integer",
        "tailwater.toml:6:18: `namespace.b.subject_prefix` is `a.*`: use words of ",
        "tailwater.toml:8:12: `namespace.c.channels` is empty: say which channels belong to it, such as [\"c.>\"]",
    ];
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}");
    }
}

#[test]
fn durable_namespaces_and_their_streams_are_judged_together() {
    let text = "[namespace.a]\nchannels = \"a.>\"\ndurable = true\nslow_consumer = \"disconnect\"\nstream = \"ONE\"\n\
                [namespace.b]\nchannels = \"a.b\"\ndurable = true\n\
                [stream.ONE]\nmax_age_secs = 60\nsubjects = [\"x\"]\n[stream.TWO]\n";
    assert_eq!(
        Folder::new(text).mistakes(&[], &[]),
        [
            "tailwater.toml:4:17: `namespace.a.slow_consumer` is for live namespaces: remove it, a durable namespace lets slow clients catch up and loses nothing",
            "tailwater.toml:6:12: `namespace.b.stream` is B, but the namespace overlaps the durable namespace `a`, which is in ONE: give both the same stream",
            "tailwater.toml:9:9: `stream.ONE.duplicate_window_secs` is longer than `stream.ONE.max_age_secs`, which NATS refuses: shorten the window or keep publications longer",
            "tailwater.toml:11:12: `stream.ONE.subjects` lack `a.>`, which a namespace of the stream has: add it",
            "tailwater.toml:12:9: `[stream.TWO]` serves no namespace: set `stream = \"TWO\"` in a durable one",
        ]
    );
    let text = format!("{NEWS}durable = true\n[stream.NEWS]\nmax_age_secs = 10\nduplicate_window_secs = 5\n");
    one_mistake(
        &text,
        "tailwater.toml:4:9: `stream.NEWS.audit_interval_secs` is longer than `stream.NEWS.max_age_secs`: what expires before it is looked for is lost unseen; shorten it",
    );
    one_mistake(
        &format!("{NEWS}stream = \"NEWS\"\n"),
        "tailwater.toml:3:10: `namespace.news.stream` is for durable namespaces: remove it, or set `durable = true`",
    );
}

#[test]
fn a_stream_has_the_subjects_of_its_namespaces_and_the_limits_of_its_table() {
    let config = load(
        "[namespace.a]\nchannels = [\"a.>\", \"a.b\"]\ndurable = true\nstream = \"ONE\"\n\
         [namespace.b]\nchannels = \"x.*\"\nsubject_prefix = \"prod\"\ndurable = true\nstream = \"ONE\"\n\
         [namespace.c]\nchannels = \"c\"\ndurable = true\n[stream.C]\nmax_age_secs = 0\nreplicas = 3\n",
    );
    let subjects = config.streams.iter().map(|stream| {
        let subjects: Vec<_> = stream.subjects.iter().map(|subject| subject.as_str()).collect();
        (&*stream.name, subjects, stream.max_age, stream.replicas)
    });
    let day = Some(Duration::from_secs(86_400));
    assert_eq!(
        subjects.collect::<Vec<_>>(),
        [
            ("C", vec!["c"], None, 3),
            ("ONE", vec!["a.>", "prod.x.*"], day, 1)
        ]
    );
}

#[test]
fn a_durable_namespace_that_would_take_in_what_its_stream_republishes_is_refused() {
    for wide in [">", "*", "*.a", "*.>"] {
        let mistakes = Folder::new(&format!(
            "[namespace.a]\nchannels = [\"b\", \"{wide}\"]\ndurable = true\n"
        ))
        .mistakes(&[], &[]);
        let start =
            format!("tailwater.toml:2:12: `namespace.a.channels` hold `{wide}`, which no stream can have: ");
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with(&start),
            "{mistakes:?}"
        );
    }
    for (wide, why) in [
        (">", "which no stream can have"),
        ("$JS.>", "private"),
        ("_tw.>", "private"),
    ] {
        let text = format!(
            "[namespace.a]\nchannels = \"a.>\"\ndurable = true\n[stream.A]\nsubjects = [\"a.>\", \"{wide}\"]\n"
        );
        let mistakes = Folder::new(&text).mistakes(&[], &[]);
        assert!(mistakes.len() == 1 && mistakes[0].contains(why), "{mistakes:?}");
    }
    load("[namespace.a]\nchannels = \">\"\nsubject_prefix = \"prod\"\ndurable = true\n");
}

#[test]
fn channels_resolve_to_the_most_specific_namespace_or_say_why_not() {
    let config = load(
        "[namespace.deployments]\nchannels = [\"deployments\", \"deployments.>\"]\n\
         [namespace.secret]\nchannels = \"deployments.*.log\"\nwildcards = false\n\
         [namespace.rooms]\nchannels = \"room.*.*\"\n",
    );
    let resolve = |text: &str| {
        let channel = Channel::new(text).expect("a channel");
        let namespace = config.namespaces.resolve(&channel);
        namespace
            .map(|namespace| namespace.name.to_string())
            .map_err(|error| error.to_string())
    };
    let found = |name: &str| Ok(name.to_owned());
    assert_eq!(resolve("deployments"), found("deployments"));
    assert_eq!(resolve("deployments.1.status"), found("deployments"));
    assert_eq!(resolve("deployments.1.log"), found("secret"));
    assert_eq!(resolve("deployments.1.log.line"), found("deployments"));
    assert_eq!(resolve("deployments.*"), found("deployments"));
    assert_eq!(resolve("deployments.*.status"), found("deployments"));
    assert_eq!(
        resolve("room.a.>"),
        Err("the pattern reaches beyond namespace `rooms`: subscribe to a narrower pattern".into())
    );
    assert_eq!(
        resolve("deployments.>"),
        Err("the pattern overlaps namespace `secret`: subscribe to a narrower pattern, and to that namespace apart".into())
    );
    assert_eq!(
        resolve("deployments.*.log"),
        Err("namespace `secret` does not allow wildcards: subscribe to channels by their whole name".into())
    );
    assert_eq!(resolve("elsewhere"), Err("there is no such channel here".into()));
    let elsewhere = Channel::new("elsewhere.*").expect("a channel");
    assert_eq!(
        config.namespaces.resolve(&elsewhere).err(),
        Some(ResolveError::NoSuchChannel)
    );
}
