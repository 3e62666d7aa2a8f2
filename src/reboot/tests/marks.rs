//! Marks as a watch shows them: it may be behind, but never in what it is asked about.

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
        world.call(0);
        world.run(2, 100);
        assert_eq!(world.approvals, 1, "lag {lag}: nobody is in the way any more, and what the watch says of it is looked up");
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

#[test]
fn a_mark_that_is_gone_refuses_nobody_however_late_the_watch_is() {
    for lag in [0, 1, 1000] {
        let mut world = World { lag, ..World::new(2) };
        world.mark_by_hand(1, Status::Rebooting);
        world.call(0);
        world.run(1, 100);
        assert_eq!((world.approvals, world.lock.holders.len()), (0, usize::from(lag > 0)), "lag {lag}: marked only if the watch is late");
        world.mark_by_hand(1, Status::Ready);
        world.call(0);
        world.run(2, 100);
        assert_eq!(world.approvals, 1, "lag {lag}");
    }
}

/// A holder is not looked up; when its slot is gone in the lock seen later, that has to be made up for.
#[test]
fn a_holder_that_has_gone_meanwhile_refuses_nobody() {
    let mut world = World { lag: 1000, ..World::new(2) };
    world.call(1);
    world.run(1, 100);
    let (caller, held) = (world.caller(0), world.lock.clone());
    let lock = |state: &LockState, tick| Seen { value: Lock { state: state.clone(), version: None, written: None }, tick, at: world.start };
    let holders = vec![NodeName("n1".to_owned())];
    let marked = Seen { value: Marked { names: Vec::new(), holders }, tick: 2, at: world.start };
    let strangers = |lock: &Seen<Lock>| Marked::strangers(Some(&marked), lock, &caller.node);
    assert_eq!(strangers(&lock(&held, 1)), Strangers::Are(Vec::new()));
    assert_eq!(strangers(&lock(&LockState::default(), 3)), Strangers::NotLooked);
}
