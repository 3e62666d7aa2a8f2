//! All readers of outside input, as functions of bytes. Each reads with the shipped code, and panics if a promise about
//! any input does not hold. `tests/corpus.rs` calls them with the files of `corpus/` in every test run; `libfuzzer/` calls
//! them with mutations of those files (`scripts/fuzz`).
//!
//! "It does not panic" alone finds little. So each target has an oracle: another reader of the same bytes, a way back, or
//! a promise about what an error may show.

#![expect(clippy::expect_used, reason = "a target ends when something is not as expected")]

mod access;
mod config;
mod http;
mod kube;

/// A target: the name, which is also the folder of its corpus, and the reader of an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 14] = [
    ("basic", access::basic),
    ("certificate", config::certificate),
    ("command-line", config::command_line),
    ("credentials", access::credentials),
    ("fleetlock", http::fleetlock),
    ("handed-on", http::handed_on),
    ("kubeconfig", config::kubeconfig),
    ("lease", kube::lease),
    ("list", kube::list),
    ("node", kube::node),
    ("objects", kube::objects),
    ("request", http::request),
    ("status", kube::status),
    ("watch", kube::watch),
];
