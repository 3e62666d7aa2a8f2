//! The next step of a request: an answer, a write, a read, or a wait.

use jiff::Timestamp;

use super::{Change, Outcome};
use crate::cluster::NodeName;
use crate::drain::DrainPlan;
use crate::fleetlock::{Kind, Refusal};
use crate::lock::Place;

/// Next step of a request.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Answer; nothing is left to do.
    Answer(Outcome),
    /// A conditional write.
    Change(Change),
    /// Read something.
    Read(Question),
    /// Wait for an event, then ask the rules again.
    Wait(Wait),
}

/// Fact to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The nodes other than the caller's that may run our own pods.
    OtherHosts,
    /// The fleet, with no change missing up to the moment that [`FleetFacts`](super::FleetFacts) names.
    Fleet,
    /// The fleet, possibly late.
    FleetCached,
    /// The Lease.
    Lock,
    /// The metadata of the caller's Node.
    Meta,
    /// The caller's Node.
    Node,
    /// The pods of the caller's node.
    Pods,
    /// The Node with the caller's machine-id, if the caller's own Node is gone.
    Renamed,
}

/// Event for which a request may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The end of the drain, which must be started if it is not running.
    Drain(Drain),
    /// A free slot.
    Slot(SlotWait),
}

/// A wait for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWait {
    /// Place in the queue.
    pub place: Place,
    /// Answer to the request if it waits no longer.
    pub refusal: Refusal,
}

/// An order to drain a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Term of the slot. The drain ends when the slot is no longer held under this term.
    pub term: u64,
    /// Time at which the slot was taken.
    pub since: Timestamp,
    /// Pods at the beginning.
    pub plan: DrainPlan,
}

impl Step {
    /// Answers a request of which a newer one of the same node exists.
    pub(super) fn superseded(node: &NodeName) -> Self {
        let message = format!("superseded by a newer request from node {node}");
        Self::Answer(Outcome::refused(Kind::Superseded, message))
    }
}
