//! What hooks ask and understand, without NATS.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue, ORIGIN};
use tailwater_protocol::channel::Pattern;

use super::answer::{Denied, Verdict};
use super::hook::Grant as _;
use super::*;
use crate::identity::claims::Patterns;

fn connect(answer: &str) -> Result<Verdict<ConnectAnswer>, String> {
    ConnectAnswer::read(answer.as_bytes())
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

#[test]
fn an_answer_grants_what_it_names_and_nothing_else() {
    assert_eq!(connect(r#"{"allow":true}"#), Ok(Ok(ConnectAnswer::default())));
    let answer = r#"{"allow":true,"reason":null,"user":"ada","expires_at":1767225600,"subscribe":["a.>","b.*"],
        "publish":{"allow":["c.>"],"deny":["c.x"]},"request":[],"channels":["a.1"]} "#;
    let expected = ConnectAnswer {
        user: Some("ada".into()),
        expires_at: Some(1_767_225_600),
        subscribe: Some(Patterns {
            allow: patterns(&["a.>", "b.*"]),
            deny: patterns(&[]),
        }),
        publish: Some(Patterns {
            allow: patterns(&["c.>"]),
            deny: patterns(&["c.x"]),
        }),
        request: Some(Patterns::default()),
        channels: [Channel::new("a.1").unwrap()].into(),
    };
    assert_eq!(connect(answer), Ok(Ok(expected)));
}

#[test]
fn a_refusal_keeps_its_reason_which_is_bounded() {
    for (answer, reason) in [
        (r#"{"allow":false}"#, None),
        (r#"{"allow":false,"reason":""}"#, None),
        (r#"{"allow":false,"reason":"no","user":"ada"}"#, Some("no".into())),
    ] {
        assert_eq!(connect(answer), Ok(Err(Denied(reason))));
    }
    let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "é".repeat(500));
    assert_eq!(
        <()>::read(long.as_bytes()),
        Ok(Err(Denied(Some("é".repeat(120).into()))))
    );
}

#[test]
fn an_answer_that_is_none_names_the_field_that_is_wrong() {
    for (answer, says) in [
        ("", "EOF"),
        ("{}", "`allow`"),
        (r#"{"allow":1}"#, "`allow`: invalid type"),
        (r#"{"allow":true,"usr":"ada"}"#, "`usr`"),
        (r#"{"allow":true,"user":""}"#, "`user`: a user has"),
        (
            r#"{"allow":true,"expires_at":"soon"}"#,
            "`expires_at`: invalid type",
        ),
        (
            r#"{"allow":true,"subscribe":["a..b"]}"#,
            "`subscribe`: a list of patterns",
        ),
        (
            r#"{"allow":true,"publish":{"alow":[]}}"#,
            "`publish`: a list of patterns",
        ),
        (r#"{"allow":true,"channels":["$SYS.>"]}"#, "`channels[0]`"),
        (r#"{"allow":true} x"#, "trailing"),
    ] {
        let mistake = connect(answer).unwrap_err();
        assert!(mistake.contains(says), "{answer}: {mistake}");
    }
    let large = format!(r#"{{"allow":true,"reason":"{}"}}"#, "x".repeat(70_000));
    assert!(connect(&large).unwrap_err().contains("65536"));
    assert!(
        <()>::read(br#"{"allow":true,"user":"ada"}"#)
            .unwrap_err()
            .contains("`user`")
    );
}

#[test]
fn what_a_service_says_ends_when_it_says_so() {
    let holds = |answer: &str| connect(answer).unwrap().unwrap().holds();
    assert_eq!(holds(r#"{"allow":true}"#), None);
    assert_eq!(
        holds(r#"{"allow":true,"expires_at":1}"#),
        Some(std::time::Duration::ZERO)
    );
    assert!(
        holds(r#"{"allow":true,"expires_at":99999999999}"#)
            .unwrap()
            .as_secs()
            > 1_000_000
    );
    let _ = holds(r#"{"allow":true,"expires_at":18446744073709551615}"#);
}

#[test]
fn of_a_handshake_only_what_is_named_is_kept_and_values_are_never_printed() {
    let mut headers = HeaderMap::new();
    headers.append(COOKIE, HeaderValue::from_static("a=1"));
    headers.append(COOKIE, HeaderValue::from_static("b=2"));
    headers.append(ORIGIN, HeaderValue::from_static("https://a.example"));
    headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    headers.append("x-list", HeaderValue::from_static("1"));
    headers.append("x-list", HeaderValue::from_bytes(b"\xff").unwrap());
    let named = [
        COOKIE,
        HeaderName::from_static("x-list"),
        COOKIE,
        HeaderName::from_static("x-absent"),
    ];
    let kept = KeptHeaders::of(&headers, named.iter()).unwrap();
    let shown = |named: &[HeaderName]| {
        serde_json::to_string(&Shown {
            kept: Some(&kept),
            named,
        })
        .unwrap()
    };
    assert_eq!(
        shown(&named),
        "{\"cookie\":\"a=1; b=2\",\"x-list\":\"1, \u{fffd}\"}"
    );
    assert_eq!(shown(&[COOKIE, AUTHORIZATION]), r#"{"cookie":"a=1; b=2"}"#);
    assert_eq!(shown(&[]), "{}");
    assert_eq!(format!("{kept:?}"), r#"{"cookie", "x-list"}"#);
    assert!(KeptHeaders::of(&headers, [HeaderName::from_static("x-absent")].iter()).is_none());
}

#[test]
fn a_client_is_told_the_reason_of_a_refusal_and_when_to_try_again_after_a_failure() {
    let channel = Channel::new("news.a").unwrap();
    let denied = |reason: Option<&str>| {
        let reason = reason.map(Into::into);
        HookRefusal::Denied { reason }.error(Some(&channel))
    };
    assert_eq!(
        (denied(Some("members only")).message.as_str(), denied(None).code),
        ("members only", ErrorCode::Forbidden)
    );
    let failed = HookRefusal::Failed.error(None);
    assert_eq!(
        (failed.code, failed.retry_after_ms.is_some(), failed.channel),
        (ErrorCode::Unavailable, true, None)
    );
}
