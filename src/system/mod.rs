//! Access to the operating system: time (`clock`), pauses before another attempt (`backoff`), threads and their stacks (`threads`),
//! state that threads share (`guarded`), and files that change (`file_watch`).
//!
//! Nothing here may depend on nodes, HTTP or Kubernetes.

pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod file_watch;
pub(crate) mod guarded;
pub(crate) mod threads;
