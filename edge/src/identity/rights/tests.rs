use serde_json::json;

use super::*;
use crate::config::Template;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|text| Template::new(text).unwrap()).collect()
}

fn ann(subscribe: Patterns) -> Identity {
    let claims = json!({"sub": "ann", "tenant": "acme"});
    Identity {
        user: Some("ann".into()),
        grants: Grants {
            subscribe: Some(subscribe),
            ..Grants::default()
        },
        claims: Arc::new(claims.as_object().unwrap().clone()),
        ..Identity::default()
    }
}

fn may(identity: &Identity, channel: &str, namespace: &Namespace) -> Result<(), Denied> {
    identity.may(Operation::Subscribe, &Channel::new(channel).unwrap(), namespace)
}

#[test]
fn nothing_is_allowed_that_nobody_grants() {
    let namespace = Namespace::for_tests();
    assert_eq!(
        may(&ann(Patterns::default()), "a.b", &namespace),
        Err(Denied::NotGranted)
    );
    assert_eq!(
        may(&Identity::default(), "a.b", &namespace),
        Err(Denied::Anonymous)
    );
}

#[test]
fn a_namespace_without_tokens_is_open_to_those_that_have_one_too() {
    let namespace = Namespace {
        anonymous: true,
        ..Namespace::for_tests()
    };
    assert_eq!(may(&Identity::default(), "a.b", &namespace), Ok(()));
    assert_eq!(may(&ann(Patterns::default()), "a.>", &namespace), Ok(()));
}

#[test]
fn a_pattern_is_allowed_only_if_all_of_it_is() {
    let grant = Patterns {
        allow: patterns(&["a.*"]),
        deny: Vec::new(),
    };
    let (ann, namespace) = (ann(grant), Namespace::for_tests());
    assert_eq!(may(&ann, "a.b", &namespace), Ok(()));
    assert_eq!(may(&ann, "a.*", &namespace), Ok(()));
    assert_eq!(may(&ann, "a.>", &namespace), Err(Denied::NotGranted));
    assert_eq!(may(&ann, "a.b.c", &namespace), Err(Denied::NotGranted));
}

#[test]
fn what_is_denied_wins_over_everything_and_is_whatever_a_pattern_touches() {
    let grant = Patterns {
        allow: patterns(&["a.>"]),
        deny: patterns(&["a.secret.>"]),
    };
    let ann = ann(grant);
    let open = Namespace {
        anonymous: true,
        deny: templates(&["a.hidden"]),
        ..Namespace::for_tests()
    };
    for namespace in [&Namespace::for_tests(), &open] {
        assert_eq!(may(&ann, "a.secret.b", namespace), Err(Denied::Explicitly));
        assert_eq!(may(&ann, "a.>", namespace), Err(Denied::Explicitly));
        assert_eq!(may(&ann, "a.b", namespace), Ok(()));
    }
    assert_eq!(may(&ann, "a.hidden", &open), Err(Denied::Explicitly));
    assert_eq!(
        may(&Identity::default(), "a.hidden", &open),
        Err(Denied::Explicitly)
    );
    assert_eq!(may(&Identity::default(), "a.*", &open), Err(Denied::Explicitly));
}

#[test]
fn a_namespace_grants_by_the_claims_of_the_token() {
    let namespace = Namespace {
        allow_subscribe: templates(&["users.{sub}.>", "tenants.{tenant}"]),
        ..Namespace::for_tests()
    };
    let ann = ann(Patterns::default());
    assert_eq!(may(&ann, "users.ann.inbox", &namespace), Ok(()));
    assert_eq!(may(&ann, "users.ann.>", &namespace), Ok(()));
    assert_eq!(may(&ann, "tenants.acme", &namespace), Ok(()));
    for other in ["users.bob.inbox", "users.*.inbox", "users.>", "tenants.*"] {
        assert_eq!(may(&ann, other, &namespace), Err(Denied::NotGranted), "{other}");
    }
    let publish = ann.may(
        Operation::Publish,
        &Channel::new("users.ann.inbox").unwrap(),
        &namespace,
    );
    assert_eq!(publish, Err(Denied::NotGranted));
}

#[test]
fn a_channel_that_the_server_joins_may_be_read_and_not_written() {
    let channel = Channel::new("news.all").unwrap();
    let ann = Identity {
        grants: Grants {
            channels: vec![channel.clone()],
            ..Grants::default()
        },
        ..ann(Patterns::default())
    };
    let namespace = Namespace::for_tests();
    assert_eq!(ann.may(Operation::Subscribe, &channel, &namespace), Ok(()));
    for operation in [Operation::Publish, Operation::Request] {
        assert_eq!(
            ann.may(operation, &channel, &namespace),
            Err(Denied::NotGranted),
            "{operation:?}"
        );
    }
}

#[test]
fn whom_the_service_names_is_whom_placeholders_stand_for() {
    let namespace = Namespace {
        allow_subscribe: templates(&["users.{sub}.>"]),
        ..Namespace::for_tests()
    };
    let named = || ConnectAnswer {
        user: Some("bob".into()),
        ..ConnectAnswer::default()
    };
    for identity in [Identity::default(), ann(Patterns::default())] {
        let bob = identity.with(named());
        assert_eq!(may(&bob, "users.bob.inbox", &namespace), Ok(()));
        assert_eq!(may(&bob, "users.ann.inbox", &namespace), Err(Denied::NotGranted));
    }
}

#[test]
fn a_service_may_grant_something_to_whom_it_does_not_name() {
    let answer = ConnectAnswer {
        subscribe: Some(Patterns {
            allow: patterns(&["a.*"]),
            deny: patterns(&["a.secret"]),
        }),
        ..ConnectAnswer::default()
    };
    let somebody = Identity::default().with(answer);
    let namespace = Namespace::for_tests();
    assert_eq!(may(&somebody, "a.b", &namespace), Ok(()));
    assert_eq!(may(&somebody, "a.secret", &namespace), Err(Denied::Explicitly));
    assert_eq!(may(&somebody, "b", &namespace), Err(Denied::Anonymous));
}
