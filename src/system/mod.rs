//! Access to the operating system: time (`clock`), pauses before another attempt (`backoff`), threads and their stacks (`threads`),
//! state that threads share (`guarded`), files that change (`file_watch`), limits of the process and its end (`process`), log lines that
//! repeat (`repeats`), and texts that may be a credential (`quotable`).
//!
//! Nothing here may depend on nodes, HTTP or Kubernetes.

pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod file_watch;
pub(crate) mod guarded;
pub(crate) mod process;
pub(crate) mod quotable;
pub(crate) mod repeats;
pub(crate) mod threads;
