//! Everything that is tested from outside the source files: the sources and documents themselves, the program's command
//! line, the scenarios on a cluster, and attacks on the port that nodes call.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests play the outside world, which has a clock, and end when something is not as expected"
)]

mod architecture;
mod commands;
mod crash_consistency;
mod documents;
mod kubeconfigs;
mod language;
mod listener;
mod markdown;
mod packaging;
mod repository;
mod scenarios;
mod workflows;
