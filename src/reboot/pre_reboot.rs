//! Pre-reboot: may this node reboot now? **The rules, in order.**

use jiff::Timestamp;

use super::{Approval, Caller, Cordoned, Drain, Emptied, HeldSlot, LockChange, Now, Observed, Outcome, Question, Rules, Seen, Step, Wait};
use super::{Change, FleetFacts, Lock, NodeChange, Others, gates, mark, may_be_marked_since, restore, superseded};
use crate::cluster::{Node, NodeName, NodePatch, spoken};
use crate::drain::DrainPlan;
use crate::fleetlock::{Kind, Refusal};
use crate::lock::{Holder, MISSING_MAX};

/// The one next step towards the answer.
pub fn next(caller: &Caller, seen: &Observed, rules: &Rules, now: Now) -> Step {
    let Some(seen_node) = &seen.node else { return Step::Look(Question::Node) };
    let Some(lock) = &seen.lock else { return Step::Look(Question::Lock) };
    let Some(node) = seen_node.value.as_ref().filter(|node| caller.is(node)) else {
        return Step::Answer(Outcome::UnknownNode(caller.id));
    };
    let holder = lock.value.state.holder(&caller.uid);
    if seen.tenure.as_ref().is_some_and(|tenure| !tenure.checked_in && !is_under(holder, tenure.term)) {
        return superseded(&caller.node);
    }
    match holder {
        None => match enter(caller, seen, lock, node, rules, now) {
            Step::Answer(refused) => leave_nothing(seen_node, lock, node).unwrap_or(Step::Answer(refused)),
            step => step,
        },
        // Whether an approved node is still cordoned, only a look from after its approval can tell: in an older one the mark
        // may be missing because it had not been made yet, and a new tenure would take the approval away.
        Some(holder) if is_uncordoned(holder, node, &lock.value) && seen_node.tick < lock.tick => Step::Look(Question::Node),
        Some(holder) if is_over(holder, node, &lock.value) => match room(caller, lock, rules) == 0 {
            true => enter(caller, seen, lock, node, rules, now),
            false => match gates::closed(caller, seen, lock, node, rules, now) {
                Some(refused) if holder.checked_in.is_none() => keeps_its_slot(refused),
                step => step.unwrap_or_else(|| take(caller, lock, node, now)),
            },
        },
        Some(holder) if is_beyond(caller, lock, holder, rules) => go_back(caller, lock),
        Some(holder) => contest(caller, seen, lock, holder, node, rules).unwrap_or_else(|| leave(caller, seen, lock, holder, rules, now)),
    }
}

/// Without a slot: take one, when the Lease has room and no node is marked as rebooting beyond it.
fn enter(caller: &Caller, seen: &Observed, lock: &Seen<Lock>, node: &Node, rules: &Rules, now: Now) -> Step {
    let room = room(caller, lock, rules);
    if room == 0 {
        let held: Vec<String> = lock.value.state.others(&caller.node).map(held_by).collect();
        let slots = if rules.capacity.slots == 1 { "the slot is" } else { "all slots are" };
        let message = format!("node {} has to wait: {slots} held by {}", caller.node, spoken(&held));
        return Step::Answer(Outcome::refused(Kind::SlotsTaken, message));
    }
    if let Some(step) = gates::closed(caller, seen, lock, node, rules, now) {
        return step;
    }
    // An early check, which avoids cordoning a node that would have to wait anyway. What it misses, the checks after cordoning
    // find. A node that has just given its place back because of those goes by them.
    match FleetFacts::rebooting_without_slot(seen.fleet.as_ref().or(seen.fleet_lately.as_ref()), lock, &caller.node) {
        Others::NotRead => Step::Look(Question::FleetLately),
        Others::LockTooOld => Step::Look(Question::Lock),
        Others::Are(names) if names.len() >= room => other_rebooting(caller, &names, "has to wait"),
        Others::Are(_) => take(caller, lock, node, now),
    }
}

fn room(caller: &Caller, lock: &Seen<Lock>, rules: &Rules) -> usize {
    rules.capacity.room(lock.value.state.others(&caller.node))
}

/// The refusal of a node that was approved, and uncordoned since. Its approval cannot be taken back: it may be rebooting.
fn keeps_its_slot(refused: Step) -> Step {
    match refused {
        Step::Answer(Outcome::Refused(Refusal { kind, message })) => {
            let message = format!("{message}; it was approved before it was uncordoned, and keeps its slot, for which other nodes wait");
            Step::Answer(Outcome::refused(kind, message))
        }
        step => step,
    }
}

fn take(caller: &Caller, lock: &Seen<Lock>, node: &Node, now: Now) -> Step {
    let next = lock.value.state.take(&caller.node, &caller.uid, &caller.group, now.clock);
    lock.value.change(LockChange::Take, next.describe(node))
}

/// A holder as another node's refusal names it.
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

/// A tenure that has run its course, and a node that asks again: it starts anew, so that nothing proved for the old
/// tenure counts for the new one.
fn is_over(holder: &Holder, node: &Node, lock: &Lock) -> bool {
    holder.checked_in.is_some() || is_uncordoned(holder, node, lock)
}

/// Approved, and its cordon or its mark is not there.
fn is_uncordoned(holder: &Holder, node: &Node, lock: &Lock) -> bool {
    holder.approved.is_some() && holder.checked_in.is_none() && !node.is_cordoned_for(&lock.term(holder.term))
}

/// More nodes hold slots than there are, as after the Lease was deleted or `--slots` lowered: those that took theirs last
/// and are not approved go back.
fn is_beyond(caller: &Caller, lock: &Seen<Lock>, holder: &Holder, rules: &Rules) -> bool {
    let before = |other: &&Holder| other.approved.is_some() || other.term < holder.term;
    holder.approved.is_none() && rules.capacity.room(lock.value.state.others(&caller.node).filter(before)) == 0
}

/// Gives the place back: first the slot, so that no other request of this node can approve it any more, then, as for
/// whoever has no slot, the node.
fn go_back(caller: &Caller, lock: &Seen<Lock>) -> Step {
    lock.value.change(LockChange::Free, lock.value.state.free(&caller.uid))
}

/// Before a node without a slot is refused, a mark of ours that it carries is undone; unless that is of another Lease:
/// then the node may be rebooting, and housekeeping sees to it.
fn leave_nothing(seen_node: &Seen<Option<Node>>, lock: &Seen<Lock>, node: &Node) -> Option<Step> {
    let record = node.mark.record.as_ref()?;
    let same_lease = lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    // A lock read before the node may be older than the tenure that the mark is of.
    let next = if may_be_marked_since(seen_node, lock, None) { Step::Look(Question::Lock) } else { restore(node) };
    same_lease.then_some(next)
}

/// With a slot: mark, then look who else has marked itself. The first by name keeps its place, the others go back; and
/// whoever keeps its place waits until the others have gone. `None`: nobody is in the way.
fn contest(caller: &Caller, seen: &Observed, lock: &Seen<Lock>, holder: &Holder, node: &Node, rules: &Rules) -> Option<Step> {
    let term = lock.value.term(holder.term);
    // Right after its own mark a request reads the fleet with nothing missing from before; else that comes before the approval.
    let known = if seen.own_write.is_some() { seen.fleet.as_ref() } else { seen.fleet.as_ref().or(seen.fleet_lately.as_ref()) };
    let others = FleetFacts::rebooting_without_slot(known, lock, &caller.node);
    if let Others::Are(names) = &others
        && let Some(step) = give_way(caller, lock, holder, names, rules)
    {
        return Some(step);
    }
    if !node.is_cordoned_for(&term) {
        // A lock read before the node may be of a tenure that is over, and the mark of the next must not be undone.
        let lock_is_newer = seen.node.as_ref().is_some_and(|node| node.tick < lock.tick);
        return Some(if lock_is_newer { mark(node, term) } else { Step::Look(Question::Lock) });
    }
    match others {
        _ if holder.approved.is_some() => None,
        Others::NotRead if seen.own_write.is_some() => Some(Step::Look(Question::Fleet)),
        Others::NotRead => Some(Step::Look(Question::FleetLately)),
        Others::LockTooOld => Some(Step::Look(Question::Lock)),
        Others::Are(names) => keep_waiting(caller, lock, &names, rules),
    }
}

/// Gives the place back when as many of `names` as there is room for, this node's own slot at least, come before this node by name.
fn give_way(caller: &Caller, lock: &Seen<Lock>, holder: &Holder, names: &[NodeName], rules: &Rules) -> Option<Step> {
    let before = names.iter().filter(|name| **name < caller.node).count();
    (holder.approved.is_none() && before >= room(caller, lock, rules).max(1)).then(|| go_back(caller, lock))
}

fn keep_waiting(caller: &Caller, lock: &Seen<Lock>, names: &[NodeName], rules: &Rules) -> Option<Step> {
    (names.len() >= room(caller, lock, rules).max(1)).then(|| other_rebooting(caller, names, "keeps its place but has to wait"))
}

/// Cordoned under its own tenure: list the pods, drain, list again, and approve when the list is empty.
fn leave(caller: &Caller, seen: &Observed, lock: &Seen<Lock>, holder: &Holder, rules: &Rules, now: Now) -> Step {
    let Some(seen_node) = &seen.node else { return Step::Look(Question::Node) };
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
        && let Some(step) = check_others(caller, seen, lock, holder, pods.tick, rules, now)
    {
        return step;
    }
    let approve = || {
        let boot = seen_node.value.as_ref().map(|node| node.boot_id.as_str()).unwrap_or_default();
        lock.value.change(LockChange::Approve, lock.value.state.approve(&caller.uid, boot, now.clock))
    };
    match HeldSlot::of(lock, &caller.uid) {
        Some(slot) if lock.tick > pods.tick => match Approval::of(cordoned, emptied, slot, now.instant) {
            Ok(approval) => Step::Answer(Outcome::Approved(approval, caller.node.clone())),
            Err(_stale) => Step::Look(Question::Node),
        },
        _ => approve(),
    }
}

/// Drained, and before the approval: what others do, with nothing missing that was written before the drain was recorded.
/// `None`: nothing is in the way.
fn check_others(
    caller: &Caller,
    seen: &Observed,
    lock: &Seen<Lock>,
    holder: &Holder,
    pods_tick: u64,
    rules: &Rules,
    now: Now,
) -> Option<Step> {
    let node = seen.node.as_ref()?.value.as_ref()?;
    let Some(fleet) = seen.fleet.as_ref().filter(|fleet| fleet.tick > pods_tick) else {
        let is_recorded = seen.own_write.as_ref().and_then(|own| own.record.as_ref()).is_some_and(|record| record.drained.is_some());
        return Some(if is_recorded { Step::Look(Question::Fleet) } else { record_drained(node, now) });
    };
    match FleetFacts::rebooting_without_slot(Some(fleet), lock, &caller.node) {
        Others::NotRead | Others::LockTooOld => return Some(Step::Look(Question::Lock)),
        Others::Are(names) => {
            let step = give_way(caller, lock, holder, &names, rules).or_else(|| keep_waiting(caller, lock, &names, rules));
            if step.is_some() {
                return step;
            }
        }
    }
    // Only without a slot can it wait for a person and keep no other node from its turn.
    let stays_up = gates::control_plane_stays_up(caller, &fleet.value, &lock.value, holder, node, rules);
    (!stays_up).then(|| go_back(caller, lock))
}

fn record_drained(node: &Node, now: Now) -> Step {
    match &node.mark.record {
        Some(record) => Step::Change(Change::Node { why: NodeChange::Drained, patch: NodePatch::drained(node, record, now.clock) }),
        None => Step::Look(Question::Node),
    }
}

fn other_rebooting(caller: &Caller, names: &[NodeName], waits: &str) -> Step {
    let (are, annotation) = (if names.len() == 1 { "node" } else { "nodes" }, crate::cluster::STATUS);
    let message = format!(
        "node {} {waits}: {are} {} marked {annotation}=Rebooting without a slot, by hand or by another manager",
        caller.node,
        spoken(names)
    );
    Step::Answer(Outcome::refused(Kind::OtherRebooting, message))
}

/// Whether the slot is still held under the tenure `term`, with no check-in since.
fn is_under(holder: Option<&Holder>, term: u64) -> bool {
    holder.is_some_and(|holder| holder.term == term && holder.checked_in.is_none())
}
