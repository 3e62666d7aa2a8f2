//! Pre-reboot: may this node reboot now? **The rules, in order.**

use jiff::Timestamp;

use super::observed::may_be_marked_since;
use super::{Approval, Caller, Change, Cordoned, Drain, Emptied, FleetFacts, HeldSlot, Lock, LockChange, Now, Observed, Others};
use super::{Outcome, Question, Rules, Seen, Step, Wait, gates};
use crate::cluster::{Node, NodeName, STATUS, join_names};
use crate::drain::DrainPlan;
use crate::fleetlock::{Kind, Refusal};
use crate::lock::{Holder, MISSING_MAX};

/// Everything that a decision rests on.
struct View<'a> {
    caller: &'a Caller,
    seen: &'a Observed,
    seen_node: &'a Seen<Option<Node>>,
    node: &'a Node,
    lock: &'a Seen<Lock>,
    rules: &'a Rules,
    now: Now,
}

/// The one next step towards the answer.
pub fn next(caller: &Caller, seen: &Observed, rules: &Rules, now: Now) -> Step {
    let Some(seen_node) = &seen.node else { return Step::Look(Question::Node) };
    let Some(lock) = &seen.lock else { return Step::Look(Question::Lock) };
    let Some(node) = seen_node.value.as_ref().filter(|node| caller.is(node)) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    let holder = lock.value.state.holder(&caller.uid);
    if seen.term.as_ref().is_some_and(|held| !held.checked_in && !holds_term(holder, held.term)) {
        return Step::superseded(&caller.node);
    }
    let view = &View { caller, seen, seen_node, node, lock, rules, now };
    match holder {
        None => match take_slot(view) {
            Step::Answer(refused) => undo_own_annotation(view).unwrap_or(Step::Answer(refused)),
            step => step,
        },
        // Only a Node read after the approval shows whether an approved node is still cordoned. In an older one the annotation
        // may be missing because it was not written yet, and a new term takes the approval away.
        Some(holder) if is_uncordoned(view, holder) && seen_node.tick < lock.tick => Step::Look(Question::Node),
        Some(holder) if has_ended(view, holder) && room(view) == 0 => take_slot(view),
        Some(holder) if has_ended(view, holder) => match gates::closed(caller, seen, lock, node, rules, now) {
            Some(refused) if holder.checked_in.is_none() => keeps_its_slot(refused),
            step => step.unwrap_or_else(|| begin_term(view)),
        },
        Some(holder) if exceeds_slots(view, holder) => release_slot(view),
        Some(holder) => yield_or_mark(view, holder).unwrap_or_else(|| drain_and_approve(view, holder)),
    }
}

/// Without a slot: takes one, if the Lease has room and no node beyond it is marked as rebooting.
fn take_slot(view: &View<'_>) -> Step {
    let &View { caller, seen, node, lock, rules, now, .. } = view;
    let room = room(view);
    if room == 0 {
        let held: Vec<String> = lock.value.state.others(&caller.node).map(held_by).collect();
        let slots = if rules.capacity.slots == 1 { "the slot is" } else { "all slots are" };
        let message = format!("node {} must wait: {slots} held by {}", caller.node, join_names(&held));
        return Step::Answer(Outcome::refused(Kind::SlotsTaken, message));
    }
    if let Some(step) = gates::closed(caller, seen, lock, node, rules, now) {
        return step;
    }
    // An early check that avoids cordoning a node which must wait anyway. What it misses, the checks after cordoning find. A node that
    // has just released its slot because of a rebooting node is refused by the same facts.
    match FleetFacts::rebooting_without_slot(seen.newest_fleet(), lock, &caller.node) {
        Others::NotRead => Step::Look(Question::FleetLately),
        Others::LockTooOld => Step::Look(Question::Lock),
        Others::Are(names) if names.len() >= room => other_rebooting(caller, &names, "has to wait"),
        Others::Are(_) => begin_term(view),
    }
}

/// Returns how many nodes may be unavailable beside the other holders.
fn room(view: &View<'_>) -> usize {
    view.rules.capacity.room(view.lock.value.state.others(&view.caller.node))
}

fn begin_term(view: &View<'_>) -> Step {
    let &View { caller, seen_node, node, lock, now, .. } = view;
    // The slot of another Node of this name goes with the change. Only a Node read after the lock is the later of the two.
    if seen_node.tick < lock.tick && lock.value.state.holders.iter().any(|holder| holder.node == caller.node && holder.uid != caller.uid) {
        return Step::Look(Question::Node);
    }
    let next = lock.value.state.take(&caller.node, &caller.uid, &caller.group, now.clock);
    Step::Change(lock.value.change(LockChange::Take, next.describe(node)))
}

/// The refusal of a node that was approved, and uncordoned since. The approval cannot be taken back: the node may be rebooting.
fn keeps_its_slot(refused: Step) -> Step {
    match refused {
        Step::Answer(Outcome::Refused(Refusal { kind, message })) => {
            let message = format!("{message}; it was approved before it was uncordoned, and keeps its slot, for which other nodes wait");
            Step::Answer(Outcome::refused(kind, message))
        }
        step => step,
    }
}

/// A holder, as the refusal of another node names it.
fn held_by(holder: &Holder) -> String {
    let held = format!("{} since {:.0}", holder.node, holder.since);
    match holder.missing_since {
        None => held,
        Some(since) => {
            let until = since.checked_add(MISSING_MAX).unwrap_or(Timestamp::MAX);
            format!(
                "{held} (approved; its Node is gone since {since:.0}, and its slot is kept until {until:.0} or until its machine is Ready)"
            )
        }
    }
}

/// The term has run its course, and the node asks again: a new term begins, so that no proof of the old one counts for it.
fn has_ended(view: &View<'_>, holder: &Holder) -> bool {
    holder.checked_in.is_some() || is_uncordoned(view, holder)
}

/// Approved, and without its cordon or its annotation.
fn is_uncordoned(view: &View<'_>, holder: &Holder) -> bool {
    holder.approved.is_some() && holder.checked_in.is_none() && !view.node.is_cordoned_for(&view.lock.value.term(holder.term))
}

/// More nodes hold slots than there are, as after the Lease was deleted or `--slots` lowered, and this one must release its
/// slot: it was taken last, and is not approved.
fn exceeds_slots(view: &View<'_>, holder: &Holder) -> bool {
    let before = |other: &&Holder| other.approved.is_some() || other.term < holder.term;
    let others = view.lock.value.state.others(&view.caller.node);
    holder.approved.is_none() && view.rules.capacity.room(others.filter(before)) == 0
}

/// Releases the slot, so that no other request of this node can approve it any more. The annotation and the cordon are undone
/// next, as for every node without a slot.
fn release_slot(view: &View<'_>) -> Step {
    let lock = &view.lock.value;
    Step::Change(lock.change(LockChange::Free, lock.state.free(&view.caller.uid)))
}

/// Before a node without a slot is refused, our annotation and cordon on it are undone; unless they are of another Lease: then
/// the node may be rebooting, and is left to the reconciler.
fn undo_own_annotation(view: &View<'_>) -> Option<Step> {
    let record = view.node.meta.record.as_ref()?;
    let same_lease = view.lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    // A lock read before the node may be older than the term that the annotation is of.
    let is_newer = may_be_marked_since(view.seen_node, view.lock, None);
    same_lease.then(|| if is_newer { Step::Look(Question::Lock) } else { Step::Change(Change::restore(view.node)) })
}

/// With a slot: marks and cordons, then looks for other nodes that are marked. The first by name keeps its slot and waits for the
/// others; those release theirs. `None`: no other node is in the way.
fn yield_or_mark(view: &View<'_>, holder: &Holder) -> Option<Step> {
    let &View { caller, seen, seen_node, node, lock, .. } = view;
    let term = lock.value.term(holder.term);
    // Right after its own mark a request reads the fleet with nothing missing from before; else that comes before the approval.
    let known = if seen.own_write.is_some() { seen.fleet.as_ref() } else { seen.newest_fleet() };
    let others = FleetFacts::rebooting_without_slot(known, lock, &caller.node);
    if let Others::Are(names) = &others
        && let Some(step) = give_way(view, holder, names)
    {
        return Some(step);
    }
    if !node.is_cordoned_for(&term) {
        // A lock read before the node may be of a term that has ended, and the annotation of the next must not be undone.
        let lock_is_newer = seen_node.tick < lock.tick;
        return Some(if lock_is_newer { Step::Change(Change::mark(node, term)) } else { Step::Look(Question::Lock) });
    }
    match others {
        _ if holder.approved.is_some() => None,
        Others::NotRead if seen.own_write.is_some() => Some(Step::Look(Question::Fleet)),
        Others::NotRead => Some(Step::Look(Question::FleetLately)),
        Others::LockTooOld => Some(Step::Look(Question::Lock)),
        Others::Are(names) => keep_waiting(view, &names),
    }
}

/// Releases the slot if as many of `names` as there is room for (this node's own slot at least) come before this node by name.
fn give_way(view: &View<'_>, holder: &Holder, names: &[NodeName]) -> Option<Step> {
    let before = names.iter().filter(|name| **name < view.caller.node).count();
    (holder.approved.is_none() && before >= room(view).max(1)).then(|| release_slot(view))
}

fn keep_waiting(view: &View<'_>, names: &[NodeName]) -> Option<Step> {
    (names.len() >= room(view).max(1)).then(|| other_rebooting(view.caller, names, "keeps its slot but must wait"))
}

/// Cordoned under its own term: lists the pods, waits for the drain, lists again, and approves when the list is empty.
fn drain_and_approve(view: &View<'_>, holder: &Holder) -> Step {
    let &View { caller, seen, seen_node, node, lock, rules, now } = view;
    let Some(cordoned) = Cordoned::of(seen_node, &lock.value, holder.term) else { return Step::Look(Question::Node) };
    let Some(pods) = &seen.pods else { return Step::Look(Question::Pods) };
    let elsewhere = match &seen.elsewhere {
        Some(hosts) => Some(&hosts.value),
        None if DrainPlan::asks_elsewhere(pods.value.items(), &rules.ours, holder.since) => return Step::Look(Question::Elsewhere),
        None => None,
    };
    let emptied = match Emptied::of(pods, &cordoned, |pods| DrainPlan::of(pods, &rules.ours, holder.since, elsewhere)) {
        Ok(emptied) => emptied,
        Err(None) => return Step::Look(Question::Pods),
        Err(Some(plan)) => return Step::Wait(Wait::Drain(Drain { term: holder.term, since: holder.since, plan })),
    };
    if holder.approved.is_none()
        && let Some(step) = check_others(view, holder, pods.tick)
    {
        return step;
    }
    match HeldSlot::of(lock, &caller.uid) {
        Some(slot) if lock.tick > pods.tick => match Approval::of(cordoned, emptied, slot, now.instant) {
            Ok(approval) => Step::Answer(Outcome::Approved(approval, caller.node.clone())),
            Err(_stale) => Step::Look(Question::Node),
        },
        _ => Step::Change(lock.value.change(LockChange::Approve, lock.value.state.approve(&caller.uid, &node.boot_id, now.clock))),
    }
}

/// Drained, and before the approval: looks at the other nodes, with no change missing that was written before the drain was
/// recorded. `None`: no other node is in the way.
fn check_others(view: &View<'_>, holder: &Holder, pods_tick: u64) -> Option<Step> {
    let &View { caller, seen, node, lock, rules, now, .. } = view;
    let Some(fleet) = seen.fleet.as_ref().filter(|fleet| fleet.tick > pods_tick) else {
        let own_record = seen.own_write.as_ref().and_then(|own| own.record.as_ref());
        return Some(match &node.meta.record {
            _ if own_record.is_some_and(|record| record.drained.is_some()) => Step::Look(Question::Fleet),
            Some(record) => Step::Change(Change::drained(node, record, now.clock)),
            None => Step::Look(Question::Node),
        });
    };
    match FleetFacts::rebooting_without_slot(Some(fleet), lock, &caller.node) {
        Others::NotRead | Others::LockTooOld => return Some(Step::Look(Question::Lock)),
        Others::Are(names) => {
            let step = give_way(view, holder, &names).or_else(|| keep_waiting(view, &names));
            if step.is_some() {
                return step;
            }
        }
    }
    // Only without a slot can the node wait for a person and keep no other node from its turn.
    let stays_up = gates::control_plane_stays_up(caller, &fleet.value, &lock.value, holder, node, rules);
    (!stays_up).then(|| release_slot(view))
}

fn other_rebooting(caller: &Caller, names: &[NodeName], waits: &str) -> Step {
    let are = if names.len() == 1 { "node" } else { "nodes" };
    let message = format!(
        "node {} {waits}: {are} {} marked {STATUS}=Rebooting without a slot, by hand or by another manager",
        caller.node,
        join_names(names)
    );
    Step::Answer(Outcome::refused(Kind::OtherRebooting, message))
}

/// Reports whether the slot is still held under the term, with no check-in since.
fn holds_term(holder: Option<&Holder>, term: u64) -> bool {
    holder.is_some_and(|holder| holder.term == term && holder.checked_in.is_none())
}
