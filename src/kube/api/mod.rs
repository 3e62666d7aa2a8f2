//! Every call of this program with its rights (`calls`); complete lists (`list`) and watches (`watch`).
//!
//! Part of a list must never be handed out.

mod calls;
mod list;
mod watch;

pub use calls::{CA, Kube, LEASE, Permission, REVIEWS, TLS, permissions};
pub use list::{PageEnd, read_page};
