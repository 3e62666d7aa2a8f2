//! What the proofs behind an approval can and cannot be made from.

use super::*;

#[test]
fn proofs_that_are_old_or_out_of_order_approve_nothing() {
    let fixture = Fixture::approved();
    let at = |tick, seconds| (tick, fixture.now.instant + Duration::from_secs(seconds));
    let node = {
        let mut node = in_service();
        node.unschedulable = true;
        node.meta.status = Status::Rebooting;
        node.meta.record = Some(CordonRecord { before: Before::Schedulable, term: Term { lease: Uid::default(), term: 1 }, drained: None });
        node.readiness = Readiness::Ready;
        node
    };
    let uid = &node.meta.uid;
    let held = LockState::default().take(node.name(), uid, &fixture.caller().group, fixture.now.clock).approve(uid, "0", fixture.now.clock);
    let approve = |(n, n_at), (p, p_at), (l, l_at), now: u64| {
        let lock = Reading { value: Lock { state: held.clone(), version: None, written: Some(LockChange::Approve) }, tick: l, at: l_at };
        let cordoned = Cordoned::of(&Reading { value: Some(node.clone()), tick: n, at: n_at }, &lock.value, 1).unwrap();
        let pods = Reading { value: Complete::of_all_pages(vec![]), tick: p, at: p_at };
        let emptied = Emptied::of(&pods, &cordoned, |_| DrainPlan::default()).ok()?;
        Approval::of(cordoned, emptied, HeldSlot::of(&lock, uid).unwrap(), fixture.now.instant + Duration::from_secs(now)).ok()
    };
    assert!(approve(at(1, 0), at(2, 0), at(3, 0), 0).is_some());
    assert!(approve(at(1, 0), at(2, 0), at(3, 0), PROOF_AGE_MAX.as_secs()).is_some());
    assert!(approve(at(1, 0), at(2, 0), at(2, 0), 0).is_none(), "the slot was not seen after the pods");
    assert!(approve(at(1, 0), at(2, 9), at(3, 9), PROOF_AGE_MAX.as_secs() + 1).is_none(), "frozen after the cordon was seen");
    assert!(approve(at(2, 0), at(1, 0), at(3, 0), 0).is_none(), "listed before the cordon");
    assert!(approve(at(1, 0), at(3, 0), at(2, 0), 0).is_none(), "slot seen before the list");
}

#[test]
fn a_slot_that_was_only_read_proves_nothing() {
    let fixture = Fixture::approved();
    let (caller, now) = (fixture.caller(), fixture.now);
    let state = LockState::default().take(&caller.node, &caller.uid, &caller.group, now.clock).approve(&caller.uid, "0", now.clock);
    let lock = |written| Reading { value: Lock { state: state.clone(), version: None, written }, tick: 9, at: now.instant };
    assert!(HeldSlot::of(&lock(None), &caller.uid).is_none());
    assert!(HeldSlot::of(&lock(Some(LockChange::Take)), &caller.uid).is_none());
    assert!(HeldSlot::of(&lock(Some(LockChange::Approve)), &caller.uid).is_some());
    assert!(HeldSlot::of(&lock(Some(LockChange::Approve)), &Uid("other".to_owned())).is_none());
}

#[test]
fn a_node_is_cordoned_only_when_it_is_marked_for_this_term_and_unschedulable() {
    let fixture = Fixture::approved();
    let lock = fixture.lock();
    let observed = |node: &Node| fixture.reading(Some(node.clone()), 1);
    let node = fixture.node();
    assert!(Cordoned::of(&observed(&node), &lock, 1).is_some());
    assert!(Cordoned::of(&observed(&node), &lock, 2).is_none(), "another term");
    assert!(Cordoned::of(&observed(&Node { unschedulable: false, ..node.clone() }), &lock, 1).is_none(), "uncordoned");
    let mut ready = node;
    ready.meta.status = Status::Ready;
    assert!(Cordoned::of(&observed(&ready), &lock, 1).is_none(), "not marked");
}

#[test]
fn a_list_with_the_tick_of_the_cordon_proves_nothing() {
    let fixture = Fixture::approved();
    let lock = Lock { written: Some(LockChange::Approve), ..fixture.lock() };
    let cordoned = |tick| Cordoned::of(&fixture.reading(Some(fixture.node()), tick), &lock, 1).unwrap();
    let emptied = || Emptied::of(&fixture.reading(Complete::of_all_pages(Vec::new()), 2), &cordoned(1), |_| DrainPlan::default()).unwrap();
    let slot = || HeldSlot::of(&fixture.reading(lock.clone(), 3), &fixture.uid).unwrap();
    assert!(Approval::of(cordoned(1), emptied(), slot(), fixture.now.instant).is_ok());
    assert!(Approval::of(cordoned(2), emptied(), slot(), fixture.now.instant).is_err());
}

#[test]
fn an_approval_names_the_pods_that_stay_because_they_came_back() {
    let fixture = Fixture::approved();
    let wire = json!({"metadata": {"namespace": "shop", "name": "back", "uid": "p", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"nodeName": "n0", "tolerations": [{"operator": "Exists"}]}, "status": {"phase": "Running"}});
    let lock = Lock { written: Some(LockChange::Approve), ..fixture.lock() };
    let cordoned = Cordoned::of(&fixture.reading(Some(fixture.node()), 1), &lock, 1).unwrap();
    let pods = fixture.reading(Complete::of_all_pages(vec![serde_json::from_value(wire).unwrap()]), 2);
    let plan = |pods: &[Pod]| DrainPlan::of(pods, &Ours::default(), fixture.now.clock, None);
    let emptied = Emptied::of(&pods, &cordoned, plan).unwrap();
    let slot = HeldSlot::of(&fixture.reading(lock.clone(), 3), &fixture.uid).unwrap();
    let approval = Approval::of(cordoned, emptied, slot, fixture.now.instant).ok().unwrap();
    assert_eq!(approval.came_back().iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop/back"]);
}
