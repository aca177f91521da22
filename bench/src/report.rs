//! What a scenario found: lines of JSON on standard output for programs, a table on standard error for people.

use std::fmt;
use std::io::Write;

use serde::Serialize;

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
        let Self { median, min, max } = *self;
        if median.is_nan() {
            return out.write_str("-");
        }
        if min.to_bits() == max.to_bits() {
            return Short(median).fmt(out);
        }
        write!(out, "{} [{}..{}]", Short(median), Short(min), Short(max))
    }
}

/// A figure for people: three digits or all that stand before the point, with commas.
pub(crate) struct Short(pub(crate) f64);

impl fmt::Display for Short {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(figure) = *self;
        let digits = match figure.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let text = format!("{figure:.digits$}");
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
        out.write_str(sign)?;
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                out.write_str(",")?;
            }
            write!(out, "{digit}")?;
        }
        out.write_str(rest)
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
        self.cells(cells.iter().map(ToString::to_string).collect());
    }

    /// A row that has been written already.
    pub(crate) fn cells(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut rows = self.rows.iter();
        let Some(heading) = rows.next() else {
            return String::new();
        };
        let rule = vec!["---".to_owned(); heading.len()];
        rows.fold(line(heading) + &line(&rule), |text, row| text + &line(row))
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

/// A figure that is a count, as one; 0 for less.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
pub(crate) fn whole(figure: f64) -> u32 {
    figure as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_of_odd_and_even_numbers_of_figures() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).to_string(), "2.00 [1.00..3.00]");
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([1_234_567.0]).to_string(), "1,234,567");
        assert_eq!(Spread::of([-1234.5, 99.96]).to_string(), "-567 [-1,234..100.0]");
        assert_eq!(Spread::of([]).to_string(), "-");
        assert!(!Goal::at_most(1.0, Spread::of([])).reached);
    }
}
