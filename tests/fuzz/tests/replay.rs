//! What fuzzers have found worth keeping is fed again in every test run, and each parser has something to be fed with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tailwater_fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a name is text");
    entries
        .map(|entry| name(entry.expect("a folder can be read")))
        .collect()
}

#[test]
fn every_input_of_the_corpus_holds() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for input in inputs {
            let path = folder.join(input);
            // Shown if the next line panics.
            eprintln!("{}", path.display());
            target.feed(&fs::read(path).expect("an input can be read"));
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_that_of_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&corpus()), targets);
}
