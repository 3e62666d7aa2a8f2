//! The rules: from what has been seen to the one next step.
//!
//! Each rule set ([`pre_reboot`], [`steady_state`], [`housekeeping`]) is a pure, level-triggered function: it keeps no
//! place in a procedure, so a crash anywhere means no more than asking again. `coordinator` performs the steps and folds
//! what it sees into [`Observed`].
//!
//! What makes it safe: **every 200 to a pre-reboot is a compare-and-swap on the Lease**, made after the node was seen
//! cordoned and then seen empty; and every release of a slot is one too. So of an approval and a release that race,
//! one fails and looks again.

mod evidence;
mod gates;
pub mod housekeeping;
mod observed;
mod outcome;
pub mod pre_reboot;
pub mod steady_state;

#[cfg(test)]
mod tests;

use std::time::Instant;

use jiff::Timestamp;

use crate::cluster::{CordonRecord, HexId, LeaseVersion, Node, NodeName, NodePatch, Term, Uid};
use crate::drain::{DrainPlan, Ours};
use crate::fleetlock::{GroupName, Kind, answers_to};
use crate::lock::{Capacity, Holder, LockState};

pub use evidence::{Approval, Cordoned, Emptied, HeldSlot, PROOF_AGE_MAX, Stale};
pub use observed::{Fact, FleetFacts, Lock, Observed, Others, Seen, Tenure};
pub use outcome::{Outcome, Settled};

/// Who calls: a node of the directory, and the words it called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The node's name.
    pub node: NodeName,
    /// The node's UID, as the directory knows it.
    pub uid: Uid,
    /// The id it called itself by.
    pub id: HexId,
    /// The group it called itself of.
    pub group: GroupName,
    /// When its request arrived.
    pub arrived: Timestamp,
}

/// What holds for every request.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How many nodes may be unavailable at once.
    pub capacity: Capacity,
    /// At most one control-plane node may be unavailable, by whatever cause.
    pub protect_control_plane: bool,
    /// How to tell this program's own pods.
    pub ours: Ours,
}

/// The time, twice: as it is written down, and as ages are measured.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For what is written and shown.
    pub clock: Timestamp,
    /// For deadlines and ages.
    pub instant: Instant,
}

/// The one next thing to do.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Say so; nothing is left to do.
    Answer(Outcome),
    /// One conditional write.
    Change(Change),
    /// Read something.
    Look(Question),
    /// Wait for an event, and ask again.
    Wait(Wait),
}

/// An event that a request may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The node is drained. The pods must be evicted meanwhile.
    Drain(Drain),
}

/// Something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The nodes other than the caller's that may run our own pods.
    Elsewhere,
    /// The fleet, with no change missing up to the moment that [`FleetFacts`] names.
    Fleet,
    /// The fleet as far as is known.
    FleetLately,
    /// The Lease.
    Lock,
    /// The caller's Node, its metadata alone.
    Mark,
    /// The caller's Node, whole.
    Node,
    /// The pods of the caller's node.
    Pods,
    /// The Node that has the machine-id of the caller's, whose own Node is gone.
    Renamed,
}

/// A write that fails when what it is based on has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Of the Lease.
    Lock {
        /// What for.
        why: LockChange,
        /// What to write.
        next: LockState,
        /// The version it is based on; `None`: there is no Lease yet.
        basis: Option<LeaseVersion>,
    },
    /// Of a Node.
    Node {
        /// What for.
        why: NodeChange,
        /// What to write.
        patch: NodePatch,
    },
}

/// Why the Lease is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockChange {
    /// A node marked by us is found without a slot because the Lease was deleted: it gets one, since it may be rebooting.
    Adopt,
    /// The reboot is approved.
    Approve,
    /// The node is up again.
    CheckIn,
    /// The Node of an approved holder is there after all.
    Found,
    /// The slot is free.
    Free,
    /// The Node of an approved holder is gone.
    Missing,
    /// The node gets a slot, or a new tenure of the one it has.
    Take,
}

/// Why a Node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// The time at which it was seen empty is recorded on it. The write is also the barrier for what is known of the fleet.
    Drained,
    /// It is marked `Rebooting` and cordoned.
    Mark,
    /// It is marked `Ready` and goes back to what it was before.
    Restore,
}

/// An order to drain a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The tenure it is done under: when the node's slot is of another, the drain ends.
    pub term: u64,
    /// When the slot was taken.
    pub since: Timestamp,
    /// What is left.
    pub plan: DrainPlan,
}

impl Caller {
    /// Whether `node`, as just read, is still the node that the directory meant.
    pub fn is(&self, node: &Node) -> bool {
        node.mark.uid == self.uid && node.machine_id.is_some_and(|machine| answers_to(machine, self.id))
    }
}

impl Lock {
    fn change(&self, why: LockChange, next: LockState) -> Step {
        Step::Change(Change::Lock { why, next, basis: self.version.clone() })
    }
}

/// The patch that marks and cordons.
fn mark(node: &Node, term: Term) -> Step {
    let record = CordonRecord { before: node.before_marking(), term, drained: None };
    Step::Change(Change::Node { why: NodeChange::Mark, patch: NodePatch::mark(node, record) })
}

/// The patch that puts a node back in service.
fn restore(node: &Node) -> Step {
    Step::Change(Change::Node { why: NodeChange::Restore, patch: NodePatch::restore(node) })
}

/// What a request says when a later one of the same node has overtaken it.
fn superseded(node: &NodeName) -> Step {
    let message = format!("node {node} has called again since; this older request is void");
    Step::Answer(Outcome::refused(Kind::Superseded, message))
}

/// Whether the mark on `node` is of another tenure than the one this lock shows, and the lock the older of the two looks:
/// then the tenure may be a newer one, whose mark must not be undone.
fn may_be_marked_since(node: &Seen<Option<Node>>, lock: &Seen<Lock>, holder: Option<&Holder>) -> bool {
    let Some(record) = node.value.as_ref().and_then(|node| node.mark.record.as_ref()) else { return false };
    let known = holder.is_some_and(|holder| record.term == lock.value.term(holder.term));
    !known && lock.tick < node.tick
}
