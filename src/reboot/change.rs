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
    /// A node with our annotation and cordon has no slot because the Lease was deleted: it gets one, since it may be rebooting.
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
    /// The node gets a slot, or a new term of its slot.
    Take,
}

/// Purpose of a write to a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// The time at which the node was seen empty is recorded. The write is also the barrier for what is known of the fleet.
    Drained,
    /// The node gets the rebooting annotation, and is cordoned.
    Mark,
    /// The node is marked `Ready`, and its cordon is as before.
    Restore,
}

impl Change {
    /// Marks a node as rebooting and cordons it.
    pub(super) fn mark(node: &Node, term: Term) -> Self {
        let record = CordonRecord { before: node.before_marking(), term, drained: None };
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

    /// The purpose, for the log.
    pub fn purpose(&self) -> &'static str {
        match self {
            Self::Lock { why: LockChange::Adopt, .. } => "gives a slot to a node that was marked under a Lease now gone",
            Self::Lock { why: LockChange::Approve, .. } => "approves the reboot",
            Self::Lock { why: LockChange::CheckIn, .. } => "records the check-in",
            Self::Lock { why: LockChange::Found, .. } => "its Node object is there after all",
            Self::Lock { why: LockChange::Free, .. } => "frees the slot",
            Self::Lock { why: LockChange::Missing, .. } => {
                "its Node object is gone while it may be rebooting: its slot is kept for a time, or until its machine is Ready again"
            }
            Self::Lock { why: LockChange::Take, .. } => "takes a slot",
            Self::Node { why: NodeChange::Drained, .. } => "records that the node is drained",
            Self::Node { why: NodeChange::Mark, .. } => "marks the node as rebooting and cordons it",
            Self::Node { why: NodeChange::Restore, .. } => "marks the node as ready and restores its cordon",
        }
    }
}

impl Lock {
    /// Writes `next` over this lock.
    pub(super) fn change(&self, why: LockChange, next: LockState) -> Change {
        Change::Lock { why, next, basis: self.version.clone() }
    }
}
