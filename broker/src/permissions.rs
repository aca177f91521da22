//! The least that the edge's user in NATS must be allowed, and what services must be denied, as a piece of a
//! nats-server configuration.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::bucket::BucketSpec;
use crate::stream::{StreamSpec, api, sync_subject};

/// What the permissions follow from.
#[derive(Debug)]
pub struct Needs<'a> {
    /// The edge's user.
    pub user: &'a str,
    /// Prefix of our inboxes.
    pub inbox_prefix: &'a str,
    /// The JetStream domain.
    pub domain: Option<&'a str>,
    /// Subjects of live channels.
    pub subscribe: &'a [String],
    /// Subjects that clients may publish or ask on, and those of hooks.
    pub publish: &'a [String],
    /// Each stream, with what stands before the subjects of its live publications.
    pub streams: &'a [(&'a StreamSpec, Arc<str>)],
    /// Orders about sessions, if the edge takes any.
    pub control: Option<ControlNeeds<'a>>,
}

/// What orders about sessions follow from.
#[derive(Clone, Copy, Debug)]
pub struct ControlNeeds<'a> {
    /// What stands before the verb of an order.
    pub subject: &'a str,
    /// The bucket of revocations.
    pub bucket: Option<&'a BucketSpec>,
}

/// An `authorization` block with a user for the edge and one for services, passwords to be filled in. Users in JWT have
/// the same permissions.
pub fn least(needs: &Needs<'_>) -> String {
    let inbox = format!("{}.>", needs.inbox_prefix);
    // Publishing there is for `tailwater check`.
    let mut publish = vec![inbox.clone()];
    let mut subscribe = vec![inbox];
    let mut deny = Vec::new();
    let api = api::prefix(needs.domain);
    for (spec, live_prefix) in needs.streams {
        let name = &spec.name;
        let mut requests = vec!["DIRECT.GET", "STREAM.INFO", "STREAM.MSG.GET"];
        if spec.manage {
            requests.extend(["STREAM.CREATE", "STREAM.UPDATE"]);
        }
        publish.extend(requests.iter().map(|request| format!("{api}.{request}.{name}")));
        publish.push(sync_subject(name));
        let live = |subject: &String| format!("{live_prefix}.{subject}");
        subscribe.extend(spec.subjects.iter().map(live));
        deny.extend([format!("{live_prefix}.>"), "_tw.sync.>".to_owned()]);
    }
    if let Some(control) = &needs.control {
        let orders = format!("{}.*", control.subject);
        subscribe.push(orders.clone());
        // An edge that was asked by an operator tells the others.
        publish.push(orders.clone());
        deny.push(orders);
        if let Some(bucket) = control.bucket {
            let (stream, keys) = (format!("KV_{}", bucket.name), format!("$KV.{}.>", bucket.name));
            let mut requests = vec!["DIRECT.GET", "STREAM.INFO"];
            if bucket.manage {
                requests.push("STREAM.CREATE");
            }
            publish.extend(requests.iter().map(|request| format!("{api}.{request}.{stream}")));
            publish.push(match needs.domain {
                Some(_) => format!("{api}.{keys}"),
                None => keys.clone(),
            });
            subscribe.push(keys.clone());
            deny.push(keys);
        }
    }
    publish.extend_from_slice(needs.publish);
    subscribe.extend_from_slice(needs.subscribe);
    let mut text = String::from("authorization {\n  users: [\n");
    user(
        &mut text,
        needs.user,
        &[("publish", "allow", publish), ("subscribe", "allow", subscribe)],
        // Orders are answered, wherever that is wanted.
        needs.control.is_some(),
    );
    if !deny.is_empty() {
        text.push_str("    # Every user but the edge: what they published there would pass for publications of a stream,\n");
        text.push_str("    # or end sessions; who is to give such orders may publish them.\n");
        text.push_str(
            "    # Nor should they have requests to JetStream, which can be answered on any subject.\n",
        );
        user(&mut text, "service", &[("publish", "deny", deny)], false);
    }
    text.push_str("  ]\n}\n");
    text
}

fn user(text: &mut String, name: &str, rules: &[(&str, &str, Vec<String>)], may_answer: bool) {
    let _ = writeln!(
        text,
        "    {{ user: {}, password: \"CHANGE-ME\", permissions: {{",
        quoted(name)
    );
    for (action, rule, subjects) in rules {
        let mut subjects: Vec<String> = subjects.iter().map(|subject| quoted(subject)).collect();
        subjects.sort();
        subjects.dedup();
        let list = subjects.join(",\n          ");
        let _ = writeln!(text, "      {action}: {{ {rule}: [\n          {list}\n      ] }}");
    }
    if may_answer {
        text.push_str("      allow_responses: true\n");
    }
    text.push_str("    } }\n");
}

/// Text in quotes as nats-server reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
