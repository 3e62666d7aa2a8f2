//! Inputs as the world sends them, one file each, and what the shipped code makes of them.
//!
//! A file is `KIND/NAME.yaml` and has four fields: `source` (where the input was seen), `what` (what it is), `input`, and
//! `outcome` (the result in words, compared exactly). An outcome is what is right: an input that the program treats wrongly has no
//! file until that is mended. CONTRIBUTING.md says how to add one.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests end when something is not as expected")]

mod cluster;
mod eviction;
mod kubeconfig;
mod request;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of input: the name of its folder, and the reader that returns the outcome.
type Kind = (&'static str, fn(&Value) -> String);

const KINDS: [Kind; 7] = [
    ("eviction", eviction::eviction),
    ("fleet", cluster::fleet),
    ("kubeconfig", kubeconfig::kubeconfig),
    ("lease", cluster::lease),
    ("node", cluster::node),
    ("pod", cluster::pod),
    ("request", request::request),
];

/// Beginning of a source that is no URL: an answer that a real API server gave.
const SEEN: &str = "answer of kube-apiserver v1.";

/// A file of the zoo.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    source: String,
    what: String,
    input: Value,
    outcome: String,
}

#[test]
fn every_input_has_its_outcome() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo"));
    let faults: Vec<String> = files.iter().filter_map(|(name, text)| fault(name, text).map(|fault| format!("{name}: {fault}"))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), files.len(), faults.join("\n"));
    let is_there = |kind: &str| files.keys().any(|name| name.starts_with(&format!("{kind}/")));
    assert!(KINDS.iter().all(|(kind, _)| is_there(kind)), "a kind has no file");
}

#[test]
fn a_file_that_proves_nothing_is_a_fault() {
    let good = "source: https://example.org/\nwhat: A pod.\noutcome: evict\n\
                input: {metadata: {name: p, namespace: shop, creationTimestamp: 2025-01-01T00:00:00Z}}\n";
    let check = |name: &str, text: &str, want: &str| {
        let fault = fault(name, text).unwrap_or_default();
        assert!(fault.contains(want) && fault.is_empty() == want.is_empty(), "{name}: {fault:?} is not {want:?}");
    };
    check("pod/a.yaml", good, "");
    check("pod/a.yaml", &good.replace("outcome: evict", "outcome: skip"), "the outcome is \"evict\", not \"skip\"");
    check("pod/a.yaml", &good.replace("https://example.org/", "a friend"), "no URL");
    check("pod/a.yaml", &good.replace("source: https://example.org/\n", ""), "source");
    check("pod/a.yaml", &good.replace("what: A pod.", "what: ''"), "`what` is empty");
    check("pod/a.yaml", &good.replace("what:", "why:"), "why");
    check("pods/a.yaml", good, "no reader");
    check("pod/a.json", good, "no reader");
    check("pod/more/a.yaml", good, "no reader");
    check("a.yaml", good, "no reader");
}

/// Returns what is wrong with a file of the zoo; `None`: its outcome is the expected one.
fn fault(name: &str, text: &str) -> Option<String> {
    let reader = name.strip_suffix(".yaml").and_then(|name| name.split_once('/')).filter(|(_, file)| !file.contains('/'));
    let Some((_, read)) = reader.and_then(|(folder, _)| KINDS.into_iter().find(|(kind, _)| *kind == folder)) else {
        return Some("no reader takes this file".to_owned());
    };
    let entry: Entry = match serde_saphyr::from_str(text) {
        Ok(entry) => entry,
        Err(error) => return Some(error.to_string()),
    };
    if !entry.source.starts_with("https://") && !entry.source.starts_with(SEEN) {
        return Some(format!("its source is no URL and no \u{201c}{SEEN}\u{2026}\u{201d}: {:?}", entry.source));
    }
    if entry.what.is_empty() {
        return Some("`what` is empty".to_owned());
    }
    let outcome = read(&entry.input);
    (outcome != entry.outcome).then(|| format!("the outcome is {outcome:?}, not {:?}", entry.outcome))
}

/// Returns every file below `folder` but the test's own sources, by its path there.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        let paths: Vec<PathBuf> = fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in paths {
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if next != *folder || !name.ends_with(".rs") {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Decodes an object of Kubernetes as the program does.
fn decode<T: DeserializeOwned>(input: &Value) -> T {
    serde_json::from_value(input.clone()).unwrap_or_else(|error| panic!("{error}: {input}"))
}

/// Returns a text of the input.
fn text<'a>(input: &'a Value, field: &str) -> &'a str {
    input[field].as_str().unwrap_or_else(|| panic!("the input has no text {field:?}: {input}"))
}
