//! The report as a page of Markdown.

use std::fmt::Write;

use super::Report;
use super::cell::Cell;
use super::targets;

/// The page.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write(report, &mut page);
    page
}

fn write(report: &Report, page: &mut String) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(page, "# What it costs\n")?;
    writeln!(
        page,
        "Written by the program; figures are medians [least..most] of runs in which all servers took turns.\n"
    )?;
    if report.quick {
        writeln!(
            page,
            "**A quick run: it shows that everything works. Quote nothing of it.**\n"
        )?;
    }
    writeln!(page, "    {}\n", report.command)?;
    writeln!(page, "- {}, {:.0} minutes", report.date, report.minutes)?;
    writeln!(
        page,
        "- {}, {} cores, {} GiB, {}, {}; load average before: {}",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.congestion_control,
        machine.load_average,
    )?;
    let versions: Vec<String> = report
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    writeln!(page, "- {}", versions.join("; "))?;
    writeln!(
        page,
        "- The server has the first core, clients, publisher and NATS have the others. CPU is user and system time of the \
         server's process, that of nats-server apart. Everything is on the loopback, whose receiving half the kernel \
         counts for the sender. *floor*: one write a socket, and nothing else. Where *client cores* comes near 1, the load \
         generator is the limit, and the server could do more.\n"
    )?;
    writeln!(
        page,
        "## Targets\n\n{}",
        targets::table(&targets::rows(report)).markdown()
    )?;
    writeln!(page, "![plot](results.svg)\n")?;
    for (cell, results) in &report.cells {
        let table = results.table(cell.compared(), Some(cell.figures()));
        writeln!(page, "## {}\n\n{}", cell.title(), table.markdown())?;
        for (server, reason) in &results.failures {
            writeln!(page, "Left out: {server}: {}\n", one_line(reason))?;
        }
    }
    let nothing = report.left_out.is_empty() && report.failures.is_empty();
    if !nothing || report.cells.len() < Cell::ALL.len() {
        writeln!(page, "## Left out\n")?;
    }
    for left_out in &report.left_out {
        writeln!(page, "- {}: {}", left_out.server, one_line(&left_out.reason))?;
    }
    for (cell, reason) in &report.failures {
        writeln!(page, "- {cell}: {}", one_line(reason))?;
    }
    for cell in Cell::ALL {
        if !report.cells.contains_key(&cell) && !report.failures.contains_key(&cell) {
            writeln!(page, "- {cell}: not asked for")?;
        }
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::report;
    use crate::results::Figure;
    use crate::stage::LeftOut;

    #[test]
    fn a_page_has_the_command_the_machine_every_server_and_who_was_left_out() {
        let mut report = report(&[
            (Cell::Idle, "tailwater", Figure::BytesPerConnection, 1900.0),
            (Cell::Idle, "bun", Figure::BytesPerConnection, 1607.0),
        ]);
        report.left_out.push(LeftOut {
            server: "centrifugo",
            reason: "no Go\nhere".to_owned(),
        });
        let page = render(&report);
        for part in [
            "    bench compare\n",
            "a processor, 2 cores",
            "| tailwater | 1.00 | - | 1,900 | - | 0/0/0 |",
            "| bun | 0.85 | - | 1,607 | - | 0/0/0 |",
            "- centrifugo: no Go here",
            "- max: not asked for",
            "| idle, ws: bytes of the process a connection | ≤ 2000 | 1,900 | reached |",
        ] {
            assert!(page.contains(part), "no {part:?} in\n{page}");
        }
    }
}
