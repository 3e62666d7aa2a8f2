//! Every call of this program (`calls`) with the rights they need (`permissions`); complete lists (`list`) and watches (`watch`).
//!
//! Part of a list must never be handed out.

mod calls;
mod list;
mod permissions;
mod watch;

pub use calls::{Kube, REVIEWS};
pub use list::{PageEnd, read_page};
pub use permissions::{CA, LEASE, Permission, TLS};
