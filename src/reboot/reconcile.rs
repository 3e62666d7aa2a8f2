//! Reconcile: finishes what a crash or an administrator has left, one node at a time, on evidence alone.
//!
//! Every replica does this, without a leader: each step is conditional on the state that it was decided from.

use jiff::Timestamp;

use super::observed::may_be_marked_since;
use super::{Change, Lock, LockChange, Observed, Question, Seen};
use crate::cluster::{Node, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::lock::{Approved, FreeReason, KeepReason, Release, is_searched_for, release};

/// The next step for a node.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// A conditional write; if it frees a slot, with the evidence.
    Change(Change, Option<FreeReason>),
    /// Nothing; for a slot that is kept, with the reason.
    Done(Option<KeepReason>),
    /// Read something.
    Look(Question),
}

/// The next step for the holder `uid`.
pub fn holder(uid: &Uid, seen: &Observed, now: Timestamp) -> Step {
    // The Lease before the Node: a slot is freed over the version that is older than the evidence, so that any change in
    // between makes the write fail.
    let Some(lock) = &seen.lock else { return Step::Look(Question::Lock) };
    let Some(holder) = lock.value.state.holder(uid) else { return Step::Done(None) };
    let Some(node) = seen.node.as_ref().filter(|node| node.tick > lock.tick || holder.checked_in.is_some()) else {
        return Step::Look(Question::Node);
    };
    let renamed = seen.renamed.as_ref().filter(|renamed| renamed.tick > lock.tick);
    if renamed.is_none() && is_searched_for(holder, node.value.as_ref()) {
        return Step::Look(Question::Renamed);
    }
    let renamed = renamed.and_then(|renamed| renamed.value.as_ref());
    match release(holder, node.value.as_ref(), renamed, now) {
        Release::Keep(why) => Step::Done(Some(why)),
        Release::Found => Step::Change(lock.value.change(LockChange::Found, lock.value.state.missing(uid, None)), None),
        Release::Free(why) => Step::Change(lock.value.change(LockChange::Free, lock.value.state.free(uid)), Some(why)),
        Release::Missing => Step::Change(lock.value.change(LockChange::Missing, lock.value.state.missing(uid, Some(now))), None),
        Release::RestoreFirst if may_be_marked_since(node, lock, Some(holder)) => Step::Look(Question::Lock),
        Release::RestoreFirst => node.value.as_ref().map_or(Step::Done(None), restore),
    }
}

/// The next step for a node that was seen with our annotation and cordon. Without a slot both are undone, unless the Lease they
/// were made under is gone: then the node may be rebooting and gets a slot.
pub fn orphan(name: &NodeName, uid: &Uid, seen: &Observed, now: Timestamp) -> Step {
    let Some(node) = &seen.node else { return Step::Look(Question::Node) };
    let Some(lock) = seen.lock.as_ref().filter(|lock| lock.tick > node.tick) else { return Step::Look(Question::Lock) };
    let Some(node) = node.value.as_ref().filter(|node| node.meta.uid == *uid && !node.meta.is_in_service()) else {
        return Step::Done(None);
    };
    let Some(record) = &node.meta.record else { return Step::Done(None) };
    if lock.value.state.holder(uid).is_some() {
        return Step::Done(None);
    }
    let same_lease = lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    if same_lease { restore(node) } else { adopt(name, lock, node, now) }
}

fn adopt(name: &NodeName, lock: &Seen<Lock>, node: &Node, now: Timestamp) -> Step {
    let Some(group) = GroupName::parse("unknown") else { return Step::Done(None) };
    let mut next = lock.value.state.take(name, &node.meta.uid, &group, now).describe(node);
    for holder in next.holders.iter_mut().filter(|holder| holder.uid == node.meta.uid) {
        // The boot in which it was approved is not known, so being in service again is evidence enough.
        holder.approved = Some(Approved { at: now, boot: String::new() });
    }
    Step::Change(lock.value.change(LockChange::Adopt, next), None)
}

fn restore(node: &Node) -> Step {
    Step::Change(Change::restore(node), None)
}
