//! What each subcommand does. Errors are only told here, so `anyhow` carries them.

mod serve;

pub use serve::serve;
