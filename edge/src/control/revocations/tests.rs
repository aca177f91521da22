//! What is revoked, what is forgotten, and what a key in the bucket means.

use super::*;

fn user(name: &str) -> Revoked {
    Revoked::User(name.into())
}

fn token(id: &str) -> Revoked {
    Revoked::Token(id.into())
}

fn terms(issued_before: u64, forget_at: u64) -> Terms {
    Terms {
        issued_before,
        forget_at,
    }
}

fn entry(key: &str, value: Option<&str>, time: Option<&str>) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.map(|value| value.to_owned().into()),
        time: time.map(str::to_owned),
    }
}

#[test]
fn a_name_of_plain_tokens_is_its_own_key_and_every_other_one_is_encoded() {
    for (revoked, key) in [
        (user("ann"), "user.ann"),
        (user("ann.smith-2"), "user.ann.smith-2"),
        (token("0f8a-11"), "token.0f8a-11"),
        (user("auth0|5"), "user.=YXV0aDB8NQ"),
        (user("a..b"), "user.=YS4uYg"),
        (user("ann@example.org"), "user.=YW5uQGV4YW1wbGUub3Jn"),
        (user("=YQ"), "user.=PVlR"),
        (user("a b\r\n>*"), "user.=YSBiDQo-Kg"),
    ] {
        assert_eq!(revoked.key(), key);
        assert_eq!(Revoked::of_key(key), Some(revoked));
    }
    for strange in ["ann", "group.ann", "user.=?", "user.=_w"] {
        assert_eq!(Revoked::of_key(strange), None, "{strange}");
    }
}

#[test]
fn a_user_is_revoked_up_to_a_time_and_a_token_for_good() {
    let revocations = Revocations::default();
    revocations.tell(user("ann"), terms(100, u64::MAX)).expect("room");
    revocations.tell(token("t1"), terms(0, u64::MAX)).expect("room");
    for (who, id, at, revoked) in [
        (Some("ann"), None, Some(99), true),
        (Some("ann"), None, None, true),
        (Some("ann"), None, Some(100), false),
        (Some("ann"), Some("t1"), Some(100), true),
        (Some("bob"), Some("t2"), Some(1), false),
        (None, Some("t1"), None, true),
        (None, None, None, false),
    ] {
        assert_eq!(
            revocations.is_revoked(who, id, at),
            revoked,
            "{who:?} {id:?} {at:?}"
        );
    }
    // An older order does not take back a newer one.
    revocations.tell(user("ann"), terms(50, 60)).expect("room");
    assert!(revocations.is_revoked(Some("ann"), None, Some(99)));
    assert_eq!(revocations.issued_before("ann"), Some(100));
}

#[test]
fn what_leaves_the_bucket_or_has_expired_is_forgotten() {
    let revocations = Revocations::default();
    let bucket = |names: &[&str]| -> Vec<_> {
        names
            .iter()
            .map(|name| (user(name), Some(terms(100, 1000))))
            .collect()
    };
    assert!(revocations.replace(bucket(&["ann", "bob"])));
    assert!(!revocations.replace(bucket(&["ann"])));
    assert!(!revocations.is_revoked(Some("bob"), None, None));
    assert!(revocations.is_revoked(Some("ann"), None, None));
    assert!(!revocations.change(user("ann"), Some(terms(100, 1000))));
    assert!(revocations.change(user("ann"), Some(terms(101, 1000))));
    revocations.forget(999);
    assert_eq!(revocations.stored(), 1);
    revocations.forget(1000);
    assert!(!revocations.is_revoked(Some("ann"), None, None));
    // Deleted in the bucket: it does not go on beside it either.
    revocations.tell(user("ann"), terms(100, u64::MAX)).expect("room");
    assert!(!revocations.change(user("ann"), None));
    assert!(!revocations.is_revoked(Some("ann"), None, None));
    // Deleted further on in the same reading.
    let mut twice = bucket(&["ann"]);
    twice.push((user("ann"), None));
    assert!(!revocations.replace(twice));
}

#[test]
fn an_entry_without_a_value_revokes_what_is_older_than_itself() {
    let at = "2027-01-15T08:00:00.123456789Z";
    let (read, is_readable) = Terms::of_entry(&entry("user.ann", Some(" "), Some(at)), None, 5);
    assert_eq!((read, is_readable), (terms(1_800_000_001, u64::MAX), true));
    let value = r#"{"issued_before":7,"expires_at":90,"reason":"left","by":"somebody"}"#;
    let (read, is_readable) = Terms::of_entry(&entry("user.ann", Some(value), Some(at)), None, 5);
    assert_eq!((read, is_readable), (terms(7, 90), true));
    // The bucket forgets it first.
    let hour = Some(Duration::from_secs(3600));
    let (read, _) = Terms::of_entry(&entry("user.ann", Some(""), None), hour, 5);
    assert_eq!(read, terms(6, 3605));
}

#[test]
fn an_entry_that_cannot_be_read_revokes_all_the_same() {
    for value in ["yes", "[true]", r#"{"issued_before":"soon"}"#, "\u{fffd}"] {
        let (read, is_readable) = Terms::of_entry(&entry("user.ann", Some(value), None), None, 5);
        assert_eq!((read, is_readable), (terms(6, u64::MAX), false), "{value}");
    }
}
