//! Times, audience, issuer, and what a token permits.

use super::*;
use crate::identity::claims::{Grants, Patterns};

/// What a token with these claims is verified as, by an issuer as `change` makes it.
async fn with(more: Value, change: impl FnOnce(&mut IdentityConfig)) -> Result<Claims, TokenError> {
    let (keys, signer) = secret();
    let mut config = config(vec![issuer("one", keys)]);
    change(&mut config);
    let mut claims = ann(more);
    claims.retain(|_, value| !value.is_null());
    verify(&config, &signer.sign(&claims, None).expect("a token")).await
}

async fn plain(more: Value) -> Result<Claims, TokenError> {
    with(more, |_| {}).await
}

#[tokio::test]
async fn a_token_is_refused_once_its_leeway_is_over() {
    assert!(plain(json!({"exp": now() - 20})).await.is_ok());
    refused(plain(json!({"exp": now() - 40})).await, &TokenError::Expired);
    refused(plain(json!({"exp": 0})).await, &TokenError::Expired);
    refused(
        plain(json!({"exp": (now() - 40) as f64 + 0.5})).await,
        &TokenError::Expired,
    );
    let strict = |config: &mut IdentityConfig| config.leeway = Duration::ZERO;
    refused(
        with(json!({"exp": now() - 2}), strict).await,
        &TokenError::Expired,
    );
    let claims = plain(json!({"exp": (now() + 60) as f64 + 0.5}))
        .await
        .expect("it is accepted");
    assert!(
        claims
            .expires_at
            .is_some_and(|at| at >= now() + 58 && at <= now() + 60)
    );
}

#[tokio::test]
async fn a_token_is_refused_before_its_time() {
    assert!(plain(json!({"nbf": now() + 20})).await.is_ok());
    refused(plain(json!({"nbf": now() + 60})).await, &TokenError::NotYetValid);
    let strict = |config: &mut IdentityConfig| config.leeway = Duration::ZERO;
    refused(
        with(json!({"nbf": now() + 10}), strict).await,
        &TokenError::NotYetValid,
    );
    let message = "`nbf` of the token must be a time in seconds since 1970".to_owned();
    refused(plain(json!({"nbf": "soon"})).await, &TokenError::Claim(message));
}

#[tokio::test]
async fn a_token_must_say_when_it_expires_unless_that_is_switched_off() {
    let open = |config: &mut IdentityConfig| config.require_expiry = false;
    refused(plain(json!({"exp": null})).await, &TokenError::NoExpiry);
    for exp in [json!("tomorrow"), json!(-1), json!(1e300), json!(true)] {
        refused(plain(json!({"exp": exp})).await, &TokenError::NoExpiry);
        let message = "`exp` of the token must be a time in seconds since 1970".to_owned();
        refused(with(json!({"exp": exp}), open).await, &TokenError::Claim(message));
    }
    assert!(plain(json!({"exp": [now() + 60]})).await.is_err());
    let claims = with(json!({"exp": null}), open).await.expect("it is accepted");
    assert_eq!(claims.expires_at, None);
    refused(with(json!({"exp": now() - 60}), open).await, &TokenError::Expired);
}

#[tokio::test]
async fn the_audience_must_be_ours_in_every_form() {
    let ours =
        |config: &mut IdentityConfig| config.issuers[0].audience = vec!["edge".to_owned(), "live".to_owned()];
    for aud in [json!("edge"), json!("live"), json!(["other", "edge"])] {
        assert!(with(json!({"aud": aud}), ours).await.is_ok(), "{aud}");
    }
    for aud in [
        json!("other"),
        json!("Edge"),
        json!(["other"]),
        json!([]),
        json!(7),
        json!({"edge": 1}),
        json!(null),
    ] {
        refused(with(json!({"aud": aud}), ours).await, &TokenError::Audience);
    }
    // A token for somebody is not for anybody.
    for aud in [
        json!("edge"),
        json!(["edge"]),
        json!([]),
        json!(7),
        json!({"edge": 1}),
    ] {
        refused(plain(json!({"aud": aud})).await, &TokenError::Audience);
    }
    assert!(plain(json!({"aud": null})).await.is_ok());
}

#[tokio::test]
async fn names_and_times_come_out_as_they_went_in() {
    let claims = plain(json!({"jti": "t-1", "iat": 1_700_000_000, "tenant": "acme"}))
        .await
        .expect("accepted");
    assert_eq!(claims.user.as_deref(), Some("ann"));
    assert_eq!(claims.token_id.as_deref(), Some("t-1"));
    assert_eq!(claims.issued_at, Some(1_700_000_000));
    assert_eq!(claims.all["tenant"], "acme");
    let claims = plain(json!({"sub": null, "iat": null})).await.expect("accepted");
    assert_eq!(
        (claims.user, claims.token_id, claims.issued_at),
        (None, None, None)
    );
    for (claim, value) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("jti", json!("a\nb")),
        ("sub", json!("é".repeat(129))),
    ] {
        let error = plain(json!({claim: value})).await.expect_err("it is refused");
        let expected =
            format!("`{claim}` of the token must be text of 1 to 256 bytes without control characters");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_token_says_what_its_bearer_may_do() {
    assert_eq!(
        plain(json!({})).await.expect("accepted").tailwater,
        Grants::default()
    );
    let claims = plain(json!({
        "tenant": "acme",
        "tailwater": {
            "subscribe": ["users.{sub}.>", "orgs.{tenant}.*"],
            "publish": {"allow": ["chat.>"], "deny": ["chat.admin.>"]},
            "request": {},
            "channels": ["users.{sub}.inbox", "news", "news"],
            "later": ["what an older edge does not know"],
        },
    }));
    let grants = claims.await.expect("accepted").tailwater;
    let text = |patterns: &Patterns| {
        let texts = |list: &[tailwater_protocol::channel::Pattern]| {
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        (texts(&patterns.allow), texts(&patterns.deny))
    };
    let pair = |allow: &str, deny: &str| Some((allow.to_owned(), deny.to_owned()));
    assert_eq!(
        grants.subscribe.as_ref().map(text),
        pair("users.ann.> orgs.acme.*", "")
    );
    assert_eq!(grants.publish.as_ref().map(text), pair("chat.>", "chat.admin.>"));
    assert_eq!(grants.request.as_ref().map(text), pair("", ""));
    let channels: Vec<_> = grants.channels.iter().map(ToString::to_string).collect();
    assert_eq!(channels, ["users.ann.inbox", "news"]);
}

#[tokio::test]
async fn permissions_that_cannot_be_understood_make_the_whole_token_worthless() {
    let many = |count: usize| (0..count).map(|number| format!("a.{number}")).collect::<Vec<_>>();
    let cases = [
        (json!([]), "`tailwater` of the token must be an object"),
        (
            json!({"subscribe": "a"}),
            "`tailwater.subscribe` of the token must be a list of patterns, or hold `allow` and `deny`",
        ),
        (
            json!({"publish": {"allow": ["a"], "denny": ["b"]}}),
            "`tailwater.publish` of the token may hold `allow` and `deny` only",
        ),
        (
            json!({"request": {"deny": "a"}}),
            "`tailwater.request.deny` of the token must be a list of patterns",
        ),
        (
            json!({"subscribe": ["a", "b..c"]}),
            "pattern 2 of `tailwater.subscribe` is no pattern of channels",
        ),
        (
            json!({"subscribe": [7]}),
            "pattern 1 of `tailwater.subscribe` is no pattern of channels",
        ),
        (
            json!({"publish": {"deny": ["a.{tenant}"]}}),
            "pattern 1 of `tailwater.publish.deny` names a claim that is missing, or is no single word or integer",
        ),
        (
            json!({"subscribe": ["a.{sub"]}),
            "pattern 1 of `tailwater.subscribe` has a `{` or `}` that belongs to no placeholder such as `{sub}`",
        ),
        (
            json!({"subscribe": many(65)}),
            "`tailwater.subscribe` of the token holds more than 64 patterns",
        ),
        (
            json!({"subscribe": {"allow": many(40), "deny": many(40)}}),
            "`tailwater.subscribe` of the token holds more than 64 patterns",
        ),
        (
            json!({"channels": many(65)}),
            "`tailwater.channels` of the token holds more than 64 channels",
        ),
        (
            json!({"channels": {}}),
            "`tailwater.channels` of the token must be a list of channels",
        ),
        (
            json!({"channels": ["a", ">"]}),
            "channel 2 of `tailwater.channels` begins as no channel may",
        ),
        (
            json!({"channels": ["$SYS.a"]}),
            "channel 1 of `tailwater.channels` is no pattern of channels",
        ),
        (
            json!({"channels": ["_INBOX.a"]}),
            "channel 1 of `tailwater.channels` begins as no channel may",
        ),
    ];
    for (tailwater, expected) in cases {
        let verified = plain(json!({"tailwater": tailwater})).await;
        refused(verified, &TokenError::Claim(expected.to_owned()));
    }
    let full = plain(json!({"tailwater": {"subscribe": many(64), "channels": many(64)}})).await;
    assert_eq!(full.expect("accepted").tailwater.channels.len(), 64);
}
