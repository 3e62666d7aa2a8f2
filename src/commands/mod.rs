//! Subcommands, one file each. The caller only prints the errors, so `anyhow` suffices.

mod serve;

pub use serve::serve;
