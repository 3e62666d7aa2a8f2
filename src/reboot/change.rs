//! Writes, each conditional on the version that it is based on.

use jiff::Timestamp;

use super::Lock;
use crate::cluster::{CordonRecord, LeaseVersion, Node, NodePatch, Term};
use crate::lock::LockState;

/// A write that fails if its object has changed since.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Of the Lease.
    Lock {
        /// The purpose.
        why: LockChange,
        /// The lock to write.
        next: LockState,
        /// The version it is based on; `None`: there is no Lease yet.
        basis: Option<LeaseVersion>,
    },
    /// Of a Node.
    Node {
        /// The purpose.
        why: NodeChange,
        /// The patch, with the version it is based on.
        patch: NodePatch,
    },
}

/// Purpose of a write to the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockChange {
    /// The node gets a slot, because it was marked under a Lease that was deleted, and may be rebooting.
    Adopt,
    /// The reboot is approved.
    Approve,
    /// The node is up again.
    CheckIn,
    /// The missing Node of an approved holder exists again.
    Found,
    /// The slot is free.
    Free,
    /// The Node of an approved holder is gone.
    Missing,
    /// The node gets a slot, or a new term of its slot.
    Take,
}

/// Purpose of a write to a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// The time at which the node was seen empty is recorded. The write is also the barrier for the view of the fleet.
    Drained,
    /// The node gets the rebooting annotation, and is cordoned.
    Mark,
    /// The node is marked `Ready`, and gets its former cordon.
    Restore,
}

impl Change {
    /// Marks a node as rebooting and cordons it.
    pub(super) fn mark(node: &Node, term: Term) -> Self {
        let record = CordonRecord { before: node.state_to_record(), term, drained: None };
        Self::Node { why: NodeChange::Mark, patch: NodePatch::mark(node, record) }
    }

    /// Records that a node is drained.
    pub(super) fn drained(node: &Node, record: &CordonRecord, at: Timestamp) -> Self {
        Self::Node { why: NodeChange::Drained, patch: NodePatch::drained(node, record, at) }
    }

    /// Puts a node back in service.
    pub(super) fn restore(node: &Node) -> Self {
        Self::Node { why: NodeChange::Restore, patch: NodePatch::restore(node) }
    }

    /// Returns the purpose, for the log.
    pub fn purpose(&self) -> &'static str {
        match self {
            Self::Lock { why: LockChange::Adopt, .. } => "slot taken for a node that was marked under a deleted Lease",
            Self::Lock { why: LockChange::Approve, .. } => "reboot approved",
            Self::Lock { why: LockChange::CheckIn, .. } => "check-in recorded",
            Self::Lock { why: LockChange::Found, .. } => "Node object found again",
            Self::Lock { why: LockChange::Free, .. } => "slot freed",
            Self::Lock { why: LockChange::Missing, .. } => {
                "Node object is gone while the node may be rebooting; the slot is kept for 15 minutes, or until the machine is Ready again"
            }
            Self::Lock { why: LockChange::Take, .. } => "slot taken",
            Self::Node { why: NodeChange::Drained, .. } => "drained",
            Self::Node { why: NodeChange::Mark, .. } => "marked Rebooting, cordoned",
            Self::Node { why: NodeChange::Restore, patch } if patch.unschedulable == Some(false) => "marked Ready, uncordoned",
            Self::Node { why: NodeChange::Restore, .. } => "marked Ready, cordon unchanged",
        }
    }
}

impl Lock {
    /// Creates the write of `next` over the version of this lock.
    pub(super) fn change(&self, why: LockChange, next: LockState) -> Change {
        Change::Lock { why, next, basis: self.version.clone() }
    }
}
