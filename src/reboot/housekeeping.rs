//! Housekeeping: what a crash or an administrator left is put in order, one node at a time, on evidence alone.
//!
//! Every replica does this, without a leader: each step is conditional on what it was decided from.

use jiff::Timestamp;

use super::{Change, restore};
use super::{Lock, LockChange, NodeChange, Observed, Question, Seen, Step, may_be_marked_since};
use crate::cluster::{Node, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::lock::{Approved, FreeReason, KeepReason, Release, is_searched_for, release};

/// What to do about a node.
#[derive(Debug)]
#[must_use]
pub enum Tidy {
    /// One conditional write; for one that frees a slot, with the evidence.
    Change(Change, Option<FreeReason>),
    /// Nothing; for a slot that is kept, with the reason.
    Done(Option<KeepReason>),
    /// Read something.
    Look(Question),
}

/// The next step for the holder `uid`.
pub fn holder(uid: &Uid, seen: &Observed, now: Timestamp) -> Tidy {
    // The Lease before the Node: a slot is freed over the version that is older than the evidence, so that whatever
    // happened in between makes the write fail.
    let Some(lock) = &seen.lock else { return Tidy::Look(Question::Lock) };
    let Some(holder) = lock.value.state.holder(uid) else { return Tidy::Done(None) };
    let Some(node) = seen.node.as_ref().filter(|node| node.tick > lock.tick || holder.checked_in.is_some()) else {
        return Tidy::Look(Question::Node);
    };
    let renamed = seen.renamed.as_ref().filter(|renamed| renamed.tick > lock.tick);
    if renamed.is_none() && is_searched_for(holder, node.value.as_ref()) {
        return Tidy::Look(Question::Renamed);
    }
    let renamed = renamed.and_then(|renamed| renamed.value.as_ref());
    match release(holder, node.value.as_ref(), renamed, now) {
        Release::Keep(why) => Tidy::Done(Some(why)),
        Release::Found => lock.value.change(LockChange::Found, lock.value.state.missing(uid, None)).into(),
        Release::Free(why) => match lock.value.change(LockChange::Free, lock.value.state.free(uid)) {
            Step::Change(change) => Tidy::Change(change, Some(why)),
            step => step.into(),
        },
        Release::Missing => lock.value.change(LockChange::Missing, lock.value.state.missing(uid, Some(now))).into(),
        Release::RestoreFirst if may_be_marked_since(node, lock, Some(holder)) => Tidy::Look(Question::Lock),
        Release::RestoreFirst => node.value.as_ref().map_or(Tidy::Done(None), |node| restore(node).into()),
    }
}

/// The next step for a node that was seen marked as rebooting by us. With a slot all is well; without one the mark is
/// undone, unless the Lease it was made under is not there any more: then the node may be rebooting and gets a slot.
pub fn stray(name: &NodeName, uid: &Uid, seen: &Observed, now: Timestamp) -> Tidy {
    let Some(node) = &seen.node else { return Tidy::Look(Question::Node) };
    let Some(lock) = seen.lock.as_ref().filter(|lock| lock.tick > node.tick) else { return Tidy::Look(Question::Lock) };
    let Some(node) = node.value.as_ref().filter(|node| node.mark.uid == *uid && !node.mark.is_in_service()) else {
        return Tidy::Done(None);
    };
    let Some(record) = &node.mark.record else { return Tidy::Done(None) };
    if lock.value.state.holder(uid).is_some() {
        return Tidy::Done(None);
    }
    let same_lease = lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    if same_lease { restore(node).into() } else { adopt(name, lock, node, now) }
}

fn adopt(name: &NodeName, lock: &Seen<Lock>, node: &Node, now: Timestamp) -> Tidy {
    let Some(group) = GroupName::parse("unknown") else { return Tidy::Done(None) };
    let mut next = lock.value.state.take(name, &node.mark.uid, &group, now).describe(node);
    for holder in next.holders.iter_mut().filter(|holder| holder.uid == node.mark.uid) {
        // Which boot it was approved in is not known, so once it is in service again that is evidence enough.
        holder.approved = Some(Approved { at: now, boot: String::new() });
    }
    lock.value.change(LockChange::Adopt, next).into()
}

impl From<Step> for Tidy {
    fn from(step: Step) -> Self {
        match step {
            Step::Change(change) => Self::Change(change, None),
            Step::Look(question) => Self::Look(question),
            Step::Answer(_) | Step::Wait(_) => Self::Done(None),
        }
    }
}

impl Change {
    /// What it is for, in a log.
    pub fn purpose(&self) -> &'static str {
        match self {
            Self::Lock { why: LockChange::Adopt, .. } => "gives a slot to a node that was marked under a Lease now gone",
            Self::Lock { why: LockChange::Approve, .. } => "approves the reboot",
            Self::Lock { why: LockChange::CheckIn, .. } => "records the check-in",
            Self::Lock { why: LockChange::Found, .. } => "its Node object is there after all",
            Self::Lock { why: LockChange::Free, .. } => "frees the slot",
            Self::Lock { why: LockChange::Missing, .. } => {
                "its Node object is gone while it may be rebooting: its slot is kept for 15 minutes, or until its machine is Ready again"
            }
            Self::Lock { why: LockChange::Take, .. } => "takes a slot",
            Self::Node { why: NodeChange::Drained, .. } => "records that the node is drained",
            Self::Node { why: NodeChange::Mark, .. } => "marks the node as rebooting and cordons it",
            Self::Node { why: NodeChange::Restore, .. } => "marks the node as ready and restores its cordon",
        }
    }
}
