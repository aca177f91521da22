//! The gate: counts every case under callgrind, which counts the same on a busy machine, and compares with what is
//! written down. Each case runs in a process of its own; counted is what happens inside [`counted`]. The kernel's
//! instructions are not seen; its calls are, and counted.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

use crate::case::{Case, Stage};
use crate::cases;

/// Runs that are counted together.
const RUNS: usize = 8;

/// Runs before, in which buffers grow and what is made once is made.
const WARM_UP: usize = 3;

/// System calls that a single operation may cost more than written down: a turn of the event loop among hundreds.
const CALLS_TOLERANCE: f64 = 0.05;

/// What each case may cost.
#[derive(Deserialize, Serialize)]
struct Limits {
    /// Where the figures were counted; elsewhere there is nothing to compare with.
    architecture: String,
    /// By which the figures were counted: another version makes other code.
    compiler: String,
    /// More than this above its figure and a case fails.
    tolerance_percent: f64,
    /// The same where the compiler is another one.
    tolerance_percent_other_compiler: f64,
    /// By name.
    cases: BTreeMap<String, Cost>,
}

/// What one operation costs.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Cost {
    instructions: f64,
    system_calls: f64,
}

/// How the figures are written down.
const UPDATE: &str = "cargo bench --package tailwater-micro --profile instructions -- gate --update";

type Counted<T> = Result<T, Box<dyn Error>>;

/// Counts all cases and fails if one costs more than is written down.
pub(crate) fn compare() -> ExitCode {
    finish(read_limits().and_then(|limits| {
        if limits.architecture != ARCH {
            eprintln!("The figures are of {}, and this is {ARCH}: not compared.", limits.architecture);
            return Ok(());
        }
        let compiler = compiler()?;
        let mut tolerance = limits.tolerance_percent;
        if limits.compiler != compiler {
            tolerance = limits.tolerance_percent_other_compiler;
            eprintln!("The figures are of {}, and this is {compiler}: {tolerance} % more may be.", limits.compiler);
        }
        let mut too_dear = 0;
        for (name, cost) in count_all()? {
            let (verdict, is_too_dear) = judge(&cost, limits.cases.get(&name), tolerance);
            eprintln!("{}  {verdict}", line(&name, &cost));
            too_dear += u32::from(is_too_dear);
        }
        if too_dear == 0 {
            return Ok(());
        }
        Err(format!(
            "{too_dear} cases cost more than bench/micro/instructions.toml allows. If that is the price of something \
             worth it, say of what in the commit, and write the new figures down: {UPDATE}"
        )
        .into())
    }))
}

/// Counts all cases and writes the figures down.
pub(crate) fn update() -> ExitCode {
    finish(read_limits().and_then(|limits| {
        let counted = count_all()?;
        for (name, cost) in &counted {
            eprintln!("{}", line(name, cost));
        }
        let limits = Limits {
            architecture: ARCH.to_owned(),
            compiler: compiler()?,
            cases: counted.into_iter().collect(),
            ..limits
        };
        let text = std::fs::read_to_string(path())?;
        let mut written: String =
            text.lines()
                .take_while(|line| line.starts_with('#'))
                .fold(String::new(), |mut all, line| {
                    let _ = writeln!(all, "{line}");
                    all
                });
        written.push_str(&toml::to_string(&limits)?);
        Ok(std::fs::write(path(), written)?)
    }))
}

/// The process that is counted: one case.
pub(crate) fn count(name: &str) -> ExitCode {
    let Some(case) = cases::all().find(|case| case.name == name) else {
        eprintln!("there is no case `{name}`");
        return ExitCode::FAILURE;
    };
    let mut stage = case.stage();
    for _ in 0..WARM_UP {
        stage.prepare();
        stage.run();
    }
    for _ in 0..RUNS {
        prepared(&mut *stage);
        counted(&mut *stage);
    }
    ExitCode::SUCCESS
}

/// Callgrind writes down what it has counted at the end of this function, and begins anew.
#[inline(never)]
fn prepared(stage: &mut dyn Stage) {
    stage.prepare();
    // Else the call becomes a jump, before which the function ends, or the compiler makes one function of the two.
    std::hint::black_box("prepared");
}

/// As [`prepared`], so what it writes down here is one run.
#[inline(never)]
fn counted(stage: &mut dyn Stage) {
    stage.run();
    std::hint::black_box("counted");
}

fn finish(outcome: Counted<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn count_all() -> Counted<Vec<(String, Cost)>> {
    cases::all()
        .map(|case| Ok((case.name.to_owned(), count_under_callgrind(&case)?)))
        .collect()
}

fn count_under_callgrind(case: &Case) -> Counted<Cost> {
    let folder = tempfile::tempdir()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-systime=yes"])
        .args([
            "--dump-after=*micro::gate::prepared*",
            "--dump-after=*micro::gate::counted*",
        ])
        .arg(format!(
            "--callgrind-out-file={}",
            folder.path().join("counted").display()
        ))
        .arg(std::env::current_exe()?)
        .args(["count", case.name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{}` failed under valgrind:\n{said}", case.name).into());
    }
    let mut runs = Vec::new();
    for file in std::fs::read_dir(folder.path())? {
        let text = std::fs::read_to_string(file?.path())?;
        if line_of(&text, "desc: Trigger:").is_some_and(|words| words.concat().ends_with("::counted")) {
            runs.push(totals(&text)?);
        }
    }
    if runs.len() != RUNS {
        let message = format!(
            "callgrind wrote down {} runs of `{}`, not {RUNS}",
            runs.len(),
            case.name
        );
        return Err(message.into());
    }
    let operations = (RUNS * case.operations) as f64;
    let a_piece = |cost: fn(&Cost) -> f64| runs.iter().map(cost).sum::<f64>() / operations;
    Ok(Cost {
        instructions: (a_piece(|run| run.instructions) * 10.0).round() / 10.0,
        system_calls: (a_piece(|run| run.system_calls) * 1000.0).round() / 1000.0,
    })
}

/// The words behind `key` on the line that begins with it.
fn line_of<'a>(text: &'a str, key: &str) -> Option<Vec<&'a str>> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.split_whitespace().collect())
}

/// The sums at the end of callgrind's output: `events:` names them, `totals:` has them, but for zeros at the end.
fn totals(text: &str) -> Counted<Cost> {
    let (Some(events), Some(totals)) = (line_of(text, "events:"), line_of(text, "totals:")) else {
        return Err("callgrind's output has no totals".into());
    };
    let total = |event: &str| {
        let place = events.iter().position(|each| *each == event);
        place
            .and_then(|place| totals.get(place))
            .map_or(Ok(0.0), |sum| sum.parse())
    };
    Ok(Cost {
        instructions: total("Ir")?,
        system_calls: total("sysCount")?,
    })
}

fn judge(cost: &Cost, limit: Option<&Cost>, tolerance: f64) -> (String, bool) {
    let Some(limit) = limit else {
        return ("NOT WRITTEN DOWN".to_owned(), true);
    };
    let percent = (cost.instructions / limit.instructions - 1.0) * 100.0;
    if cost.system_calls > limit.system_calls + CALLS_TOLERANCE {
        (
            format!("TOO MANY SYSTEM CALLS: {} are written down", limit.system_calls),
            true,
        )
    } else if percent > tolerance {
        (format!("{percent:+.1} %: TOO DEAR"), true)
    } else if percent < -tolerance {
        (format!("{percent:+.1} %: write this down"), false)
    } else {
        (format!("{percent:+.1} %"), false)
    }
}

fn line(name: &str, cost: &Cost) -> String {
    format!(
        "{name:<42} {:>9.1} instructions {:>7.3} system calls",
        cost.instructions, cost.system_calls
    )
}

fn compiler() -> Counted<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8(output.stdout)?;
    Ok(version.trim().to_owned())
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}

fn read_limits() -> Counted<Limits> {
    let text = std::fs::read_to_string(path()).map_err(|error| format!("{}: {error}", path().display()))?;
    Ok(toml::from_str(&text)?)
}
