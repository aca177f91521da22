//! That a report can be made: the program measures our server and the floor, briefly, and writes what it found.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_quick_report_has_figures_of_ours_and_of_the_floor_and_nothing_is_lost() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let edge =
        std::env::var_os("EDGE_BINARY").map_or_else(|| root.join("target/debug/tailwater"), PathBuf::from);
    assert!(edge.exists(), "build it first: cargo build -p tailwater-edge");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-bench"))
        .args(["compare", "--quick", "--only", "fanout,burst"])
        .args(["--server", "tailwater", "--server", "floor", "--edge"])
        .arg(edge)
        .arg("--out")
        .arg(folder.path())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it is written");
    let report: serde_json::Value = serde_json::from_str(&read("results.json")).expect("JSON");
    for server in ["tailwater", "floor"] {
        let samples = report["cells"]["fanout"]["samples"].as_array().expect("runs");
        let sample = samples.iter().find(|sample| sample["server"] == server);
        let counts = &sample.unwrap_or_else(|| panic!("no run of {server}"))["counts"];
        assert_eq!(counts["lost"], 0);
        assert!(counts["delivered"].as_u64() > Some(0));
    }
    let page = read("RESULTS.md");
    assert!(
        page.contains("| tailwater |") && page.contains("fanout, 1,000 sockets: server CPU to the floor")
    );
    assert!(read("results.svg").starts_with("<svg"));
}
