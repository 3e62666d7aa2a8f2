//! Steady-state: this node is up and may work again. If nothing must change, a single small read.
//!
//! For a holder the check-in is written into the Lease first: from then on no earlier request can approve it, and
//! any replica can do the rest: put the node back in service, free the slot.

use super::observed::may_be_marked_since;
use super::{Caller, Change, HeldTerm, Lock, LockChange, Now, Observed, Outcome, Question, Seen, Settled, Step};
use crate::cluster::Node;
use crate::lock::{Holder, Release, release};

/// The one next step towards the answer.
pub fn next(caller: &Caller, seen: &Observed, now: Now) -> Step {
    let Some(meta) = &seen.meta else { return Step::Look(Question::Meta) };
    let Some(meta) = meta.value.as_ref().filter(|meta| meta.uid == caller.uid) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    if meta.is_in_service() && seen.lock.is_none() && seen.first.is_none() {
        return Step::Answer(Outcome::Settled(Settled::InService(caller.node.clone())));
    }
    let Some(seen_node) = &seen.node else { return Step::Look(Question::Node) };
    let Some(node) = seen_node.value.as_ref().filter(|node| caller.is(node)) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    let Some(lock) = &seen.lock else { return Step::Look(Question::Lock) };
    let holder = lock.value.state.holder(&caller.uid);
    // An approval of after this request arrived is not undone by it, however long the request has been under way. Only an
    // approval from the future may be older: it was written by a replica whose clock is ahead, which must not keep a node from
    // checking in that has rebooted since. An adopted slot names no boot: there the time alone counts.
    if holder.and_then(|holder| holder.approved.as_ref()).is_some_and(|approved| {
        approved.at > caller.arrived && (approved.at <= now.clock || approved.boot == node.boot_id || approved.boot.is_empty())
    }) {
        return Step::superseded(&caller.node);
    }
    if let Some(holder) = holder
        && !seen.first.as_ref().is_some_and(|first| first.as_ref().is_some_and(|first| HeldTerm::of(holder).follows(first)))
    {
        return Step::superseded(&caller.node);
    }
    if let Some(holder) = holder
        && holder.checked_in.is_none()
    {
        return Step::Change(lock.value.change(LockChange::CheckIn, lock.value.state.check_in(&holder.uid, now.clock)));
    }
    if may_be_marked_since(seen_node, lock, holder) {
        return Step::Look(Question::Lock);
    }
    if !node.meta.is_in_service() {
        return Step::Change(Change::restore(node));
    }
    finish(caller, lock, holder, node, now)
}

/// In service: free the slot, unless the kubelet is not ready yet; then the reconciler does it later.
fn finish(caller: &Caller, lock: &Seen<Lock>, holder: Option<&Holder>, node: &Node, now: Now) -> Step {
    match holder.map(|holder| (holder, release(holder, Some(node), None, now.clock))) {
        None => Step::Answer(Outcome::Settled(Settled::InService(caller.node.clone()))),
        Some((holder, Release::Free(_))) => Step::Change(lock.value.change(LockChange::Free, lock.value.state.free(&holder.uid))),
        Some(_) => Step::Answer(Outcome::Settled(Settled::SlotKept(caller.node.clone()))),
    }
}
