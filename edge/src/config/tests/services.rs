//! Requests and hooks: who could read or answer them in place of the service is refused.

use super::*;

#[test]
fn requests_and_hooks_are_off_until_they_are_asked_for() {
    let config = load(NEWS);
    let news = config.namespaces.iter().next().expect("a namespace");
    assert!(!news.request && !news.subscribe_hook && !config.namespaces.any_takes_requests());
    assert_eq!(news.request_timeout, Duration::from_secs(5));
    assert!(config.hooks.connect.is_none() && config.hooks.subscribe.is_none());
    assert_eq!(config.requests.max_in_flight, 4096);
    assert_eq!(config.requests.max_in_flight_per_session, 32);
}

#[test]
fn a_hook_needs_no_more_than_a_subject() {
    let hooks = load(&format!(
        "{NEWS}subscribe_hook = true\n[hook.connect]\nsubject = \"_hooks.connect\"\nheaders = [\"Cookie\"]\n\
         on_failure = \"allow\"\n[hook.subscribe]\nsubject = \"auth.subscribe\"\ncache_secs = 60\n"
    ))
    .hooks;
    let (connect, subscribe) = (hooks.connect.expect("a hook"), hooks.subscribe.expect("a hook"));
    assert_eq!(
        (&*connect.subject, connect.on_failure),
        ("_hooks.connect", OnFailure::Allow)
    );
    assert_eq!(connect.headers, ["cookie"]);
    assert_eq!(
        (connect.timeout, connect.max_in_flight),
        (Duration::from_secs(2), 256)
    );
    assert_eq!(
        (&*subscribe.subject, subscribe.on_failure),
        ("auth.subscribe", OnFailure::Deny)
    );
    assert_eq!(
        (subscribe.cache, connect.cache),
        (Duration::from_secs(60), Duration::ZERO)
    );
}

#[test]
fn requests_that_a_stream_would_answer_are_refused() {
    one_mistake(
        "[namespace.news]\nchannels = \"news.>\"\ndurable = true\nrequest = true\n",
        "tailwater.toml:4:11: `namespace.news.request` is `true`, but the stream `NEWS` has subjects of this namespace: \
         it would store the requests and answer them in place of the service; give services a live namespace outside of \
         streams",
    );
    one_mistake(
        "[namespace.news]\nchannels = \"news.>\"\ndurable = true\n[namespace.ask]\nchannels = \"news.ask.>\"\nrequest = true\n",
        "tailwater.toml:6:11: `namespace.ask.request` is `true`, but the stream `NEWS` has subjects of this namespace: \
         it would store the requests and answer them in place of the service; give services a live namespace outside of \
         streams",
    );
}

#[test]
fn a_hook_that_a_client_or_a_stream_could_listen_on_is_refused() {
    one_mistake(
        &format!("{NEWS}[hook.connect]\nsubject = \"news.hook\"\n"),
        "tailwater.toml:4:11: `hook.connect.subject` is `news.hook`, a channel of the namespace `news`: clients could \
         read what the service is asked; use a subject that begins with `_`, such as `_hooks.connect`",
    );
    one_mistake(
        &format!("{NEWS}subject_prefix = \"a\"\n[hook.connect]\nsubject = \"a.news.hook\"\n"),
        "tailwater.toml:5:11: `hook.connect.subject` is `a.news.hook`, a channel of the namespace `news`: clients could \
         read what the service is asked; use a subject that begins with `_`, such as `_hooks.connect`",
    );
    one_mistake(
        &format!(
            "{NEWS}durable = true\n[stream.NEWS]\nsubjects = [\"news.>\", \"auth\"]\n[hook.connect]\nsubject = \"auth\"\n"
        ),
        "tailwater.toml:7:11: `hook.connect.subject` is `auth`, which the stream `NEWS` stores and would answer: use a \
         subject of its own, such as `_hooks.connect`",
    );
    one_mistake(
        &format!("{NEWS}[hook.connect]\nsubject = \"$SYS.x\"\n"),
        "tailwater.toml:4:11: `hook.connect.subject` is `$SYS.x`: what begins with `$` belongs to NATS; use a subject \
         such as `_hooks.connect`",
    );
}

#[test]
fn a_hook_that_nobody_asks_and_one_that_is_not_there_are_refused() {
    one_mistake(
        &format!("{NEWS}[hook.subscribe]\nsubject = \"_hooks.subscribe\"\n"),
        "tailwater.toml:4:11: `hook.subscribe.subject` is set, but no namespace asks the hook: set `subscribe_hook = \
         true` where it is wanted, or remove it",
    );
    one_mistake(
        &format!("{NEWS}subscribe_hook = true\n"),
        "tailwater.toml:3:18: `namespace.news.subscribe_hook` is `true`, but there is no hook to ask: set \
         `hook.subscribe.subject`",
    );
    one_mistake(
        &format!("{NEWS}[hook.connect]\ncache_secs = 5\n"),
        "tailwater.toml:4:14: `hook.connect.cache_secs` needs `hook.connect.subject` beside it",
    );
    one_mistake(
        &format!("{NEWS}[hook.connect]\nsubject = \"_a\"\nheaders = [\"a b\"]\n"),
        "tailwater.toml:5:12: `hook.connect.headers` holds `a b`, which is no name of a header",
    );
}
