//! The rules of a pre-reboot at their edges.

use super::*;

impl Fixture {
    fn pre_reboot(&self, observed: &Observed, slots: usize) -> Step {
        pre_reboot::next(
            &self.caller(),
            observed,
            &Rules { capacity: Capacity { slots }, protect_control_plane: true, ours: Ours::default() },
            self.now,
        )
    }

    /// The lock in which `others` nodes hold slots, too.
    fn lock_with(&self, others: usize) -> Lock {
        let (group, now) = (GroupName::parse("default").unwrap(), self.now.clock);
        let take = |state: LockState, other: usize| state.take(&NodeName(format!("x{other}")), &Uid(format!("x{other}")), &group, now);
        Lock { state: (0..others).fold(self.state.clone(), take), ..self.lock() }
    }
}

fn takes(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Take, .. }))
}

#[test]
fn an_approved_node_that_was_uncordoned_takes_a_new_term_once_there_is_room() {
    let fixture = Fixture::approved();
    let uncordoned = || Node { unschedulable: false, ..fixture.node() };
    let next = |node, lock, others| fixture.pre_reboot(&fixture.observed(uncordoned(), node, fixture.lock_with(others), lock), 1);
    assert!(matches!(next(1, 2, 0), Step::Read(Question::Node)), "the mark may not have been made yet");
    assert!(takes(&next(2, 1, 0)) && takes(&next(1, 1, 0)));
    assert_eq!(refused(next(2, 1, 1)), "node n0 must wait: the slot is held by x0 since 2027-01-15T08:00:00Z");
}

/// A request from before the Node was deleted and registered again must not replace the slot of its successor.
#[test]
fn the_slot_of_another_node_of_this_name_is_replaced_only_by_the_later_of_the_two() {
    let fixture = Fixture::approved();
    let held_by = |name: &NodeName| {
        let state = LockState::default().take(name, &Uid("another".to_owned()), &group(), fixture.now.clock);
        Lock { state, ..fixture.lock() }
    };
    let next = |lock, tick, slots| {
        let mut observed = fixture.observed(in_service(), tick, lock, 2);
        observed.fleet_cached = Some(fixture.reading(FleetFacts::default(), 1));
        fixture.pre_reboot(&observed, slots)
    };
    assert!(matches!(next(held_by(fixture.node.name()), 1, 1), Step::Read(Question::Node)));
    assert!(takes(&next(held_by(fixture.node.name()), 2, 1)) && takes(&next(held_by(fixture.node.name()), 3, 1)));
    assert!(takes(&next(held_by(&NodeName("x".to_owned())), 1, 2)), "the slot of another name stays");
}

#[test]
fn a_node_takes_no_slot_while_as_many_others_are_marked_as_there_is_room_for() {
    let fixture = Fixture::approved();
    let free = Lock { state: LockState::default(), ..fixture.lock() };
    let next = |names: &[&str], slots| {
        let mut observed = fixture.observed(in_service(), 1, free.clone(), 2);
        observed.fleet_cached = Some(fixture.reading(FleetFacts { members: names.iter().map(|name| marked_by_hand(name)).collect() }, 1));
        fixture.pre_reboot(&observed, slots)
    };
    assert!(takes(&next(&[], 1)) && takes(&next(&["x"], 2)));
    assert!(refused(next(&["x"], 1)).contains("node x marked"), "{}", refused(next(&["x"], 1)));
    assert!(refused(next(&["x", "y"], 2)).contains("nodes x and y marked"));
}

/// The approval cannot be taken back while the node may be rebooting; the message says so only then.
#[test]
fn an_uncordoned_node_that_a_gate_refuses_keeps_its_slot_until_it_has_checked_in() {
    let fixture = Fixture::approved();
    let node = Node { unschedulable: false, readiness: Readiness::NotReady, ..fixture.node() };
    let says = |state| refused(fixture.pre_reboot(&fixture.observed(node.clone(), 2, Lock { state, ..fixture.lock() }, 1), 1));
    let keeps = "has not been Ready";
    let approved = says(fixture.state.clone());
    assert!(approved.contains("and keeps its slot, for which other nodes wait"), "{approved}");
    let checked_in = says(fixture.state.check_in(&fixture.uid, fixture.now.clock));
    assert!(checked_in.contains(keeps) && !checked_in.contains("keeps its slot"), "{checked_in}");
}

#[test]
fn a_node_that_is_refused_without_a_slot_is_restored_first_if_this_lease_has_marked_it() {
    let fixture = Fixture::approved();
    let lock = || Lock { state: fixture.lock_with(1).state.free(&fixture.uid), ..fixture.lock() };
    let next = |node, node_tick| fixture.pre_reboot(&fixture.observed(node, node_tick, lock(), 2), 1);
    assert!(matches!(next(fixture.node(), 1), Step::Change(Change::Node { why: NodeChange::Restore, .. })));
    assert!(matches!(next(fixture.node(), 3), Step::Read(Question::Lock)), "the mark may be newer than the lock");
    let mut other = fixture.node();
    other.meta.record.as_mut().unwrap().term.lease = Uid("another".to_owned());
    assert!(refused(next(other, 1)).contains("the slot is held by x0"), "it may be rebooting");
    assert!(refused(next(in_service(), 1)).contains("the slot is held by x0"));
}

#[test]
fn a_refusal_counts_the_slots_in_words() {
    let fixture = Fixture::approved();
    let freed = |others| {
        let lock = fixture.lock_with(others);
        Lock { state: lock.state.free(&fixture.uid), ..lock }
    };
    let mut ready = fixture.node();
    (ready.meta.status, ready.meta.record, ready.unschedulable) = (Status::Ready, None, false);
    let says = |slots| refused(fixture.pre_reboot(&fixture.observed(ready.clone(), 1, freed(slots), 2), slots));
    assert!(says(1).contains("must wait: the slot is held by x0 since "), "{}", says(1));
    assert!(says(2).contains("must wait: all slots are held by x0 since "), "{}", says(2));
}

impl Fixture {
    /// The lock in which the node holds its first term, not approved yet; `before` others took a slot before it, `after` after it.
    fn lock_held(&self, before: usize, after: usize) -> Lock {
        let (group, now) = (GroupName::parse("default").unwrap(), self.now.clock);
        let take = |state: LockState, name: &str| state.take(&NodeName(name.to_owned()), &Uid(name.to_owned()), &group, now);
        let mut state = (0..before).fold(LockState::default(), |state, other| take(state, &format!("x{other}")));
        state = state.take(&NodeName("n0".to_owned()), &self.uid, &group, now);
        state = (0..after).fold(state, |state, other| take(state, &format!("y{other}")));
        Lock { state, ..self.lock() }
    }

    /// The node, marked for the term that it holds in this lock.
    fn node_held(&self, lock: &Lock) -> Node {
        let mut node = self.node();
        node.meta.record.as_mut().unwrap().term.term = lock.state.holder(&self.uid).unwrap().term;
        node
    }

    /// Records the lock, then the node, then the pods, then the fleet after the drain was recorded.
    fn looked(&self, lock: Lock, marked: &[&str], pods: Vec<Pod>) -> Observed {
        let node = self.node_held(&lock);
        let mut observed = self.observed(node, 2, lock, 1);
        let members = marked.iter().map(|name| marked_by_hand(name)).collect();
        observed.pods = Some(self.reading(Complete::of_all_pages(pods), 4));
        observed.fleet = Some(self.reading(FleetFacts { members }, 5));
        // After a newer fleet the rules read the lock again.
        observed.lock.as_mut().unwrap().tick = if marked.is_empty() { 1 } else { 6 };
        observed
    }
}

fn goes_back(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Free, .. }))
}

fn approves(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Approve, .. }))
}

#[test]
fn holders_beyond_the_slots_are_the_latest_that_are_not_approved() {
    let fixture = Fixture::approved();
    let next = |lock: Lock, slots| fixture.pre_reboot(&fixture.looked(lock, &[], Vec::new()), slots);
    assert!(goes_back(&next(fixture.lock_held(1, 0), 1)), "the other was first");
    assert!(approves(&next(fixture.lock_held(0, 1), 1)), "the other came after it");
    assert!(approves(&next(fixture.lock_held(1, 0), 2)), "there is room for both");
    let mut lock = fixture.lock_held(0, 1);
    lock.state = lock.state.approve(&Uid("y0".to_owned()), "0", fixture.now.clock);
    assert!(goes_back(&next(lock, 1)), "the other came after it and is approved");
    let mut lock = fixture.lock_held(1, 0);
    lock.state = lock.state.approve(&fixture.uid, "0", fixture.now.clock);
    assert!(approves(&next(lock, 1)), "who is approved does not go back");
}

#[test]
fn a_node_is_marked_over_a_version_from_before_the_lock() {
    let fixture = Fixture::approved();
    let mut ready = fixture.node();
    (ready.meta.status, ready.meta.record, ready.unschedulable) = (Status::Ready, None, false);
    let next = |node, lock| fixture.pre_reboot(&fixture.observed(ready.clone(), node, fixture.lock_held(0, 0), lock), 1);
    assert!(matches!(next(1, 2), Step::Change(Change::Node { why: NodeChange::Mark, .. })));
    assert!(matches!(next(2, 1), Step::Read(Question::Lock)));
    assert!(matches!(next(1, 1), Step::Read(Question::Lock)));
}

#[test]
fn other_marked_nodes_are_checked_before_the_approval_only() {
    let fixture = Fixture::approved();
    let mut observed = fixture.observed(fixture.node(), 2, fixture.lock_held(0, 0), 1);
    assert!(matches!(fixture.pre_reboot(&observed, 1), Step::Read(Question::FleetCached)));
    observed.own_write = Some(fixture.node().meta);
    assert!(matches!(fixture.pre_reboot(&observed, 1), Step::Read(Question::Fleet)), "it has just marked itself");
    assert!(matches!(fixture.pre_reboot(&fixture.observed(fixture.node(), 2, fixture.lock(), 1), 1), Step::Read(Question::Pods)));
    let mut observed = fixture.looked(fixture.lock_held(0, 0), &[], Vec::new());
    observed.fleet = None;
    observed.fleet_cached = Some(fixture.reading(FleetFacts::default(), 3));
    let step = fixture.pre_reboot(&observed, 1);
    let Step::Change(Change::Node { why: NodeChange::Drained, patch }) = step else { panic!("{step:?}") };
    observed.own_write = Some(crate::cluster::NodeMeta { record: patch.record, ..fixture.node().meta });
    for tick in [3, 4] {
        observed.fleet = Some(fixture.reading(FleetFacts::default(), tick));
        assert!(matches!(fixture.pre_reboot(&observed, 1), Step::Read(Question::Fleet)), "it was not read after the pods");
    }
    let one = refused(fixture.pre_reboot(&fixture.looked(fixture.lock_held(0, 0), &["z"], Vec::new()), 1));
    assert!(one.contains(": node z marked rebootmanager/status=Rebooting without a slot"), "{one}");
    let two = refused(fixture.pre_reboot(&fixture.looked(fixture.lock_held(0, 0), &["y", "z"], Vec::new()), 1));
    assert!(two.contains(": nodes y and z marked rebootmanager/status=Rebooting without a slot"), "{two}");
    assert!(
        goes_back(&fixture.pre_reboot(&fixture.looked(fixture.lock_held(0, 0), &["a"], Vec::new()), 1)),
        "the other is the first by name"
    );
}

#[test]
fn our_own_pod_asks_for_another_node_and_no_other_pod_does() {
    let fixture = Fixture::approved();
    let pod = |uid: &str| -> Pod {
        let wire =
            json!({"metadata": {"namespace": "shop", "name": uid, "uid": uid}, "spec": {"nodeName": "n0"}, "status": {"phase": "Running"}});
        serde_json::from_value(wire).unwrap()
    };
    let rules = Rules {
        capacity: Capacity { slots: 1 },
        protect_control_plane: true,
        ours: Ours { uid: Some(Uid("us".to_owned())), ..Ours::default() },
    };
    let next = |pods| pre_reboot::next(&fixture.caller(), &fixture.looked(fixture.lock_held(0, 0), &[], pods), &rules, fixture.now);
    assert!(matches!(next(vec![pod("us")]), Step::Read(Question::OtherHosts)));
    assert!(matches!(next(vec![pod("other")]), Step::Wait(Wait::Drain(_))));
    assert!(matches!(next(vec![pod("us"), pod("other")]), Step::Wait(Wait::Drain(_))), "the others go first");
    assert!(approves(&next(vec![])));
}

#[test]
fn an_approval_counts_when_it_was_written_after_the_pods_were_listed() {
    let fixture = Fixture::approved();
    let next = |lock_tick| {
        let mut observed = fixture.looked(Lock { written: Some(LockChange::Approve), ..fixture.lock() }, &[], Vec::new());
        observed.lock.as_mut().unwrap().tick = lock_tick;
        fixture.pre_reboot(&observed, 1)
    };
    assert!(matches!(next(5), Step::Answer(Outcome::Approved(..))));
    assert!(approves(&next(4)) && approves(&next(3)));
}

#[test]
fn a_request_continues_only_under_its_own_term() {
    let fixture = Fixture::approved();
    let next = |lock: Lock| {
        let mut observed = fixture.looked(lock, &[], Vec::new());
        observed.term = Some(HeldTerm { term: 1, approved: None, checked_in: false });
        fixture.pre_reboot(&observed, 1)
    };
    assert!(approves(&next(fixture.lock_held(0, 0))));
    let mut lock = fixture.lock_held(0, 0);
    lock.state = lock.state.check_in(&fixture.uid, fixture.now.clock);
    assert!(refused(next(lock)).contains("superseded by"), "checked in since");
    let mut lock = fixture.lock_held(1, 0);
    lock.state = lock.state.free(&Uid("x0".to_owned()));
    assert!(refused(next(lock)).contains("superseded by"), "a later term");
}
