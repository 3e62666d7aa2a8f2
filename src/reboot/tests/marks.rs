//! The fleet as a late view shows it: it may be behind, but never in what it is asked about.

use super::*;

/// An older manager that has looked, and marks its node before ours is marked. Whatever the watch is behind, it has brought
/// that mark when it has brought ours: nobody passes, and the first by name keeps its place.
#[test]
fn a_mark_from_before_our_own_is_seen_however_late_the_watch_is() {
    for lag in [0, 1, 3, 1000] {
        let mut world = World { stage: Stage::OlderManager, lag, ..World::new(2) };
        world.older_manager();
        world.call(0);
        // Node, lock, marks as far as is known, take.
        world.run(1, 4);
        world.older_manager();
        assert_eq!(world.older_manager_at, OlderManager::Marked);
        // Mark, marks, lock, and the answer.
        world.run(1, 4);
        assert!(world.actors.is_empty(), "lag {lag}: not refused");
        assert_eq!((world.approvals, world.machines[0].node.unschedulable), (0, true), "lag {lag}: n0 is the first by name");
        world.older_manager();
        assert_eq!(world.older_manager_at, OlderManager::Idle, "it has seen ours and goes back");
        world.lag = 0;
        world.call(0);
        world.run(2, 100);
        assert_eq!(world.approvals, 1, "lag {lag}: nobody is in the way any more");
    }
}

/// The same, with the older manager's node the first by name.
#[test]
fn whoever_is_not_the_first_by_name_gives_its_place_back_however_late_the_watch_is() {
    for lag in [0, 1, 3, 1000] {
        let mut world = World { lag, ..World::new(2) };
        let asked = Work::PreReboot(world.caller(1));
        let actor = world.spawn(1, asked);
        world.run(actor, 4);
        world.mark_by_hand(0, Status::Rebooting);
        world.run(actor, 100);
        assert_eq!((world.lock.holders.len(), world.machines[1].node.unschedulable), (0, false), "lag {lag}");
        assert_eq!(world.machines[1].node.mark.status, Status::Ready);
    }
}

/// A late view may refuse, which costs a node one more request, and never more.
#[test]
fn a_mark_that_is_gone_refuses_only_while_the_view_is_late() {
    for lag in [0, 1, 1000] {
        let mut world = World { lag, ..World::new(2) };
        world.mark_by_hand(1, Status::Rebooting);
        world.call(0);
        world.run(1, 100);
        assert_eq!(
            (world.approvals, world.lock.holders.len()),
            (0, usize::from(lag > 0)),
            "lag {lag}: takes a slot only if the view is late"
        );
        world.mark_by_hand(1, Status::Ready);
        world.lag = 0;
        world.call(0);
        world.run(2, 100);
        assert_eq!(world.approvals, 1, "lag {lag}");
    }
}

/// Between the release of its slot and the moment when the view shows its node restored, a node is in nobody's way.
#[test]
fn a_node_whose_slot_was_given_back_refuses_nobody_however_late_the_view_is() {
    let world = World::new(2);
    let (lease, now) = (Uid("lease".to_owned()), world.now().clock);
    let group = GroupName::parse("g").unwrap();
    let state = LockState::default().take(&NodeName("n1".to_owned()), &Uid("u1".to_owned()), &group, now);
    let term = state.last_term;
    let lock = |state: &LockState, tick| {
        let version = Some(LeaseVersion { uid: lease.clone(), version: ResourceVersion("7".to_owned()) });
        Seen { value: Lock { state: state.clone(), version, written: None }, tick, at: world.start }
    };
    let fleet = |lease: &Uid, term| {
        let mut marked = marked_by_hand("n1");
        marked.record =
            Some(Box::new(CordonRecord { before: Before::Schedulable, term: Term { lease: lease.clone(), term }, drained: None }));
        Seen { value: FleetFacts { members: vec![marked] }, tick: 2, at: world.start }
    };
    let others =
        |fleet: &Seen<FleetFacts>, lock: &Seen<Lock>| FleetFacts::rebooting_without_slot(Some(fleet), lock, &NodeName("n0".to_owned()));
    let none = Others::Are(Vec::new());
    let n1 = Others::Are(vec![NodeName("n1".to_owned())]);
    let (held, free) = (state.clone(), state.free(&Uid("u1".to_owned())));
    assert_eq!(others(&fleet(&lease, term), &lock(&held, 3)), none, "its slot counts");
    assert_eq!(others(&fleet(&lease, term), &lock(&free, 3)), none);
    assert_eq!(others(&fleet(&lease, term), &lock(&free, 1)), none, "this lock has counted the term");
    assert_eq!(others(&fleet(&lease, term + 1), &lock(&free, 1)), Others::LockTooOld, "this one has not");
    assert_eq!(others(&fleet(&lease, term + 1), &lock(&free, 3)), n1, "which no Lease shows that nobody has edited");
    assert_eq!(others(&fleet(&Uid("another".to_owned()), term), &lock(&free, 3)), n1, "a Lease that was deleted");
}
