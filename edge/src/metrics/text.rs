//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use tailwater_broker::health::{Histogram, Measured};

use super::{Family, Metrics, Series, Value};

/// What a scrape's answer is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(crate) fn write(metrics: &Metrics) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for (family, series) in metrics.read() {
        let Family {
            name, kind, question, ..
        } = family;
        let _ = writeln!(text, "# HELP {name} {question}\n# TYPE {name} {}", kind.name());
        for series in series {
            write_series(&mut text, family, &series);
        }
    }
    text
}

fn write_series(text: &mut String, family: &Family, series: &Series) {
    let names = family.labels.iter().map(|(name, _)| *name);
    // No value of ours has anything to escape.
    let labels: Vec<String> = names
        .zip(&series.labels)
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let labels = labels.join(",");
    match &series.value {
        Value::Number(number) => write_sample(text, family.name, "", &labels, *number as f64),
        Value::Histogram(measured) => write_histogram(text, family.name, &labels, measured),
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &str, measured: &Measured) {
    let separator = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    let bounds = Histogram::bounds_secs().map(|bound| bound.to_string());
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(measured.counts) {
        below += count;
        let labels = format!("{labels}{separator}le=\"{bound}\"");
        write_sample(text, name, "_bucket", &labels, below as f64);
    }
    write_sample(text, name, "_sum", labels, measured.sum_micros as f64 / 1e6);
    write_sample(text, name, "_count", labels, below as f64);
}

fn write_sample(text: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name}{suffix} {value}")
    } else {
        writeln!(text, "{name}{suffix}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_add_up_and_the_last_one_holds_all() {
        let histogram = Histogram::default();
        for millis in [1, 3, 60_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut text = String::new();
        write_histogram(&mut text, "t_seconds", "a=\"b\"", &histogram.measured());
        let line = |line: &str| assert!(text.lines().any(|found| found == line), "{line} in {text}");
        line("t_seconds_bucket{a=\"b\",le=\"0.0005\"} 0");
        line("t_seconds_bucket{a=\"b\",le=\"0.001\"} 1");
        line("t_seconds_bucket{a=\"b\",le=\"30\"} 2");
        line("t_seconds_bucket{a=\"b\",le=\"+Inf\"} 3");
        line("t_seconds_sum{a=\"b\"} 60.004");
        line("t_seconds_count{a=\"b\"} 3");
    }
}
