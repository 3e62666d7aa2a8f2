//! The lock: which nodes hold a slot. The whole lock is in one Lease, which is only written over the version that was read. Therefore
//! the rules about slots hold with any number of replicas.
//!
//! Pure: values in, values out.

mod capacity;
mod deferral;
mod drain_report;
mod queue;
mod record;
mod release;
mod slots;
mod times;

pub use capacity::{Capacity, SLOTS_MAX};
pub use deferral::{DEFERRED_MAX, DeferReason, Deferral};
pub use drain_report::{ASK_EVERY, BlockedDrain, DrainReport, DrainView, LastReport, Part, REPORT_EVERY};
pub use queue::{Place, Turn, turn};
pub use record::{HOLDERS, LeasePatch, Unreadable, patch, read};
pub use release::{AHEAD_MAX, FreeReason, KeepReason, Release, is_searched_for, release};
pub use slots::{Approved, Holder, LockState};
pub use times::Times;
