//! The rules of a pre-reboot at their edges.

use super::*;

impl Fixture {
    /// The next step, once it is recorded that the node waits.
    pub(super) fn pre_reboot(&self, observed: &Observed, slots: usize) -> Step {
        let next = |observed: &Observed| pre_reboot::next(&self.caller(), observed, &rules(slots), self.now);
        let step = next(observed);
        let Step::Change(Change::Node { why: NodeChange::Wait, patch }) = &step else { return step };
        let mut recorded = observed.clone();
        recorded.node.as_mut().unwrap().value.as_mut().unwrap().meta.waiting.clone_from(&patch.waiting);
        next(&recorded)
    }

    /// Facts before the first write: the node and the marked nodes, then the lock.
    fn at_first(&self, lock: Lock, marked: &[&str]) -> Observed {
        let mut observed = self.observed(in_service(), 1, lock, 2);
        let members = marked.iter().map(|name| marked_by_hand(name)).collect();
        observed.fleet_cached = Some(self.reading(FleetFacts { members, queue: Vec::new() }, 1));
        observed
    }

    /// Facts after the drain was recorded: the lock, then the node marked for the term that it holds there, then the pods, then the fleet.
    pub(super) fn looked(&self, lock: Lock, marked: &[&str], pods: Vec<Pod>) -> Observed {
        let mut node = self.node();
        node.meta.record.as_mut().unwrap().term.term = lock.state.holder(&uid("n0")).unwrap().term;
        let members = marked.iter().map(|name| marked_by_hand(name)).collect();
        // After a newer fleet the rules read the lock again.
        let mut observed = self.observed(node, 2, lock, if marked.is_empty() { 1 } else { 6 });
        observed.pods = Some(self.reading(Complete::of_all_pages(pods), 4));
        observed.fleet = Some(self.reading(FleetFacts { members, queue: Vec::new() }, 5));
        observed
    }
}

#[test]
fn an_approved_node_that_was_uncordoned_takes_a_new_term_once_there_is_room() {
    let fixture = Fixture::approved();
    let uncordoned = || Node { unschedulable: false, ..fixture.node() };
    let next = |node, lock, held: &[&str]| fixture.pre_reboot(&fixture.observed(uncordoned(), node, fixture.held(held, &["n0"]), lock), 1);
    // The mark may not have been made yet.
    check(next(1, 2, &["n0"]), "read Node");
    check(next(2, 1, &["n0"]), "write Take");
    check(next(1, 1, &["n0"]), "write Take");
    check(next(2, 1, &["n0", "x"]), "node n0 must wait: the slot is held by x since 2027-01-15T08:00:00Z (being drained)");
}

/// A request from before the Node was deleted and registered again must not replace the slot of its successor.
#[test]
fn the_slot_of_another_node_of_this_name_is_replaced_only_by_the_later_of_the_two() {
    let fixture = Fixture::approved();
    let next = |node: &str, tick, slots| {
        let state = LockState::default().take(&name(node), &uid("another"), &group(), fixture.now.clock);
        let mut observed = fixture.at_first(Lock { state, ..fixture.lock() }, &[]);
        observed.node.as_mut().unwrap().tick = tick;
        fixture.pre_reboot(&observed, slots)
    };
    check(next("n0", 1, 1), "read Node");
    check(next("n0", 2, 1), "write Take");
    check(next("n0", 3, 1), "write Take");
    // The slot of another name stays.
    check(next("x", 1, 2), "write Take");
}

#[test]
fn a_node_takes_no_slot_while_as_many_others_are_marked_as_there_is_room_for() {
    let fixture = Fixture::approved();
    let next = |marked: &[&str], slots| fixture.pre_reboot(&fixture.at_first(fixture.freed(&["n0"]), marked), slots);
    check(next(&[], 1), "write Take");
    check(next(&["x"], 2), "write Take");
    refused(next(&["x"], 1), "node x marked");
    refused(next(&["x", "y"], 2), "nodes x and y marked");
}

/// The approval cannot be taken back while the node may be rebooting; the message says so only then.
#[test]
fn an_uncordoned_node_that_a_gate_refuses_keeps_its_slot_until_it_has_checked_in() {
    let fixture = Fixture::approved();
    let node = || Node { unschedulable: false, readiness: ReadyCondition::NotReady, ..fixture.node() };
    let says = |lock| short(fixture.pre_reboot(&fixture.observed(node(), 2, lock, 1), 1));
    let approved = says(fixture.lock());
    assert!(approved.contains("and keeps its slot, for which other nodes wait"), "{approved}");
    let checked_in = says(fixture.checked_in());
    assert!(checked_in.contains("has not been Ready") && !checked_in.contains("keeps its slot"), "{checked_in}");
}

#[test]
fn a_node_that_is_refused_without_a_slot_is_restored_first_if_this_lease_has_marked_it() {
    let fixture = Fixture::approved();
    let next = |node, node_tick| fixture.pre_reboot(&fixture.observed(node, node_tick, fixture.freed(&["n0", "x"]), 2), 1);
    check(next(fixture.node(), 1), "write Restore");
    // The mark may be newer than the lock.
    check(next(fixture.node(), 3), "read Lock");
    let mut other = fixture.node();
    other.meta.record.as_mut().unwrap().term.lease = uid("another");
    // The node may be rebooting.
    refused(next(other, 1), "the slot is held by x");
    refused(next(in_service(), 1), "the slot is held by x");
}

#[test]
fn a_refusal_counts_the_slots_in_words() {
    let fixture = Fixture::approved();
    let next = |held: &[&str]| fixture.pre_reboot(&fixture.at_first(fixture.freed(held), &[]), held.len());
    refused(next(&["x"]), "must wait: the slot is held by x since ");
    refused(next(&["x", "y"]), "must wait: all slots are held by x since ");
}

#[test]
fn holders_beyond_the_slots_are_the_latest_that_are_not_approved() {
    let fixture = Fixture::approved();
    for (held, approved, slots, want, why) in [
        (["x", "n0"], &[][..], 1, "write Free", "the other was first"),
        (["n0", "x"], &[], 1, "write Approve", "the other came after it"),
        (["x", "n0"], &[], 2, "write Approve", "there is room for both"),
        (["n0", "x"], &["x"], 1, "write Free", "the other came after it and is approved"),
        (["x", "n0"], &["n0"], 1, "write Approve", "an approved node does not go back"),
    ] {
        let step = fixture.pre_reboot(&fixture.looked(fixture.held(&held, approved), &[], Vec::new()), slots);
        assert_eq!(short(step), want, "{why}");
    }
}

#[test]
fn a_node_is_marked_over_a_version_from_before_the_lock() {
    let fixture = Fixture::approved();
    let next = |node, lock| fixture.pre_reboot(&fixture.observed(in_service(), node, fixture.held(&["n0"], &[]), lock), 1);
    check(next(1, 2), "write Mark");
    check(next(2, 1), "read Lock");
    check(next(1, 1), "read Lock");
}

#[test]
fn other_marked_nodes_are_checked_before_the_approval_only() {
    let fixture = Fixture::approved();
    let held = || fixture.held(&["n0"], &[]);
    let mut observed = fixture.observed(fixture.node(), 2, held(), 1);
    check(fixture.pre_reboot(&observed, 1), "read FleetCached");
    // The node has just marked itself.
    observed.own_write = Some(fixture.node().meta);
    check(fixture.pre_reboot(&observed, 1), "read Fleet");
    check(fixture.pre_reboot(&fixture.observed(fixture.node(), 2, fixture.lock(), 1), 1), "read Pods");
    let mut observed = fixture.looked(held(), &[], Vec::new());
    observed.fleet = None;
    observed.fleet_cached = Some(fixture.reading(FleetFacts::default(), 3));
    let step = fixture.pre_reboot(&observed, 1);
    let Step::Change(Change::Node { why: NodeChange::Drained, patch }) = step else { panic!("{step:?}") };
    observed.own_write = Some(NodeMeta { record: patch.record, ..fixture.node().meta });
    for tick in [3, 4] {
        // The fleet was not read after the pods.
        observed.fleet = Some(fixture.reading(FleetFacts::default(), tick));
        check(fixture.pre_reboot(&observed, 1), "read Fleet");
    }
    let next = |marked: &[&str]| fixture.pre_reboot(&fixture.looked(held(), marked, Vec::new()), 1);
    refused(next(&["z"]), ": node z marked rebootmanager/status=Rebooting without a slot");
    refused(next(&["y", "z"]), ": nodes y and z marked rebootmanager/status=Rebooting without a slot");
    // The other is the first by name.
    check(next(&["a"]), "write Free");
}

#[test]
fn our_own_pod_asks_for_another_node_and_no_other_pod_does() {
    let fixture = Fixture::approved();
    let pod = |uid: &&str| -> Pod {
        let wire =
            json!({"metadata": {"namespace": "shop", "name": uid, "uid": uid}, "spec": {"nodeName": "n0"}, "status": {"phase": "Running"}});
        serde_json::from_value(wire).unwrap()
    };
    let rules = Rules { ours: Ours { uid: Some(uid("us")), ..Ours::default() }, ..rules(1) };
    // The others go first.
    for (pods, want) in [(&["us"][..], "read OtherHosts"), (&["other"], "wait"), (&["us", "other"], "wait"), (&[], "write Approve")] {
        let observed = fixture.looked(fixture.held(&["n0"], &[]), &[], pods.iter().map(pod).collect());
        check(pre_reboot::next(&fixture.caller(), &observed, &rules, fixture.now), want);
    }
}

#[test]
fn an_approval_counts_when_it_was_written_after_the_pods_were_listed() {
    let fixture = Fixture::approved();
    for (lock_tick, want) in [(5, "approved"), (4, "write Approve"), (3, "write Approve")] {
        let mut observed = fixture.looked(Lock { written: Some(LockChange::Approve), ..fixture.lock() }, &[], Vec::new());
        observed.lock.as_mut().unwrap().tick = lock_tick;
        check(fixture.pre_reboot(&observed, 1), want);
    }
}

#[test]
fn a_request_continues_only_under_its_own_term() {
    let fixture = Fixture::approved();
    let next = |lock: Lock| {
        let mut observed = fixture.looked(lock, &[], Vec::new());
        observed.term = Some(HeldTerm { term: 1, approved: None, checked_in: false });
        fixture.pre_reboot(&observed, 1)
    };
    check(next(fixture.held(&["n0"], &[])), "write Approve");
    refused(next(fixture.checked_in()), "superseded by");
    // A later term.
    let lock = fixture.held(&["x", "n0"], &[]);
    refused(next(Lock { state: lock.state.free(&uid("x"), fixture.now.clock), ..lock }), "superseded by");
}

/// The client closed the connection before the reboot, which the server may not have noticed.
#[test]
fn a_request_from_before_the_reboot_approves_no_other() {
    let fixture = Fixture::approved();
    let next = |boot: &str, earlier: SignedDuration| {
        let node = Node { boot_id: boot.to_owned(), ..fixture.node() };
        let caller = Caller { arrived: fixture.now.clock - earlier, ..fixture.caller() };
        let observed = fixture.observed(node, 1, fixture.lock(), 2);
        pre_reboot::next(&caller, &observed, &rules(1), fixture.now)
    };
    let second = SignedDuration::from_secs(1);
    refused(next("another", second), "superseded by");
    check(next("another", -second), "read Pods");
    check(next("0", second), "read Pods");
}

/// A check-in may come before the kubelet reports the boot; then another boot later proves no reboot. The report must be later than the
/// check-in, because the machine may have failed and started once more since.
#[test]
fn a_new_term_trusts_the_boot_only_if_it_is_another_one_than_before() {
    let fixture = Fixture::approved();
    let second = SignedDuration::from_secs(1);
    for (boot, unsure, heartbeat, trusts) in [
        ("another", false, None, true),
        ("another", false, Some(second), true),
        ("another", false, Some(SignedDuration::ZERO), false),
        ("0", false, Some(second), false),
        ("another", true, Some(second), false),
    ] {
        let heartbeat = heartbeat.map(|since| fixture.now.clock + since);
        let node = Node { boot_id: boot.to_owned(), heartbeat, ..in_service() };
        let checked_in = fixture.checked_in();
        let state = if unsure { checked_in.state.doubt_boot(&uid("n0")) } else { checked_in.state };
        let observed = fixture.looked(Lock { state, ..fixture.lock() }, &[], Vec::new());
        let observed = Observed { node: Some(fixture.reading(Some(node), 1)), ..observed };
        let step = fixture.pre_reboot(&observed, 1);
        let Step::Change(Change::Lock { why: LockChange::Take, next, .. }) = step else { panic!("{step:?}") };
        assert_eq!(next.holder(&uid("n0")).unwrap().unreported, !trusts, "{boot} {unsure}");
    }
}
