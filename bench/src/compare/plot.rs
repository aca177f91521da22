//! The report as a picture: a panel for each of the main figures, a bar for each server, ours in another colour. The bar is
//! the median, the line across its end goes from the least to the most.

use std::fmt::Write;

use super::Report;
use super::cell::Cell;
use crate::report::{Short, Spread};
use crate::results::Figure;

/// What is drawn, and whether more is better.
const PANELS: [(Cell, Figure, &str); 4] = [
    (
        Cell::Fanout,
        Figure::ServerUsPerDelivery,
        "Server CPU, µs a delivery (less is better)",
    ),
    (
        Cell::Max,
        Figure::DeliveriesPerSecond,
        "Deliveries a second on one core (more is better)",
    ),
    (
        Cell::Idle,
        Figure::BytesPerConnection,
        "Bytes an idle connection (less is better)",
    ),
    (
        Cell::Connect,
        Figure::ServerUsPerConnection,
        "Server CPU, µs a handshake (less is better)",
    ),
];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
/// Room for the number behind a bar.
const RIGHT: f64 = 90.0;
const BAR: f64 = 16.0;
const STEP: f64 = 24.0;
const TITLE: f64 = 40.0;

/// The picture, as SVG.
pub(super) fn render(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 0.0;
    for (cell, figure, title) in PANELS {
        let Some(results) = report.cells.get(&cell) else {
            continue;
        };
        let mut bars: Vec<(&str, Spread)> = results
            .servers()
            .into_iter()
            .map(|server| (server, results.spread(server, figure)))
            .filter(|(_, spread)| !spread.median.is_nan())
            .collect();
        bars.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        // Writing to a string does not fail.
        let _ = panel(&mut body, y, title, &bars);
        y += TITLE + STEP * f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n",
        height = y + 10.0
    )
}

fn panel(out: &mut String, top: f64, title: &str, bars: &[(&str, Spread)]) -> std::fmt::Result {
    let most = bars.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LEFT - RIGHT) / most
    } else {
        0.0
    };
    writeln!(
        out,
        "<text x=\"10\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
        top + TITLE - 14.0,
        escaped(title)
    )?;
    let mut y = top + TITLE;
    for (server, spread) in bars {
        let colour = if server.starts_with("tailwater") {
            "#0a7ea4"
        } else {
            "#b8c4cc"
        };
        let middle = y + BAR / 2.0;
        let (end, least, most) = (
            LEFT + spread.median * scale,
            LEFT + spread.min * scale,
            LEFT + spread.max * scale,
        );
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <line x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#333\"/>\
             <text x=\"{label:.1}\" y=\"{base:.1}\">{value}</text>",
            x = LEFT - 8.0,
            base = y + BAR - 4.0,
            name = escaped(server),
            width = end - LEFT,
            label = most.max(end) + 6.0,
            value = Short(spread.median),
        )?;
        y += STEP;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::report;

    #[test]
    fn a_bar_is_as_long_as_its_figure() {
        let report = report(&[
            (Cell::Idle, "tailwater", Figure::BytesPerConnection, 1000.0),
            (Cell::Idle, "a<b", Figure::BytesPerConnection, 2000.0),
        ]);
        let picture = render(&report);
        assert!(picture.contains("width=\"260.0\"") && picture.contains("width=\"520.0\""));
        assert!(picture.contains("a&lt;b") && picture.contains(">2,000</text>"));
    }
}
