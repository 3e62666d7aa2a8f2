//! Pre-reboot: may this node reboot now? **The rules, in order.**

use jiff::{SignedDuration, Timestamp};

use super::observed::may_be_marked_since;
use super::{Approval, Caller, Change, Cordoned, Drain, Emptied, FleetFacts, HeldSlot, Lock, LockChange, Now, Observed, Others};
use super::{Outcome, Question, Reading, Rules, SlotWait, Step, Wait, gates};
use crate::cluster::{Node, NodeName, STATUS, Waiting, join_names};
use crate::drain::DrainPlan;
use crate::fleetlock::{Kind, Refusal};
use crate::lock::{DrainReport, FreeReason, Holder, Place, Turn, turn};

/// Maximum age of the last report of a kubelet that is running. Kubelets report every five minutes (`nodeStatusReportFrequency`), once up
/// to half of it later, and when they start.
const HEARTBEAT_AGE_MAX: SignedDuration = SignedDuration::from_mins(8);

/// All inputs of a decision.
struct Inputs<'a> {
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
        return match holder {
            Some(_) => Step::superseded(&caller.node),
            None => Step::Answer(Outcome::drain_ended(&caller.node)),
        };
    }
    let inputs = &Inputs { caller, observed, node_reading, node, lock, rules, now };
    match holder {
        None => match take_slot(inputs) {
            Step::Answer(refused) => undo_own_annotation(inputs).unwrap_or_else(|| wait_for_slot(inputs, refused)),
            step => step,
        },
        // A request from before the last approval must not replace it, because the node may be rebooting, or has rebooted since.
        Some(holder) if is_older(inputs, holder) && (is_uncordoned(inputs, holder) || holder.has_rebooted(node)) => {
            Step::superseded(&caller.node)
        }
        // Only a Node read after the approval shows whether an approved node is still cordoned. An older Node may lack the annotation
        // because it was not written yet, and a new term would take the approval away.
        Some(holder) if is_uncordoned(inputs, holder) && node_reading.tick < lock.tick => Step::Read(Question::Node),
        // Before the gates: a node that they refuse would keep its slot.
        Some(holder) if never_rebooted(inputs, holder) => release_slot(inputs, FreeReason::NeverRebooted),
        Some(holder) if has_ended(inputs, holder) && room(inputs) == 0 => slots_taken(inputs),
        Some(holder) if has_ended(inputs, holder) => {
            let closed = gates::own(caller, lock, node, now).or_else(|| gates::control_plane(caller, observed, lock, node, rules));
            match closed {
                Some(refused) if holder.checked_in.is_none() => keeps_its_slot(refused),
                step => step.unwrap_or_else(|| begin_term(inputs, None)),
            }
        }
        Some(holder) if holder.is_called_off(node) => release_slot(inputs, FreeReason::CalledOff),
        Some(holder) if exceeds_slots(inputs, holder) => release_slot(inputs, FreeReason::ExceedsSlots),
        Some(holder) if holder.approved.is_none() && holder.is_ask_due(now.clock) => {
            Step::Change(lock.value.change(LockChange::Ask, lock.value.state.ask(&caller.uid, now.clock)))
        }
        Some(holder) => yield_or_mark(inputs, holder).unwrap_or_else(|| drain_and_approve(inputs, holder)),
    }
}

/// Without a slot: takes one if a slot is free and no other node rebooting without a slot is in the way.
fn take_slot(inputs: &Inputs<'_>) -> Step {
    let &Inputs { caller, observed, node, lock, rules, now, .. } = inputs;
    if let Some(refused) = gates::own(caller, lock, node, now) {
        return refused;
    }
    let room = room(inputs);
    if room == 0 {
        return slots_taken(inputs);
    }
    if let Some(step) = gates::control_plane(caller, observed, lock, node, rules) {
        return step;
    }
    // An early check that avoids cordoning a node which must wait anyway. The checks after cordoning find what this one misses. After
    // a node has given way, the same facts refuse its next attempt here, so it does not take the slot again.
    match FleetFacts::rebooting_without_slot(observed.newest_fleet(), lock, &caller.node) {
        Others::NotRead => Step::Read(Question::FleetCached),
        Others::LockTooOld => Step::Read(Question::Lock),
        Others::Known(names) if names.len() >= room => other_rebooting(caller, &names, "must wait"),
        Others::Known(names) => take_turn(inputs, room - names.len()),
    }
}

/// Takes a free slot, unless it is the turn of a node that has waited longer.
fn take_turn(inputs: &Inputs<'_>, room: usize) -> Step {
    let &Inputs { caller, observed, lock, now, .. } = inputs;
    let queue = observed.newest_fleet().map_or(&[][..], |fleet| &fleet.value.queue);
    match turn(&lock.value.state, queue, &place(inputs), room, caller.arrived, now.clock) {
        Turn::Own => begin_term(inputs, None),
        Turn::Passes(since) => begin_term(inputs, Some(since)),
        Turn::Of(first, until) => {
            let message = format!(
                "node {} must wait: a slot is free, but node {first} has waited longer and has its turn until {until:.0}",
                caller.node
            );
            Step::Answer(Outcome::refused(Kind::Queued, message))
        }
    }
}

/// Returns the place of this node in the queue. A node that did not take its turn in time lost its place, and its new place is after all
/// that are lost, even if their times are from a replica whose clock was ahead.
fn place(inputs: &Inputs<'_>) -> Place {
    let state = &inputs.lock.value.state;
    let waiting = inputs.node.meta.waiting.as_ref().filter(|waiting| !state.has_passed(waiting.since));
    let since = waiting.map_or_else(|| state.next_place(inputs.now.clock), |waiting| waiting.since);
    Place { since, node: inputs.caller.node.clone() }
}

/// Refused a slot: records since when the node waits, and why, unless its Node shows that already. Then the request waits for a slot, or
/// is answered.
fn wait_for_slot(inputs: &Inputs<'_>, refused: Outcome) -> Step {
    let Outcome::Refused(refusal) = refused else { return Step::Answer(refused) };
    let (place, reason) = (place(inputs), refusal.kind.name());
    let waits_for_slot = |reason: &str| [Kind::SlotsTaken, Kind::Queued].map(Kind::name).contains(&reason);
    // A node changes between these two reasons with each slot that is freed, and waits for the same in both cases.
    let is_same = |recorded: &str| recorded == reason || (waits_for_slot(recorded) && waits_for_slot(reason));
    let is_recorded = inputs.node.meta.waiting.as_ref().is_some_and(|waiting| waiting.since == place.since && is_same(&waiting.reason));
    match refusal.kind {
        _ if !is_recorded => {
            Step::Change(Change::waiting(&inputs.node.meta, Some(Waiting { since: place.since, reason: reason.to_owned() })))
        }
        Kind::SlotsTaken | Kind::Queued => Step::Wait(Wait::Slot(SlotWait { place, refusal })),
        _ => Step::Answer(Outcome::Refused(refusal)),
    }
}

fn slots_taken(inputs: &Inputs<'_>) -> Step {
    let &Inputs { caller, observed, lock, rules, .. } = inputs;
    let others = || lock.value.state.others(&caller.node);
    // A node that is back waits for its kubelet or for its agent; only the fleet shows for which.
    if observed.newest_fleet().is_none() && others().any(Holder::is_back) {
        return Step::Read(Question::FleetCached);
    }
    let unknown = FleetFacts::default();
    let fleet = observed.newest_fleet().map_or(&unknown, |fleet| &fleet.value);
    let held_by = |holder: &Holder| format!("{} since {:.0} ({})", holder.node, holder.since, fleet.state_of(holder, &rules.times));
    let held: Vec<String> = others().map(held_by).collect();
    let slots = if rules.capacity.slots == 1 { "the slot is" } else { "all slots are" };
    let message = format!("node {} must wait: {slots} held by {}", caller.node, join_names(&held));
    Step::Answer(Outcome::refused(Kind::SlotsTaken, message))
}

/// Returns the number of slots that other nodes do not hold.
fn room(inputs: &Inputs<'_>) -> usize {
    inputs.rules.capacity.room(inputs.lock.value.state.others(&inputs.caller.node))
}

/// Takes a slot, or begins a new term of the node's own slot. `passes`: the nodes that wait since then lose their places.
fn begin_term(inputs: &Inputs<'_>, passes: Option<Timestamp>) -> Step {
    let &Inputs { caller, node_reading, node, lock, rules, now, .. } = inputs;
    // `take` drops the slot of any other Node of this name. Only a Node that was read after the lock is surely the newer one.
    if node_reading.tick < lock.tick && lock.value.state.holders.iter().any(|holder| holder.node == caller.node && holder.uid != caller.uid)
    {
        return Step::Read(Question::Node);
    }
    let before = &lock.value.state;
    let before = passes.map_or_else(|| before.clone(), |since| before.pass(since));
    let is_reported = before.holder(&caller.uid).is_some_and(|holder| has_reported_boot(holder, node));
    let next = before.take(&caller.node, &caller.uid, &caller.group, now.clock).describe(node);
    let next = if is_reported { next.trust_boot(&caller.uid) } else { next };
    let next = next.report(&caller.uid, DrainReport::first(&rules.replica, now.clock), false);
    Step::Change(lock.value.change(LockChange::Take, next))
}

/// Reports whether the kubelet of `holder`, whose term has ended, has reported the boot in which the node asks now.
fn has_reported_boot(holder: &Holder, node: &Node) -> bool {
    // The machine may have failed and started once more since the check-in.
    let is_later = |heartbeat| holder.checked_in.is_some_and(|since| heartbeat > since);
    holder.is_proven_back(node) && node.heartbeat.is_none_or(is_later)
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

/// Reports whether the term has ended. A node that asks again then gets a new term, for which no proof of the old one counts.
fn has_ended(inputs: &Inputs<'_>, holder: &Holder) -> bool {
    holder.checked_in.is_some() || is_uncordoned(inputs, holder)
}

/// Reports whether the node was approved and has lost its cordon or its annotation.
fn is_uncordoned(inputs: &Inputs<'_>, holder: &Holder) -> bool {
    holder.approved.is_some() && holder.checked_in.is_none() && !inputs.node.is_cordoned_for(&inputs.lock.value.term(holder.term))
}

/// Reports whether the request arrived before the last approval. A time in the future is from a replica whose clock is ahead.
fn is_older(inputs: &Inputs<'_>, holder: &Holder) -> bool {
    let &Inputs { caller, now, .. } = inputs;
    holder.approved.as_ref().is_some_and(|approved| approved.at > caller.arrived && approved.at <= now.clock)
}

/// Reports whether there are more holders than slots and this one must release its slot, because its slot was taken last and is not
/// approved. Causes: the Lease was deleted, or `--slots` was lowered.
fn exceeds_slots(inputs: &Inputs<'_>, holder: &Holder) -> bool {
    let before = |other: &&Holder| other.approved.is_some() || other.term < holder.term;
    let others = inputs.lock.value.state.others(&inputs.caller.node);
    holder.approved.is_none() && inputs.rules.capacity.room(others.filter(before)) == 0
}

/// Reports whether the node was approved long ago and still asks in the same boot. An agent that asks is not rebooting. A request from
/// before the last approval proves nothing.
fn never_rebooted(inputs: &Inputs<'_>, holder: &Holder) -> bool {
    let &Inputs { caller, node, rules, now, .. } = inputs;
    let is_over = holder.checked_in.is_some() || holder.has_rebooted(node);
    let approved = holder.approved.as_ref().filter(|approved| !is_over && approved.at < caller.arrived);
    approved.is_some_and(|approved| rules.times.not_rebooted.is_some_and(|limit| now.clock.duration_since(approved.first()) >= limit))
}

/// Releases the slot, so that no other request of this node can approve it. Annotation and cordon are removed next, as for every node
/// without a slot.
fn release_slot(inputs: &Inputs<'_>, why: FreeReason) -> Step {
    let &Inputs { caller, node, lock, rules, now, .. } = inputs;
    let next = lock.value.state.give_back(&caller.uid, why, Some(node), &rules.times, now.clock);
    Step::Change(lock.value.change(LockChange::Free(why), next))
}

/// Removes our annotation and cordon from a node without a slot, before it is refused. If they are of another Lease, the node may be
/// rebooting, and is left to the reconciler.
fn undo_own_annotation(inputs: &Inputs<'_>) -> Option<Step> {
    let record = inputs.node.meta.record.as_ref()?;
    let same_lease = inputs.lock.value.version.as_ref().is_some_and(|version| version.uid == record.term.lease);
    // A lock read before the node may be older than the term in the annotation.
    let is_newer = may_be_marked_since(inputs.node_reading, inputs.lock, None);
    same_lease.then(|| if is_newer { Step::Read(Question::Lock) } else { Step::Change(Change::restore(inputs.node)) })
}

/// With a slot: gives way to marked nodes that are first by name, else marks and cordons, then waits while others are marked. `None`: no
/// other node is in the way.
fn yield_or_mark(inputs: &Inputs<'_>, holder: &Holder) -> Option<Step> {
    let &Inputs { caller, observed, node_reading, node, lock, .. } = inputs;
    let term = lock.value.term(holder.term);
    // Right after its own annotation a request needs the fleet without a missing change. At other times a late inputs suffices here,
    // because `check_others` follows before the approval.
    let known = if observed.own_write.is_some() { observed.fleet.as_ref() } else { observed.newest_fleet() };
    let others = FleetFacts::rebooting_without_slot(known, lock, &caller.node);
    if let Others::Known(names) = &others
        && let Some(step) = give_way(inputs, holder, names)
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
        Others::Known(names) => keep_waiting(inputs, holder, &names),
    }
}

/// Releases the slot if enough of `names` come before this node by name to take all the slots that are left.
fn give_way(inputs: &Inputs<'_>, holder: &Holder, names: &[NodeName]) -> Option<Step> {
    // This node's own slot counts, even if there are more holders than slots.
    let before = names.iter().filter(|name| **name < inputs.caller.node).count();
    (holder.approved.is_none() && before >= room(inputs).max(1)).then(|| release_slot(inputs, FreeReason::OtherFirst))
}

/// Waits for the marked nodes `names`, but not for ever: they may wait for the slot of this node.
fn keep_waiting(inputs: &Inputs<'_>, holder: &Holder, names: &[NodeName]) -> Option<Step> {
    let &Inputs { caller, rules, now, .. } = inputs;
    if names.len() < room(inputs).max(1) {
        return None;
    }
    let is_too_long = rules.times.stalled.is_some_and(|limit| now.clock.duration_since(holder.since) >= limit);
    Some(if is_too_long {
        release_slot(inputs, FreeReason::OtherFirst)
    } else {
        other_rebooting(caller, names, "keeps its slot but must wait")
    })
}

/// Cordoned under its own term: lists the pods, waits for the drain, lists again, and approves if the list is empty.
fn drain_and_approve(inputs: &Inputs<'_>, holder: &Holder) -> Step {
    let &Inputs { caller, observed, node_reading, lock, rules, now, .. } = inputs;
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
        && let Some(step) = check_others(inputs, holder, pods.tick)
    {
        return step;
    }
    match HeldSlot::of(lock, &caller.uid) {
        Some(slot) if lock.tick > pods.tick => match Approval::of(cordoned, emptied, slot, now.instant) {
            Ok(approval) => Step::Answer(Outcome::Approved(approval, caller.node.clone())),
            Err(_stale) => Step::Read(Question::Node),
        },
        _ => approve(inputs),
    }
}

/// Writes the approval. If the kubelet has not reported for long, the boot that its Node shows may be an earlier one.
fn approve(inputs: &Inputs<'_>) -> Step {
    let &Inputs { caller, node, lock, now, .. } = inputs;
    let next = lock.value.state.approve(&caller.uid, &node.boot_id, now.clock);
    let is_old = node.heartbeat.is_some_and(|at| now.clock.duration_since(at) > HEARTBEAT_AGE_MAX);
    let next = if is_old { next.doubt_boot(&caller.uid) } else { next };
    Step::Change(lock.value.change(LockChange::Approve, next))
}

/// Drained, before the approval: checks the other nodes, with every change that was written before the drain was recorded. `None`: no
/// other node is in the way.
fn check_others(inputs: &Inputs<'_>, holder: &Holder, pods_tick: u64) -> Option<Step> {
    let &Inputs { caller, observed, node, lock, rules, now, .. } = inputs;
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
            let step = give_way(inputs, holder, &names).or_else(|| keep_waiting(inputs, holder, &names));
            if step.is_some() {
                return step;
            }
        }
    }
    // Without a slot the node can wait for an administrator and does not block other nodes.
    let stays_up = gates::control_plane_stays_up(caller, &fleet.value, &lock.value, holder, node, rules);
    (!stays_up).then(|| release_slot(inputs, FreeReason::OtherFirst))
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
