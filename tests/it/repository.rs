//! Files of this repository.

use std::path::PathBuf;

/// Folders without prose or sources: build outputs, inputs of fuzzers and of other programs, and those of git.
const SKIPPED: [&str; 4] = [".git", "corpus", "data", "target"];

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file, such as `docs/tls.md`.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Lists all files whose path begins with `start` and ends with `end`.
pub(crate) fn files(start: &str, end: &str) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if !path.is_dir() {
                found.extend((name.starts_with(start) && name.ends_with(end)).then_some(name));
            } else if SKIPPED.iter().all(|skipped| !path.ends_with(skipped)) {
                folders.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no file {start}…{end} was found");
    found
}
