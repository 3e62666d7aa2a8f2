//! The lock: which nodes hold a slot. The whole lock is in one Lease, which is only written over the version that was read. Therefore
//! the rules about slots hold with any number of replicas.
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
