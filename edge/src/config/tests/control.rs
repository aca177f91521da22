//! Orders about sessions, and the token of the admin listener.

use super::*;

#[test]
fn orders_are_heard_and_revocations_kept_unless_it_is_turned_off() {
    let control = load(NEWS).control;
    assert!(control.enabled && control.manage_bucket);
    assert_eq!(control.subject, "_tw.control");
    assert_eq!(
        control.revocation_bucket.as_deref(),
        Some("tailwater_revocations")
    );
    assert_eq!(control.revocation_max_age, Duration::from_secs(7 * 24 * 3600));
    let text = format!("[control]\nrevocation_bucket = \"\"\nsubject = \"_ops.edge\"\n{NEWS}");
    let control = load(&text).control;
    assert_eq!(
        (control.revocation_bucket, control.subject.as_str()),
        (None, "_ops.edge")
    );
}

#[test]
fn a_subject_that_a_channel_could_reach_and_a_bucket_that_is_none_are_refused() {
    one_mistake(
        &format!("[control]\nsubject = \"ops.control\"\n{NEWS}"),
        "tailwater.toml:2:11: `control.subject` is `ops.control`: it must begin with `_`, because no channel can, so \
         that no client reaches it",
    );
    one_mistake(
        &format!("[control]\nrevocation_bucket = \"a.b\"\n{NEWS}"),
        "tailwater.toml:2:21: `control.revocation_bucket` is `a.b`: use letters, digits, `_` and `-`, at most 128 of \
         them, or nothing for no bucket",
    );
}

#[test]
fn the_token_of_the_admin_listener_is_long_and_never_prints() {
    let folder = Folder::new(&format!("admin.token_file = \"token\"\n{NEWS}"));
    folder.write("token", "0123456789abcdef\n");
    let config = folder.load(&[], &[]).expect("a valid configuration");
    let token = config.admin.token.as_ref().expect("a token");
    assert_eq!(token.read().expect("a file").reveal(), "0123456789abcdef");
    let config = load(&format!("admin.token = \"0123456789abcdef\"\n{NEWS}"));
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let wrong = "must have 16 or more printable ASCII characters without spaces";
    for (token, column) in [("0123456789abcde", 15), ("0123456789 abcdef", 15)] {
        one_mistake(
            &format!("admin.token = \"{token}\"\n{NEWS}"),
            &format!("tailwater.toml:1:{column}: `admin.token` {wrong}"),
        );
    }
    folder.write("token", "short");
    assert_eq!(
        folder.mistakes(&[], &[]),
        [format!("tailwater.toml:1:20: `admin.token_file` {wrong}")]
    );
    folder.write("token", "0123456789abcdef\n");
    assert_eq!(
        folder.mistakes(&[("TAILWATER_ADMIN__TOKEN", "0123456789abcdef")], &[]),
        ["tailwater.toml:1:20: `admin.token_file` and `admin.token` say the same: keep one of them"]
    );
}
