//! The `tailwater` binary as it was built with the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the binary; `EDGE_BINARY` if that is set, else it is built now.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("EDGE_BINARY") {
                return path.into();
            }
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args([
                "build",
                "--quiet",
                "--package",
                "tailwater-edge",
                "--bin",
                "tailwater",
            ]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            // What cargo tells the tests about their own package: build scripts would take it for a change, and build
            // themselves and all that depends on them anew.
            for (name, _) in std::env::vars_os() {
                let text = name.to_string_lossy();
                if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                    build.env_remove(&name);
                }
            }
            let built = build.status().expect("cargo runs");
            assert!(built.success(), "the binary builds");
            // target/<profile>/deps/<test> or target/<profile>/<program> stands beside target/<profile>/tailwater.
            let program = std::env::current_exe().expect("a test is a program");
            let folder = program.parent().expect("a target folder");
            let profile = if folder.ends_with("deps") {
                folder.parent().expect("a target folder")
            } else {
                folder
            };
            profile.join("tailwater")
        })
        .clone()
}
