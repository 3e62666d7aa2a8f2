//! The lock: which nodes hold a slot. All of it is in one Lease, which is only written over the version that was read, so every
//! rule about the number of slots holds beside any other replica.
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
