//! What Prometheus would read of an edge, read strictly: anything that its text format (version 0.0.4) forbids or its
//! linter complains of fails the test.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Edge, RawSocket};

/// Name and labels of one sample, the labels as they are written.
type Sample = (String, String);

/// One scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Kind of each metric.
    pub kinds: BTreeMap<String, String>,
    /// Question of each metric.
    pub questions: BTreeMap<String, String>,
    samples: BTreeMap<Sample, f64>,
}

impl Scrape {
    /// Scrapes the admin listener.
    ///
    /// # Panics
    /// If it refuses, or answers what is not the format.
    pub async fn of(edge: &Edge) -> Self {
        let mut socket = RawSocket::open(edge.server().admin_addr()).await;
        let head = socket
            .request("GET /metrics HTTP/1.1", &["Host: localhost"])
            .await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Self::parse(&socket.body(&head).await)
    }

    /// Reads the format.
    ///
    /// # Panics
    /// At what is wrong.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut scrape = Self::default();
        // The metric whose lines these are: each has one block.
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, question) = rest.split_once(' ').expect("a name and a text");
                assert!(!question.trim().is_empty(), "{line}");
                let before = scrape.questions.insert(name.to_owned(), question.to_owned());
                assert_eq!(before, None, "{name} is explained twice");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert_eq!(name, current, "its text stands before it");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let before = scrape.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} has two kinds");
            } else {
                scrape.add(line, &current);
            }
        }
        for (name, kind) in &scrape.kinds {
            check_name(name, kind);
            assert!(
                kind == "histogram" || scrape.samples.keys().any(|(sample, _)| sample == name),
                "{name} has no value"
            );
        }
        scrape.check_histograms();
        scrape
    }

    fn add(&mut self, line: &str, current: &str) {
        let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
        let (name, labels) = match sample.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("an end of labels")),
            None => (sample, ""),
        };
        let kind = self.kinds.get(current).expect("a kind before the first value");
        let family = match kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .expect("a part of a histogram"),
            _ => name,
        };
        assert_eq!(family, current, "the lines of a metric stand together: {line}");
        let mut names = BTreeSet::new();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').expect("a label and its value");
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(!label.is_empty() && label.bytes().all(is_word), "{line}");
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = value.expect("a value in quotes");
            assert!(!value.contains(['"', '\\']), "{line}");
            assert!(names.insert(label), "{line} has a label twice");
        }
        let value: f64 = value.parse().expect("a number");
        assert!(value >= 0.0, "{line}");
        let before = self.samples.insert((name.to_owned(), labels.to_owned()), value);
        assert_eq!(before, None, "{sample} stands there twice");
    }

    fn check_histograms(&self) {
        for ((name, labels), count) in &self.samples {
            let Some(family) = name.strip_suffix("_count") else {
                continue;
            };
            let separator = if labels.is_empty() { "" } else { "," };
            let prefix = format!("{labels}{separator}le=");
            let buckets = self
                .samples
                .iter()
                .filter(|((sample, labels), _)| {
                    *sample == format!("{family}_bucket") && labels.starts_with(&prefix)
                })
                .map(|((_, labels), value)| {
                    let bound = labels[prefix.len()..].trim_matches('"');
                    (bound.parse::<f64>().expect("a bound"), *value)
                });
            let mut buckets: Vec<(f64, f64)> = buckets.collect();
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1));
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{family}");
            assert!(
                self.samples
                    .contains_key(&(format!("{family}_sum"), labels.clone()))
            );
        }
    }

    /// One value; zero if it is not there. `labels` as they are written.
    pub fn value(&self, name: &str, labels: &str) -> f64 {
        let sample = (name.to_owned(), labels.to_owned());
        self.samples.get(&sample).copied().unwrap_or(0.0)
    }

    /// The names of the labels of a metric, without `le`.
    pub fn labels(&self, name: &str) -> BTreeSet<String> {
        let is_its = |sample: &str| {
            sample == name
                || ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|part| sample == format!("{name}{part}"))
        };
        let samples = self.samples.keys().filter(|(sample, _)| is_its(sample));
        let labels = samples.flat_map(|(_, labels)| labels.split(',').filter(|label| !label.is_empty()));
        let names = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        names.filter(|name| name != "le").collect()
    }
}

/// What `promtool check metrics` asks of names.
fn check_name(name: &str, kind: &str) {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(
        name.starts_with("tailwater_") && name.bytes().all(is_word),
        "{name}"
    );
    assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    for unit in ["ms", "millis", "milliseconds", "minutes", "kilobytes", "mb", "kb"] {
        assert!(
            !name.split('_').any(|part| part == unit),
            "{name} is not in a base unit"
        );
    }
    if kind == "histogram" {
        assert!(name.ends_with("_seconds"), "{name}");
    }
    for suffix in ["_bucket", "_sum", "_count"] {
        assert!(!name.ends_with(suffix), "{name} looks like a part of a histogram");
    }
}
