//! Access to the operating system: time (`clock`), pauses before another attempt (`backoff`), threads and their stacks (`threads`),
//! state that threads share (`guarded`), and files that change (`file_watch`).
//!
//! Nothing here may depend on nodes, HTTP or Kubernetes.

pub mod backoff;
pub mod clock;
pub mod file_watch;
pub mod guarded;
pub mod threads;
