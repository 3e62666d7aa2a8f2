//! Runs every file of the corpora, and each beginning of it, through its target, without a fuzzer, so that each past finding is tested.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use fuzz_targets::TARGETS;

fn corpora() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn what_must_hold_of_any_input_holds_of_every_file_cut_anywhere() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let files: Vec<_> = fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= FILES_MIN, "{name} has {} files", files.len());
        for file in files {
            let input = fs::read(&file).unwrap();
            assert!(input.len() <= FILE_BYTES_MAX, "{} is large", file.display());
            // A file that is cut anywhere is an input, too.
            if catch_unwind(|| (0..=input.len()).for_each(|end| target(&input[..end]))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_corpus_has_its_target() {
    let folders: BTreeSet<String> =
        fs::read_dir(corpora()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
}

/// Minimum files of a corpus: an empty folder proves nothing.
const FILES_MIN: usize = 3;

/// Maximum size of a file.
const FILE_BYTES_MAX: usize = 16 * 1024;
