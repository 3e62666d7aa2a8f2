//! Everything that is tested from outside the source files: the sources and documents themselves, the program's command
//! line, and the scenarios on a cluster.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests play the outside world, which has a clock, and end when something is not as expected"
)]

mod commands;
mod documents;
mod scenarios;
mod tidy;
