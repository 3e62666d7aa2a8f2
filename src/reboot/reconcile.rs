//! Reconcile: finishes what a crash or an administrator has interrupted, one node at a time, on evidence only.
//!
//! Every replica reconciles, without a leader, because each step is conditional on the state from which it was decided.

use jiff::Timestamp;

use super::observed::may_be_marked_since;
use super::{Change, Lock, LockChange, Observed, Question, Reading};
use crate::cluster::{Node, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::lock::{Approved, Capacity, KeepReason, Release, Times, is_searched_for, release};

/// Next step for a node.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// A conditional write.
    Change(Change),
    /// Nothing is left to do. If a slot is kept, the reason.
    Done(Option<KeepReason>),
    /// Read something.
    Read(Question),
}

/// Returns the next step for the holder `uid`.
pub fn holder(uid: &Uid, observed: &Observed, times: &Times, now: Timestamp) -> Step {
    // The Lease is read before the Node. The slot is then freed over a version that is older than the evidence, so any change in
    // between makes the write fail.
    let Some(lock) = &observed.lock else { return Step::Read(Question::Lock) };
    let Some(holder) = lock.value.state.holder(uid) else { return Step::Done(None) };
    let Some(node) = observed.node.as_ref().filter(|node| node.tick > lock.tick || holder.checked_in.is_some()) else {
        return Step::Read(Question::Node);
    };
    let renamed = observed.renamed.as_ref().filter(|renamed| renamed.tick > lock.tick);
    if renamed.is_none() && is_searched_for(holder, node.value.as_ref()) {
        return Step::Read(Question::Renamed);
    }
    let renamed = renamed.and_then(|renamed| renamed.value.as_ref());
    let state = &lock.value.state;
    match release(holder, node.value.as_ref(), renamed, times, now) {
        Release::Back => Step::Change(lock.value.change(LockChange::Back, state.back(uid, now))),
        Release::CheckIn => Step::Change(lock.value.change(LockChange::NeverCheckedIn, state.never_checked_in(uid, now))),
        Release::Keep(why) => Step::Done(Some(why)),
        Release::Found => Step::Change(lock.value.change(LockChange::Found, state.missing(uid, None))),
        Release::Free(why) => {
            let next = state.give_back(uid, why, node.value.as_ref(), times, now);
            Step::Change(lock.value.change(LockChange::Free(why), next))
        }
        Release::Missing => Step::Change(lock.value.change(LockChange::Missing, state.missing(uid, Some(now)))),
        Release::RestoreFirst if may_be_marked_since(node, lock, Some(holder)) => Step::Read(Question::Lock),
        Release::RestoreFirst => node.value.as_ref().map_or(Step::Done(None), restore),
    }
}

/// Returns the next step for a node that has our annotation and cordon, and perhaps no slot. Without a slot both are removed. If their
/// Lease was deleted, the node may be rebooting and gets a slot instead.
pub fn orphan(name: &NodeName, uid: &Uid, observed: &Observed, now: Timestamp) -> Step {
    let Some(node) = &observed.node else { return Step::Read(Question::Node) };
    let Some(lock) = observed.lock.as_ref().filter(|lock| lock.tick > node.tick) else { return Step::Read(Question::Lock) };
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

/// Returns the next step for a node that is recorded as waiting for a slot. If it did not take a slot that was free for long, it has stopped
/// asking, and the record is removed.
pub fn waiter(observed: &Observed, capacity: Capacity, now: Timestamp) -> Step {
    let Some(node) = &observed.node else { return Step::Read(Question::Node) };
    let Some(lock) = observed.lock.as_ref().filter(|lock| lock.tick > node.tick) else { return Step::Read(Question::Lock) };
    let Some(node) = &node.value else { return Step::Done(None) };
    let room = capacity.room(&lock.value.state.holders);
    match &node.meta.waiting {
        Some(waiting) if lock.value.state.is_abandoned(waiting.since, room, now) => Step::Change(Change::waiting(&node.meta, None)),
        _ => Step::Done(None),
    }
}

fn adopt(name: &NodeName, lock: &Reading<Lock>, node: &Node, now: Timestamp) -> Step {
    let Some(group) = GroupName::parse("unknown") else { return Step::Done(None) };
    let mut next = lock.value.state.take(name, &node.meta.uid, &group, now).describe(node);
    for holder in next.holders.iter_mut().filter(|holder| holder.uid == node.meta.uid) {
        // The boot in which it was approved is not known. Therefore it is enough evidence that the node is in service again.
        holder.approved = Some(Approved { at: now, boot: String::new(), first: None, unsure: false });
    }
    Step::Change(lock.value.change(LockChange::Adopt, next))
}

fn restore(node: &Node) -> Step {
    Step::Change(Change::restore(node))
}
