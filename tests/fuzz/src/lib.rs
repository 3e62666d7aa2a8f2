//! Everything that the program reads from outside, as functions of bytes: each reads them with the shipped code and
//! panics when something does not hold that must hold of any input. Who calls them: `tests/corpus.rs` with the files in
//! `corpus/`, which is part of every test run, and `libfuzzer/` with what a fuzzer makes of those (`scripts/fuzz`).
//!
//! "It does not panic" alone would find little. So each target has an oracle: another reader of the same bytes, a way
//! back, or a promise about what an error may show.

#![expect(clippy::expect_used, reason = "a target ends when something is not as expected")]

mod basic;
mod certificate;
mod command_line;
mod credentials;
mod fleetlock;
mod handed_on;
mod kubeconfig;
mod lease;
mod list;
mod merge;
mod node;
mod objects;
mod request;
mod status;
mod watch;

/// A target: its name, which is also the folder of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 14] = [
    ("basic", basic::run),
    ("certificate", certificate::run),
    ("command-line", command_line::run),
    ("credentials", credentials::run),
    ("fleetlock", fleetlock::run),
    ("handed-on", handed_on::run),
    ("kubeconfig", kubeconfig::run),
    ("lease", lease::run),
    ("list", list::run),
    ("node", node::run),
    ("objects", objects::run),
    ("request", request::run),
    ("status", status::run),
    ("watch", watch::run),
];
