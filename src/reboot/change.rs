//! Writes, each conditional on the version that it is based on.

use jiff::Timestamp;

use super::Lock;
use crate::cluster::{CordonRecord, LeaseVersion, Node, NodeMeta, NodePatch, STATUS, Term, Waiting};
use crate::lock::{FreeReason, LockState};

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
    /// A request of a node that is being drained has arrived.
    Ask,
    /// The approved node was found in another boot.
    Back,
    /// The node is up again.
    CheckIn,
    /// The missing Node of an approved holder exists again.
    Found,
    /// The node is up again, and has not checked in for long.
    NeverCheckedIn,
    /// The slot is free.
    Free(FreeReason),
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
    /// The node was uncordoned during its drain, and is cordoned again.
    MarkAgain,
    /// The node is marked `Ready`, and uncordoned if it is cordoned.
    Restore,
    /// The node is marked `Ready`, and stays cordoned, because an administrator cordoned it.
    RestoreCordoned,
    /// Since when the node waits for a slot is recorded, or removed.
    Wait,
}

impl Change {
    /// Marks a node as rebooting and cordons it.
    pub(super) fn mark(node: &Node, term: Term) -> Self {
        let why = if node.meta.is_marked_for(&term) { NodeChange::MarkAgain } else { NodeChange::Mark };
        let record = CordonRecord { before: node.state_to_record(), term, drained: None };
        Self::Node { why, patch: NodePatch::mark(node, record) }
    }

    /// Records that a node is drained.
    pub(super) fn drained(node: &Node, record: &CordonRecord, at: Timestamp) -> Self {
        Self::Node { why: NodeChange::Drained, patch: NodePatch::drained(node, record, at) }
    }

    /// Puts a node back in service.
    pub(super) fn restore(node: &Node) -> Self {
        let patch = NodePatch::restore(node);
        let stays_cordoned = node.unschedulable && patch.unschedulable.is_none();
        Self::Node { why: if stays_cordoned { NodeChange::RestoreCordoned } else { NodeChange::Restore }, patch }
    }

    /// Records since when a node waits for a slot, and why.
    pub(super) fn waiting(node: &NodeMeta, waiting: Option<Waiting>) -> Self {
        Self::Node { why: NodeChange::Wait, patch: NodePatch::waiting(node, waiting) }
    }

    /// Returns the purpose, for the log.
    pub fn purpose(&self) -> String {
        let purpose = match self {
            Self::Lock { why: LockChange::Adopt, .. } => "slot taken for a node that was marked under a deleted Lease",
            Self::Lock { why: LockChange::Approve, .. } => "reboot approved",
            Self::Lock { why: LockChange::Ask, .. } => "request recorded",
            Self::Lock { why: LockChange::Back, .. } => "rebooted, and not checked in yet",
            Self::Lock { why: LockChange::CheckIn, .. } => "check-in recorded",
            Self::Lock { why: LockChange::Found, .. } => "Node object found again",
            Self::Lock { why: LockChange::NeverCheckedIn, .. } => {
                "rebooted, Ready, and not checked in for too long; it is put back in service next"
            }
            Self::Lock { why: LockChange::Free(why), .. } => return format!("slot freed: {why}"),
            Self::Lock { why: LockChange::Missing, .. } => {
                "Node object is gone while the node may be rebooting; the slot is kept until the machine is Ready again (--release-deleted-after)"
            }
            Self::Lock { why: LockChange::Take, .. } => "slot taken",
            Self::Node { why: NodeChange::Drained, .. } => "drained",
            Self::Node { why: NodeChange::Mark, .. } => "marked Rebooting, cordoned",
            Self::Node { why: NodeChange::MarkAgain, patch } => {
                return format!(
                    "uncordoned by another client while it is being drained; cordoned again. \
                     To call the drain off: kubectl annotate node {} --overwrite {STATUS}=Ready",
                    patch.name
                );
            }
            Self::Node { why: NodeChange::Restore, patch } if patch.unschedulable == Some(false) => "marked Ready, uncordoned",
            Self::Node { why: NodeChange::Restore, .. } => "marked Ready",
            Self::Node { why: NodeChange::RestoreCordoned, .. } => "marked Ready, left cordoned",
            Self::Node { why: NodeChange::Wait, patch } => match &patch.waiting {
                Some(waiting) => return format!("waits for a slot since {:.0}: {}", waiting.since, waiting.reason),
                None => "no longer waits for a slot",
            },
        };
        purpose.to_owned()
    }

    /// Reports whether the log has this change at debug level only, because it is repeated and says nothing new.
    pub fn is_routine(&self) -> bool {
        matches!(self, Self::Lock { why: LockChange::Ask, .. })
    }
}

impl Lock {
    /// Creates the write of `next` over the version of this lock.
    pub(super) fn change(&self, why: LockChange, next: LockState) -> Change {
        Change::Lock { why, next, basis: self.version.clone() }
    }
}
