//! The next step: an answer, a write, a reading, or a wait.

use jiff::Timestamp;

use super::{Change, Outcome};
use crate::cluster::NodeName;
use crate::drain::DrainPlan;
use crate::fleetlock::Kind;

/// The one thing to do next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Answer; nothing is left to do.
    Answer(Outcome),
    /// A conditional write.
    Change(Change),
    /// Read something.
    Look(Question),
    /// Wait for an event, and ask again.
    Wait(Wait),
}

/// Something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The nodes other than the caller's that may run our own pods.
    Elsewhere,
    /// The fleet, with no change missing up to the moment that [`FleetFacts`](super::FleetFacts) names.
    Fleet,
    /// The fleet as far as is known.
    FleetLately,
    /// The Lease.
    Lock,
    /// The caller's Node, its metadata alone.
    Meta,
    /// The caller's Node, whole.
    Node,
    /// The pods of the caller's node.
    Pods,
    /// The Node that has the machine-id of the caller's, whose own Node is gone.
    Renamed,
}

/// An event that a request may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The node is drained. The pods must be evicted meanwhile.
    Drain(Drain),
}

/// An order to drain a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The drain ends when the node's slot is not held under this term any more.
    pub term: u64,
    /// Time when the slot was taken.
    pub since: Timestamp,
    /// The pods at the beginning.
    pub plan: DrainPlan,
}

impl Step {
    /// The answer to a request that a later one of the same node has overtaken.
    pub(super) fn superseded(node: &NodeName) -> Self {
        let message = format!("superseded by a newer request from node {node}");
        Self::Answer(Outcome::refused(Kind::Superseded, message))
    }
}
