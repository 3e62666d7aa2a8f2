//! Steady-state: the node is up and may run pods again. If nothing must change, this costs two small reads.
//!
//! For a holder the check-in is written into the Lease first. From then on no earlier request can approve the node, and any replica
//! can do the rest: put the node back in service, and free the slot.

use super::observed::may_be_marked_since;
use super::{Caller, Change, HeldTerm, Lock, LockChange, Now, Observed, Outcome, Question, Reading, Settled, Step};
use crate::cluster::Node;
use crate::lock::{Holder, Release, Times, release};

/// Returns the next step towards the answer.
pub fn next(caller: &Caller, observed: &Observed, times: &Times, now: Now) -> Step {
    let Some(meta) = &observed.meta else { return Step::Read(Question::Meta) };
    let Some(meta) = meta.value.as_ref().filter(|meta| meta.uid == caller.uid) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    // A node that was marked Ready by hand may still hold its slot.
    if meta.is_in_service() {
        let Some(lock) = &observed.lock else { return Step::Read(Question::Lock) };
        if lock.value.state.holder(&caller.uid).is_none() {
            return Step::Answer(Outcome::Settled(Settled::InService(caller.node.clone())));
        }
    }
    let Some(node_reading) = &observed.node else { return Step::Read(Question::Node) };
    let Some(node) = node_reading.value.as_ref().filter(|node| caller.is(node)) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    let Some(lock) = &observed.lock else { return Step::Read(Question::Lock) };
    let holder = lock.value.state.holder(&caller.uid);
    // A late check-in must not undo an approval that was written after the check-in arrived. An approval whose time is in the future
    // is from a replica whose clock is ahead; it must not keep a node that has rebooted since from checking in. An adopted slot has
    // no boot, so the time alone counts.
    if holder.and_then(|holder| holder.approved.as_ref()).is_some_and(|approved| {
        approved.at > caller.arrived && (approved.at <= now.clock || approved.boot == node.boot_id || approved.boot.is_empty())
    }) {
        return Step::superseded(&caller.node);
    }
    if let Some(holder) = holder
        && !observed.first.as_ref().is_some_and(|first| first.as_ref().is_some_and(|first| HeldTerm::of(holder).follows(first)))
    {
        return Step::superseded(&caller.node);
    }
    if let Some(holder) = holder
        && holder.checked_in.is_none()
    {
        return Step::Change(lock.value.change(LockChange::CheckIn, lock.value.state.check_in(&holder.uid, now.clock)));
    }
    if may_be_marked_since(node_reading, lock, holder) {
        return Step::Read(Question::Lock);
    }
    if !node.meta.is_in_service() {
        return Step::Change(Change::restore(node));
    }
    finish(caller, lock, holder, node, times, now)
}

/// Frees the slot of a node in service. If its kubelet is not ready yet, the reconciler frees the slot later.
fn finish(caller: &Caller, lock: &Reading<Lock>, holder: Option<&Holder>, node: &Node, times: &Times, now: Now) -> Step {
    match holder.map(|holder| (holder, release(holder, Some(node), None, times, now.clock))) {
        Some((holder, Release::Free(why))) => {
            let next = lock.value.state.give_back(&holder.uid, why, Some(node), times, now.clock);
            Step::Change(lock.value.change(LockChange::Free(why), next))
        }
        Some((_, Release::Keep(why))) => Step::Answer(Outcome::Settled(Settled::SlotKept(caller.node.clone(), why))),
        Some(_) | None => Step::Answer(Outcome::Settled(Settled::InService(caller.node.clone()))),
    }
}
