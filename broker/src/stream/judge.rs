//! Compares a stream with what the configuration says, from the stream's configuration alone.
//!
//! Each difference has a weight, and that decides:
//!
//! | difference | managed | only verified |
//! | --- | --- | --- |
//! | no `republish`, `allow_direct` off, subjects lacking | changed | refused |
//! | another `republish` that keeps whole subjects behind a prefix | used as it is | used as it is |
//! | any other `republish`; a mirror; `sealed`, `no_ack`; a subject transform; retention by interest or as a work queue; `discard: new` | refused | refused |
//! | larger limits, more replicas, TTL per message, duplicate window | changed | warned of |
//! | smaller limits; memory where a file is wanted | refused | warned of |
//! | fewer replicas, no TTL wanted, a file where memory is wanted, sources, deletes and purges allowed | kept, warned of | kept, warned of |
//! | more subjects than wanted | kept | kept |
//!
//! Refused is what could lose publications that are stored, what JetStream cannot change, and what somebody else
//! may rely on: a person decides that. A limit of a stream that is only verified is its owner's affair.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::plan::{Change, Plan, nanoseconds, wanted_subjects};
use super::republish::{self, Republish};
use super::subjects::{includes, overlap, widest};
use super::{LIVE_PREFIX, Storage, StreamSpec, sync_subject};

/// Compares what JetStream has with what the configuration says.
pub(super) fn judge(spec: &StreamSpec, config: &Map<String, Value>) -> Plan {
    let plan = Plan::default();
    let mut judge = Judge { spec, config, plan };
    if judge.kind() {
        judge.subjects();
        judge.republish();
        judge.flags();
        judge.limits();
        judge.storage();
    }
    judge.plan
}

/// How much a difference matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Durable channels cannot be served like this.
    Essential,
    /// The stream is not what its table in the configuration says.
    Limit,
    /// Worth a line.
    Note,
}

struct Judge<'a> {
    spec: &'a StreamSpec,
    config: &'a Map<String, Value>,
    plan: Plan,
}

impl Judge<'_> {
    /// What no edge can serve or change; false for a stream of which nothing else matters.
    fn kind(&mut self) -> bool {
        let name = &self.spec.name;
        if let Some(mirror) = self.config.get("mirror") {
            let origin = mirror
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or("another stream");
            self.refuse(
                format!("it is a mirror of `{origin}`, and a mirror takes no messages of its own, such as the one that holds its epoch"),
                format!("name the origin in the namespace (`stream = \"{origin}\"`) or another stream that is no mirror"),
            );
            return false;
        }
        if self.flag("sealed") {
            self.refuse(
                "it is sealed, so nothing can be stored in it",
                "name another stream in the namespace",
            );
            return false;
        }
        let retention = self.text("retention", "limits").to_owned();
        if retention != "limits" {
            self.refuse(
                format!(
                    "its `retention` is `{retention}`, which deletes publications once they are consumed"
                ),
                "name a stream whose `retention` is `limits` in the namespace",
            );
        }
        if self.text("discard", "old") != "old" {
            self.refuse(
                "its `discard` is `new`, so a full stream refuses what is published, unseen by who waits for no answer, instead of dropping the oldest",
                format!("run `nats stream edit {name} --discard=old`"),
            );
        }
        if self.flag("no_ack") {
            self.refuse(
                "it answers no publication (`no_ack`), and the edge needs the answers",
                format!("set `no_ack` to false: `nats stream edit {name} --ack`"),
            );
        }
        if self
            .config
            .get("subject_transform")
            .is_some_and(|transform| !transform.is_null())
        {
            self.refuse(
                "it renames what is published (`subject_transform`), so channels would not be where the namespace says",
                format!("run `nats stream edit {name} --no-transform`, or name another stream in the namespace"),
            );
        }
        let sources = self.config.get("sources").and_then(Value::as_array);
        if sources.is_some_and(|sources| !sources.is_empty()) {
            self.note("it also takes publications from other streams (`sources`), which count as its own from then on");
        }
        true
    }

    fn subjects(&mut self) {
        let list = self.config.get("subjects").and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        let has: Vec<String> = texts.map(str::to_owned).collect();
        let wanted = wanted_subjects(self.spec);
        let lacks: Vec<&String> = wanted
            .iter()
            .filter(|subject| !has.iter().any(|known| includes(known, subject)))
            .collect();
        if lacks.is_empty() {
            return;
        }
        let crossing = lacks.iter().find_map(|subject| {
            let crosses = |known: &&String| overlap(known, subject) && !includes(subject, known);
            has.iter()
                .find(crosses)
                .map(|known| ((*subject).clone(), known.clone()))
        });
        if let Some((subject, known)) = crossing {
            self.refuse(
                format!("it lacks the subject `{subject}`, which overlaps its subject `{known}`, and NATS takes no two that do"),
                format!("narrow one of them, or set `stream.{}.subjects` to what the stream has", self.spec.name),
            );
            return;
        }
        let lacking = lacks
            .iter()
            .map(|subject| format!("`{subject}`"))
            .collect::<Vec<_>>();
        let found = format!("it lacks the subjects {}", lacking.join(", "));
        let all = widest(has.into_iter().chain(wanted).collect());
        let option = format!("--subjects='{}'", all.join(","));
        self.change(Weight::Essential, found, option, "subjects", json!(all));
    }

    fn republish(&mut self) {
        let given = self
            .config
            .get("republish")
            .filter(|republish| !republish.is_null());
        let sync = sync_subject(&self.spec.name);
        let wanted = wanted_subjects(self.spec);
        // Whether epochs are republished does not matter.
        let wanted = wanted
            .iter()
            .filter(|subject| **subject != sync)
            .map(String::as_str);
        match republish::judge(given, wanted) {
            Republish::Prefix(prefix) => {
                if !prefix.starts_with(['_', '$']) {
                    self.note(format!(
                        "it republishes to `{prefix}.>`, which namespaces can reach: none should have channels there"
                    ));
                }
                self.plan.live_prefix = Some(prefix);
            }
            Republish::Absent => {
                let found =
                    "it republishes nothing, so live publications would not be known by their offsets";
                let option = format!("--republish-source='>' --republish-destination='{LIVE_PREFIX}.>'");
                self.change(Weight::Essential, found, option, "republish", republish::ours());
                self.plan.live_prefix = Some(LIVE_PREFIX.into());
            }
            Republish::Unfit(why) => {
                let name = &self.spec.name;
                let field = republish::ours();
                self.refuse(
                    why,
                    format!(
                        "set `republish` to {field} (`nats stream edit {name} --republish-source='>' \
                         --republish-destination='{LIVE_PREFIX}.>'`), once nobody needs it as it is"
                    ),
                );
            }
        }
    }

    fn flags(&mut self) {
        if !self.flag("allow_direct") {
            let found = "its `allow_direct` is false, so history cannot be read from any server";
            self.change(
                Weight::Essential,
                found,
                "--allow-direct",
                "allow_direct",
                json!(true),
            );
        }
        match (self.spec.allow_message_ttl, self.flag("allow_msg_ttl")) {
            (true, false) => {
                let found = "its `allow_msg_ttl` is false, so publishers may not set `Nats-TTL`";
                self.change(
                    Weight::Limit,
                    found,
                    "--allow-msg-ttl",
                    "allow_msg_ttl",
                    json!(true),
                );
            }
            (false, true) => {
                self.note("publishers may set `Nats-TTL` (`allow_msg_ttl`), which NATS cannot take back")
            }
            _ => {}
        }
        let (deletes, purges) = (!self.flag("deny_delete"), !self.flag("deny_purge"));
        let (what, fields) = match (deletes, purges) {
            (true, true) => ("deleted and purged", "`deny_delete` and `deny_purge` forbid"),
            (true, false) => ("deleted", "`deny_delete` forbids"),
            (false, true) => ("purged", "`deny_purge` forbids"),
            (false, false) => return,
        };
        self.note(format!(
            "its messages may be {what}, which clients cannot tell from a loss; {fields} that for ever"
        ));
    }

    fn limits(&mut self) {
        let spec = self.spec;
        let plain = |number: u64| number.to_string();
        let age = |number: u64| format!("{:?}", Duration::from_nanos(number));
        self.limit(
            (
                "max_msgs_per_subject",
                "--max-msgs-per-subject",
                "max_messages_per_channel",
            ),
            spec.max_messages_per_subject.map(Into::into),
            -1,
            plain,
        );
        self.limit(
            ("max_age", "--max-age", "max_age_secs"),
            spec.max_age.map(nanoseconds),
            0,
            age,
        );
        self.limit(
            ("max_bytes", "--max-bytes", "max_bytes"),
            spec.max_bytes.map(Into::into),
            -1,
            plain,
        );
        let window = nanoseconds(spec.duplicate_window);
        let has = self.number("duplicate_window");
        if has != Some(window) {
            let has = has.map_or_else(|| "the server's default".to_owned(), age);
            let found = format!("its `duplicate_window` is {has} instead of {}", age(window));
            let option = format!("--dupe-window={}", age(window));
            self.change(Weight::Limit, found, option, "duplicate_window", json!(window));
        }
    }

    /// Compares one limit, of which `None` is none at all and `none` is how JetStream writes that.
    fn limit(
        &mut self,
        (field, option, key): (&'static str, &str, &str),
        wanted: Option<u64>,
        none: i64,
        show: impl Fn(u64) -> String,
    ) {
        let has = self.number(field).filter(|number| *number > 0);
        let text = |limit: Option<u64>| limit.map_or_else(|| "without limit".to_owned(), &show);
        let found = format!(
            "its `{field}` is {}, the configuration says {}",
            text(has),
            text(wanted)
        );
        let option = format!("{option}={}", wanted.map_or_else(|| none.to_string(), &show));
        match (has, wanted) {
            (has, wanted) if has == wanted => {}
            (Some(has), wanted) if wanted.is_none_or(|wanted| wanted > has) => {
                let value = wanted.map_or(json!(none), |wanted| json!(wanted));
                self.change(Weight::Limit, found, option, field, value);
            }
            _ => {
                let name = &self.spec.name;
                let remedy = format!(
                    "publications that are stored would be lost: run `nats stream edit {name} {option}` if that is \
                     meant, else change `stream.{name}.{key}`"
                );
                self.weigh(Weight::Limit, format!("{found}: {remedy}"));
            }
        }
    }

    fn storage(&mut self) {
        let name = self.spec.name.clone();
        match (self.text("storage", "file"), self.spec.storage) {
            ("memory", Storage::File) => self.weigh(
                Weight::Limit,
                format!(
                    "it is kept in memory, where a restart of NATS loses it, and the configuration says `file`, which JetStream cannot \
                     change: name another stream in the namespace, or set `stream.{name}.storage = \"memory\"`"
                ),
            ),
            ("file", Storage::Memory) => self.note(format!(
                "it is kept in files, and JetStream cannot change that to memory; `stream.{name}.storage = \"file\"` says so"
            )),
            _ => {}
        }
        let (has, wanted) = (
            self.number("num_replicas").unwrap_or(1),
            u64::from(self.spec.replicas),
        );
        if has < wanted {
            let found = format!("it has {has} replicas instead of {wanted}");
            let option = format!("--replicas={wanted}");
            self.change(Weight::Limit, found, option, "num_replicas", json!(wanted));
        } else if has > wanted {
            self.note(format!(
                "it has {has} replicas, more than the {wanted} of the configuration, which are kept: set `stream.{name}.replicas = {has}`, \
                 or run `nats stream edit {name} --replicas={wanted}`"
            ));
        }
    }

    /// A change that JetStream can make: made where the stream is managed, else asked for.
    fn change(
        &mut self,
        weight: Weight,
        found: impl Into<String>,
        option: impl AsRef<str>,
        field: &'static str,
        value: Value,
    ) {
        let found = found.into();
        if self.spec.manage {
            self.plan.changes.push(Change { field, value, found });
            return;
        }
        let (name, option) = (&self.spec.name, option.as_ref());
        let text = format!("{found}: set `{field}` to {value} (`nats stream edit {name} {option}`)");
        self.weigh(weight, text);
    }

    fn refuse(&mut self, found: impl AsRef<str>, remedy: impl AsRef<str>) {
        self.weigh(
            Weight::Essential,
            format!("{}: {}", found.as_ref(), remedy.as_ref()),
        );
    }

    fn note(&mut self, text: impl Into<String>) {
        self.weigh(Weight::Note, text.into());
    }

    fn weigh(&mut self, weight: Weight, text: String) {
        let refused = match weight {
            Weight::Essential => true,
            Weight::Limit => self.spec.manage,
            Weight::Note => false,
        };
        if refused {
            self.plan.refusals.push(text);
        } else {
            self.plan.warnings.push(text);
        }
    }

    fn flag(&self, field: &str) -> bool {
        self.config.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, field: &str, default: &'static str) -> &str {
        self.config.get(field).and_then(Value::as_str).unwrap_or(default)
    }

    /// A number that is not negative.
    fn number(&self, field: &str) -> Option<u64> {
        self.config.get(field).and_then(Value::as_u64)
    }
}
