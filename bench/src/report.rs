//! What a scenario found: lines of JSON on standard output for programs, a table on standard error for people.

use std::fmt;
use std::io::Write;

use serde::Serialize;

/// Quantiles of a delay, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Delays {
    /// The quantiles of `microseconds`, which this sorts.
    pub(crate) fn of(microseconds: &mut [u32]) -> Self {
        microseconds.sort_unstable();
        let Some(last) = microseconds.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |percent: usize| f64::from(microseconds[last * percent / 100]) / 1e3;
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// A figure that was measured several times.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The median of an even number of figures is the mean of the two in the middle; of none it is not a number.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        };
        Self {
            median,
            min: at(0),
            max: at(sorted.len().wrapping_sub(1)),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.median.is_nan() {
            return out.write_str("-");
        }
        let digits = if self.max.abs() >= 100.0 { 0 } else { 2 };
        let Self { median, min, max } = self;
        write!(out, "{median:.digits$} [{min:.digits$}..{max:.digits$}]")
    }
}

/// A figure that shall not be above a limit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    #[serde(flatten)]
    pub(crate) found: Spread,
    pub(crate) target: f64,
    pub(crate) reached: bool,
}

impl Goal {
    /// Reached if the median is at most `target`.
    pub(crate) fn at_most(target: f64, found: Spread) -> Self {
        let reached = found.median <= target;
        Self {
            found,
            target,
            reached,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.reached { "reached" } else { "missed" };
        write!(out, "{} (at most {}: {verdict})", self.found, self.target)
    }
}

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A line for people.
pub(crate) fn say(text: impl fmt::Display) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rows under a heading, in columns as wide as they need to be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(ToString::to_string).collect();
        Self { rows: vec![heading] }
    }

    pub(crate) fn row(&mut self, cells: &[&dyn fmt::Display]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `a / b`, or nothing that compares where there is no `b`.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { f64::NAN }
}

/// A count as a figure; those of a run are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(crate) fn figure(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_of_odd_and_even_numbers_of_figures() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).to_string(), "2.00 [1.00..3.00]");
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([]).to_string(), "-");
        assert!(!Goal::at_most(1.0, Spread::of([])).reached);
    }

    #[test]
    fn delays_are_quantiles_in_milliseconds() {
        let mut delays: Vec<u32> = (0..=100).rev().map(|n| n * 1000).collect();
        let delays = Delays::of(&mut delays);
        assert_eq!((delays.p50, delays.p99, delays.max), (50.0, 99.0, 100.0));
    }
}
