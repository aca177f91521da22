//! Micro-benchmarks of the hot path: how long each step takes (by default), and how many instructions and system calls
//! it costs (`gate`), compared with `instructions.toml`. `bench/README.md` has the commands.

mod case;
mod cases;
mod gate;

use std::cell::RefCell;
use std::process::ExitCode;

use case::Case;

fn main() -> ExitCode {
    // Cargo adds this one to those of the caller.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|each| each != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["gate"] => gate::compare(),
        ["gate", "--update"] => gate::update(),
        ["count", name] => gate::count(name),
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

/// Wall time. A sample is one run, since a stage is set anew for each.
#[divan::bench(args = cases::all(), sample_size = 1, sample_count = 200)]
fn micro(bencher: divan::Bencher<'_, '_>, case: &Case) {
    let stage = RefCell::new(case.stage());
    bencher
        .counter(divan::counter::ItemsCount::new(case.operations))
        .with_inputs(|| stage.borrow_mut().prepare())
        .bench_local_values(|()| stage.borrow_mut().run());
}
