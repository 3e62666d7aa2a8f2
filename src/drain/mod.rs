//! Draining a node: which pods go, what an eviction's answer means, and which eviction comes next.
//!
//! Pure. The order of the filters is kubectl drain's; where this differs (by UID, every refusal retried, nothing
//! refused for want of a flag) the reason is beside it.

mod answer;
mod pace;
mod plan;

pub use answer::{Eviction, Said, meaning};
pub use pace::{AT_ONCE, Pace, Progress};
pub use plan::{DrainPlan, Ours, Stays, came_back_clause};
