//! The lock: which nodes hold a slot. One Lease keeps all of it, and is only ever written at the version it was read
//! at, so that every rule about the number of slots holds whatever other replicas do.
//!
//! Pure: values in, values out.

mod capacity;
mod record;
mod release;
mod slots;

pub use capacity::Capacity;
pub use record::{HOLDERS, LeasePatch, Unreadable, patch, read};
pub use release::{FreeReason, KeepReason, MISSING_MAX, Release, is_searched_for, release};
pub use slots::{Approved, Holder, LockState};
