//! Pre-reboot: may this node reboot now? **The rules, in order.**

use jiff::Timestamp;

use super::observed::may_be_marked_since;
use super::{Approval, Caller, Change, Cordoned, Drain, Emptied, FleetFacts, HeldSlot, Lock, LockChange, Now, Observed, Others};
use super::{Outcome, Question, Reading, Rules, Step, Wait, gates};
use crate::cluster::{Node, NodeName, STATUS, join_names};
use crate::drain::DrainPlan;
use crate::fleetlock::{Kind, Refusal};
use crate::lock::{Holder, MISSING_MAX};

/// All inputs of a decision.
struct View<'a> {
    caller: &'a Caller,
    observed: &'a Observed,
    node_reading: &'a Reading<Option<Node>>,
    node: &'a Node,
    lock: &'a Reading<Lock>,
    rules: &'a Rules,
    now: Now,
}

/// Returns the next step towards the answer.
pub fn next(caller: &Caller, observed: &Observed, rules: &Rules, now: Now) -> Step {
    let Some(node_reading) = &observed.node else { return Step::Read(Question::Node) };
    let Some(lock) = &observed.lock else { return Step::Read(Question::Lock) };
    let Some(node) = node_reading.value.as_ref().filter(|node| caller.is(node)) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    let holder = lock.value.state.holder(&caller.uid);
    if observed.term.as_ref().is_some_and(|held| !held.checked_in && !holds_term(holder, held.term)) {
        return Step::superseded(&caller.node);
    }
    let view = &View { caller, observed, node_reading, node, lock, rules, now };
    match holder {
        None => match take_slot(view) {
            Step::Answer(refused) => undo_own_annotation(view).unwrap_or(Step::Answer(refused)),
            step => step,
        },
        // Only a Node read after the approval shows whether an approved node is still cordoned. An older Node may lack the annotation
        // because it was not written yet, and a new term would take the approval away.
        Some(holder) if is_uncordoned(view, holder) && node_reading.tick < lock.tick => Step::Read(Question::Node),
        Some(holder) if has_ended(view, holder) && room(view) == 0 => take_slot(view),
        Some(holder) if has_ended(view, holder) => match gates::closed(caller, observed, lock, node, rules, now) {
            Some(refused) if holder.checked_in.is_none() => keeps_its_slot(refused),
            step => step.unwrap_or_else(|| begin_term(view)),
        },
        Some(holder) if exceeds_slots(view, holder) => release_slot(view),
        Some(holder) => yield_or_mark(view, holder).unwrap_or_else(|| drain_and_approve(view, holder)),
    }
}

/// Without a slot: takes one if a slot is free and no other node rebooting without a slot is in the way.
fn take_slot(view: &View<'_>) -> Step {
    let &View { caller, observed, node, lock, rules, now, .. } = view;
    let room = room(view);
    if room == 0 {
        let held: Vec<String> = lock.value.state.others(&caller.node).map(held_by).collect();
        let slots = if rules.capacity.slots == 1 { "the slot is" } else { "all slots are" };
        let message = format!("node {} must wait: {slots} held by {}", caller.node, join_names(&held));
        return Step::Answer(Outcome::refused(Kind::SlotsTaken, message));
    }
    if let Some(step) = gates::closed(caller, observed, lock, node, rules, now) {
        return step;
    }
    // An early check that avoids cordoning a node which must wait anyway. The checks after cordoning find what this one misses. After
    // a node has given way, the same facts refuse its next attempt here, so it does not take the slot again.
    match FleetFacts::rebooting_without_slot(observed.newest_fleet(), lock, &caller.node) {
        Others::NotRead => Step::Read(Question::FleetCached),
        Others::LockTooOld => Step::Read(Question::Lock),
        Others::Known(names) if names.len() >= room => other_rebooting(caller, &names, "must wait"),
        Others::Known(_) => begin_term(view),
    }
}

/// Returns the number of slots that other nodes do not hold.
fn room(view: &View<'_>) -> usize {
    view.rules.capacity.room(view.lock.value.state.others(&view.caller.node))
}

fn begin_term(view: &View<'_>) -> Step {
    let &View { caller, node_reading, node, lock, now, .. } = view;
    // `take` drops the slot of any other Node of this name. Only a Node that was read after the lock is surely the newer one.
    if node_reading.tick < lock.tick && lock.value.state.holders.iter().any(|holder| holder.node == caller.node && holder.uid != caller.uid)
    {
        return Step::Read(Question::Node);
    }
    let next = lock.value.state.take(&caller.node, &caller.uid, &caller.group, now.clock);
    Step::Change(lock.value.change(LockChange::Take, next.describe(node)))
}

/// Refuses a node that was uncordoned after its approval. The approval cannot be withdrawn, because the node may be rebooting.
fn keeps_its_slot(refused: Step) -> Step {
    match refused {
        Step::Answer(Outcome::Refused(Refusal { kind, message })) => {
            let message = format!("{message}; it was approved before it was uncordoned, and keeps its slot, for which other nodes wait");
            Step::Answer(Outcome::refused(kind, message))
        }
        step => step,
    }
}

/// Describes a holder, for the refusal of another node.
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

/// Reports whether the term has ended. A node that asks again then gets a new term, for which no proof of the old one counts.
fn has_ended(view: &View<'_>, holder: &Holder) -> bool {
    holder.checked_in.is_some() || is_uncordoned(view, holder)
}

/// Reports whether the node was approved and has lost its cordon or its annotation.
fn is_uncordoned(view: &View<'_>, holder: &Holder) -> bool {
    holder.approved.is_some() && holder.checked_in.is_none() && !view.node.is_cordoned_for(&view.lock.value.term(holder.term))
}

/// Reports whether there are more holders than slots and this one must release its slot, because its slot was taken last and is not
/// approved. Causes: the Lease was deleted, or `--slots` was lowered.
fn exceeds_slots(view: &View<'_>, holder: &Holder) -> bool {
    let before = |other: &&Holder| other.approved.is_some() || other.term < holder.term;
    let others = view.lock.value.state.others(&view.caller.node);
    holder.approved.is_none() && view.rules.capacity.room(others.filter(before)) == 0
}

/// Releases the slot, so that no other request of this node can approve it. Annotation and cordon are removed next, as for every node
/// without a slot.
fn release_slot(view: &View<'_>) -> Step {
    let lock = &view.lock.value;
    Step::Change(lock.change(LockChange::Free, lock.state.free(&view.caller.uid)))
}

/// Removes our annotation and cordon from a node without a slot, before it is refused. If they are of another Lease, the node may be
/// rebooting, and is left to the reconciler.
fn undo_own_annotation(view: &View<'_>) -> Option<Step> {
    let record = view.node.meta.record.as_ref()?;
    let same_lease = view.lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    // A lock read before the node may be older than the term in the annotation.
    let is_newer = may_be_marked_since(view.node_reading, view.lock, None);
    same_lease.then(|| if is_newer { Step::Read(Question::Lock) } else { Step::Change(Change::restore(view.node)) })
}

/// With a slot: gives way to marked nodes that are first by name, else marks and cordons, then waits while others are marked. `None`: no
/// other node is in the way.
fn yield_or_mark(view: &View<'_>, holder: &Holder) -> Option<Step> {
    let &View { caller, observed, node_reading, node, lock, .. } = view;
    let term = lock.value.term(holder.term);
    // Right after its own annotation a request needs the fleet without a missing change. At other times a late view suffices here,
    // because `check_others` follows before the approval.
    let known = if observed.own_write.is_some() { observed.fleet.as_ref() } else { observed.newest_fleet() };
    let others = FleetFacts::rebooting_without_slot(known, lock, &caller.node);
    if let Others::Known(names) = &others
        && let Some(step) = give_way(view, holder, names)
    {
        return Some(step);
    }
    if !node.is_cordoned_for(&term) {
        // A lock read before the node may be of a term that has ended. The annotation of the next term must not be overwritten.
        let lock_is_newer = node_reading.tick < lock.tick;
        return Some(if lock_is_newer { Step::Change(Change::mark(node, term)) } else { Step::Read(Question::Lock) });
    }
    match others {
        _ if holder.approved.is_some() => None,
        Others::NotRead if observed.own_write.is_some() => Some(Step::Read(Question::Fleet)),
        Others::NotRead => Some(Step::Read(Question::FleetCached)),
        Others::LockTooOld => Some(Step::Read(Question::Lock)),
        Others::Known(names) => keep_waiting(view, &names),
    }
}

/// Releases the slot if enough of `names` come before this node by name to take all the slots that are left.
fn give_way(view: &View<'_>, holder: &Holder, names: &[NodeName]) -> Option<Step> {
    let before = names.iter().filter(|name| **name < view.caller.node).count();
    (holder.approved.is_none() && before >= room(view).max(1)).then(|| release_slot(view))
}

fn keep_waiting(view: &View<'_>, names: &[NodeName]) -> Option<Step> {
    (names.len() >= room(view).max(1)).then(|| other_rebooting(view.caller, names, "keeps its slot but must wait"))
}

/// Cordoned under its own term: lists the pods, waits for the drain, lists again, and approves if the list is empty.
fn drain_and_approve(view: &View<'_>, holder: &Holder) -> Step {
    let &View { caller, observed, node_reading, node, lock, rules, now } = view;
    let Some(cordoned) = Cordoned::of(node_reading, &lock.value, holder.term) else { return Step::Read(Question::Node) };
    let Some(pods) = &observed.pods else { return Step::Read(Question::Pods) };
    let other_hosts = match &observed.other_hosts {
        Some(hosts) => Some(&hosts.value),
        None if DrainPlan::needs_other_hosts(pods.value.items(), &rules.ours, holder.since) => return Step::Read(Question::OtherHosts),
        None => None,
    };
    let emptied = match Emptied::of(pods, &cordoned, |pods| DrainPlan::of(pods, &rules.ours, holder.since, other_hosts)) {
        Ok(emptied) => emptied,
        Err(None) => return Step::Read(Question::Pods),
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
            Err(_stale) => Step::Read(Question::Node),
        },
        _ => Step::Change(lock.value.change(LockChange::Approve, lock.value.state.approve(&caller.uid, &node.boot_id, now.clock))),
    }
}

/// Drained, before the approval: checks the other nodes, with every change that was written before the drain was recorded. `None`: no
/// other node is in the way.
fn check_others(view: &View<'_>, holder: &Holder, pods_tick: u64) -> Option<Step> {
    let &View { caller, observed, node, lock, rules, now, .. } = view;
    let Some(fleet) = observed.fleet.as_ref().filter(|fleet| fleet.tick > pods_tick) else {
        let own_record = observed.own_write.as_ref().and_then(|own| own.record.as_ref());
        return Some(match &node.meta.record {
            _ if own_record.is_some_and(|record| record.drained.is_some()) => Step::Read(Question::Fleet),
            Some(record) => Step::Change(Change::drained(node, record, now.clock)),
            None => Step::Read(Question::Node),
        });
    };
    match FleetFacts::rebooting_without_slot(Some(fleet), lock, &caller.node) {
        Others::NotRead | Others::LockTooOld => return Some(Step::Read(Question::Lock)),
        Others::Known(names) => {
            let step = give_way(view, holder, &names).or_else(|| keep_waiting(view, &names));
            if step.is_some() {
                return step;
            }
        }
    }
    // Without a slot the node can wait for an administrator and does not block other nodes.
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
