//! The targets of the project: what each is, what was measured, and whether that reaches it.

use super::Report;
use super::cell::{Cell, DURABLE, WSS};
use crate::contender::{Contender, Variant};
use crate::report::{Short, Spread, Table, ratio};
use crate::results::{Figure, Results};

/// One target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    what: &'static str,
    target: String,
    measured: String,
    /// Nothing where it could not be measured.
    reached: Option<bool>,
}

/// What must not be above or below what.
#[derive(Clone, Copy)]
enum Bound {
    AtMost,
    AtLeast,
}

/// All targets, with what this report says of them.
pub(super) fn rows(report: &Report) -> Vec<Row> {
    let found = Found(report);
    let us = Figure::ServerUsPerDelivery;
    let floor = |cell| found.ratio(cell, Variant::PLAIN, "floor", us);
    vec![
        limit(
            "fanout, 1,000 sockets: server CPU to the floor",
            1.15,
            floor(Cell::Fanout),
        ),
        found.against("the same, to the best peer", Cell::Fanout, us, Bound::AtMost, &[]),
        limit(
            "fanout, 10,000 sockets: server CPU to the floor",
            1.15,
            floor(Cell::Fanout10k),
        ),
        limit(
            "many, 10,000 sockets on 1,000 channels: server CPU to the floor",
            1.15,
            floor(Cell::Many),
        ),
        limit(
            "burst of 64: server CPU of a delivery to the floor's single write",
            0.05,
            found.burst(),
        ),
        found.against(
            "highest rate on one core: deliveries a second, to the best peer",
            Cell::Max,
            Figure::DeliveriesPerSecond,
            Bound::AtLeast,
            &[],
        ),
        found.past(),
        found.against(
            "p99 delay at half of the highest rate, to the best peer",
            Cell::Max,
            Figure::HalfP99Ms,
            Bound::AtMost,
            &[],
        ),
        limit(
            "wss: server CPU to our own ws",
            1.6,
            found.ratio(Cell::Ways, WSS, "tailwater", us),
        ),
        limit(
            "durable: server CPU to our own live",
            1.10,
            found.ratio(Cell::Ways, DURABLE, "tailwater", us),
        ),
        limit(
            "idle, ws: bytes of the process a connection",
            2000.0,
            found.of(Cell::Idle, Variant::PLAIN, Figure::BytesPerConnection),
        ),
        limit(
            "idle, wss: bytes of the process a connection",
            15.0 * 1024.0,
            found.of(Cell::Idle, WSS, Figure::BytesPerConnection),
        ),
        limit(
            "handshake and subscription: server CPU, µs",
            40.0,
            found.of(Cell::Connect, Variant::PLAIN, Figure::ServerUsPerConnection),
        ),
        found.against(
            "the same, to the best peer but Bun",
            Cell::Connect,
            Figure::ServerUsPerConnection,
            Bound::AtMost,
            &["bun"],
        ),
        limit(
            "stalled socket, live: bytes in the kernel's send queue",
            256.0 * 1024.0,
            found.of(Cell::Slow, Variant::PLAIN, Figure::KernelBytesPerStalled),
        ),
    ]
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["what", "target", "measured", "verdict"]);
    for row in rows {
        let verdict = match row.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not measured",
        };
        table.row(&[&row.what, &row.target, &row.measured, &verdict]);
    }
    table
}

/// A median that is not above a limit.
fn limit(what: &'static str, limit: f64, found: Spread) -> Row {
    Row {
        what,
        target: format!("≤ {limit}"),
        measured: found.to_string(),
        reached: (!found.median.is_nan()).then_some(found.median <= limit),
    }
}

struct Found<'a>(&'a Report);

impl Found<'_> {
    fn cell(&self, cell: Cell) -> Option<&Results> {
        self.0.cells.get(&cell)
    }

    fn of(&self, cell: Cell, ours: Variant, figure: Figure) -> Spread {
        let label = Contender::ours(ours).label();
        let none = Spread::of([]);
        self.cell(cell)
            .map_or(none, |results| results.spread(&label, figure))
    }

    fn ratio(&self, cell: Cell, ours: Variant, base: &str, figure: Figure) -> Spread {
        let label = Contender::ours(ours).label();
        let none = Spread::of([]);
        self.cell(cell)
            .map_or(none, |results| results.ratio(&label, base, figure))
    }

    /// The runs of a burst are others than those of the floor's single writes, so medians are compared.
    fn burst(&self) -> Spread {
        let burst = self.of(Cell::Burst, Variant::PLAIN, Figure::ServerUsPerDelivery);
        let floor = self.cell(Cell::Fanout);
        let floor = floor.map_or(f64::NAN, |results| {
            results.spread("floor", Figure::ServerUsPerDelivery).median
        });
        Spread {
            median: ratio(burst.median, floor),
            min: ratio(burst.min, floor),
            max: ratio(burst.max, floor),
        }
    }

    /// Ours to the best of the peers; the floor, which does nothing but write, is none.
    fn against(&self, what: &'static str, cell: Cell, figure: Figure, bound: Bound, but: &[&str]) -> Row {
        let ours = Contender::ours(Variant::PLAIN).label();
        let results = self.cell(cell);
        let better = |a: f64, b: f64| match bound {
            Bound::AtMost => a < b,
            Bound::AtLeast => a > b,
        };
        let mut best: Option<(&str, f64)> = None;
        for server in results.map(Results::servers).unwrap_or_default() {
            let median = results.map_or(f64::NAN, |results| results.spread(server, figure).median);
            let is_peer = !server.starts_with(&ours) && server != "floor" && !but.contains(&server);
            if is_peer && !median.is_nan() && best.is_none_or(|(_, best)| better(median, best)) {
                best = Some((server, median));
            }
        }
        let mine = self.of(cell, Variant::PLAIN, figure);
        let sign = match bound {
            Bound::AtMost => "≤",
            Bound::AtLeast => "≥",
        };
        Row {
            what,
            target: best.map_or_else(
                || format!("{sign} the best peer"),
                |(server, best)| format!("{sign} {} ({server})", Short(best)),
            ),
            measured: mine.to_string(),
            reached: best
                .filter(|_| !mine.median.is_nan())
                .map(|(_, best)| !better(best, mine.median)),
        }
    }

    /// Past the limit it degrades and does not collapse: it still delivers at least half of the highest rate, and what it
    /// does not deliver it announces.
    fn past(&self) -> Row {
        let highest = self.of(Cell::Max, Variant::PLAIN, Figure::DeliveriesPerSecond);
        let past = self.of(Cell::Max, Variant::PLAIN, Figure::PastDeliveriesPerSecond);
        let part = ratio(past.median, highest.median);
        let lost = self.of(Cell::Max, Variant::PLAIN, Figure::PastLostPercent).median;
        let announced = self
            .of(Cell::Max, Variant::PLAIN, Figure::PastAnnouncedPercent)
            .median;
        let honest = (lost - announced).abs() < 0.01;
        Row {
            what: "at twice the highest rate: deliveries a second to the highest; loss",
            target: "≥ 0.5; all of it announced".to_owned(),
            measured: if part.is_nan() {
                "-".to_owned()
            } else {
                format!("{part:.2}; {lost:.1} % lost, {announced:.1} % announced")
            },
            reached: (!part.is_nan()).then_some(part >= 0.5 && honest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::report;

    fn verdict(rows: &[Row], what: &str) -> Option<bool> {
        rows.iter().find(|row| row.what == what).unwrap().reached
    }

    #[test]
    fn a_target_is_reached_missed_or_not_measured() {
        let report = report(&[
            (Cell::Fanout, "tailwater", Figure::ServerUsPerDelivery, 6.0),
            (Cell::Fanout, "floor", Figure::ServerUsPerDelivery, 5.0),
            (Cell::Fanout, "uws", Figure::ServerUsPerDelivery, 6.5),
            (Cell::Burst, "tailwater", Figure::ServerUsPerDelivery, 0.2),
            (Cell::Connect, "tailwater", Figure::ServerUsPerConnection, 50.0),
            (Cell::Connect, "bun", Figure::ServerUsPerConnection, 30.0),
            (Cell::Connect, "ws-node", Figure::ServerUsPerConnection, 90.0),
        ]);
        let rows = rows(&report);
        let reached = |what| verdict(&rows, what);
        assert_eq!(
            reached("fanout, 1,000 sockets: server CPU to the floor"),
            Some(false)
        );
        assert_eq!(reached("the same, to the best peer"), Some(true));
        assert_eq!(
            reached("burst of 64: server CPU of a delivery to the floor's single write"),
            Some(true)
        );
        assert_eq!(reached("handshake and subscription: server CPU, µs"), Some(false));
        assert_eq!(reached("the same, to the best peer but Bun"), Some(true));
        assert_eq!(reached("wss: server CPU to our own ws"), None);
    }

    #[test]
    fn past_the_limit_loss_has_to_be_announced() {
        let past = |announced| {
            let report = report(&[
                (Cell::Max, "tailwater", Figure::DeliveriesPerSecond, 100.0),
                (Cell::Max, "tailwater", Figure::PastDeliveriesPerSecond, 90.0),
                (Cell::Max, "tailwater", Figure::PastLostPercent, 10.0),
                (Cell::Max, "tailwater", Figure::PastAnnouncedPercent, announced),
            ]);
            let what = "at twice the highest rate: deliveries a second to the highest; loss";
            verdict(&rows(&report), what)
        };
        assert_eq!((past(10.0), past(5.0)), (Some(true), Some(false)));
    }
}
