//! Draining a node: which pods are evicted, how the answer to an eviction is classified, and which eviction is next.
//!
//! Pure. The order of the filters is kubectl drain's; each difference (by UID, every refusal retried, no flag needed for
//! any pod) has its reason beside it.

mod advance;
mod eviction;
mod plan;
mod progress;
mod schedule;
mod standstill;

pub use advance::Advance;
pub use eviction::{Eviction, EvictionError, classify};
pub use plan::{DrainPlan, Ours, Skipped};
pub use progress::{CallError, Deadline, Progress, Refused, Terminating, Waiting, came_back_clause};
pub use schedule::Schedule;
pub use standstill::Standstill;
