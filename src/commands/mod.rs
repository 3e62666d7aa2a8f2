//! One file a subcommand. Errors are only reported here, so `anyhow` carries them.

mod serve;

pub use serve::serve;
