//! What the reconciler finishes, and what it leaves alone.

use super::*;

#[test]
fn reconcile_finishes_a_check_in_that_nobody_comes_back_for() {
    // Metadata, node, lock, check-in, restore, free: whatever of it was done when the replica died.
    for steps in 4..6 {
        let mut world = World::new(1);
        world.call(0);
        world.run(1, 100);
        world.restart(0);
        world.call(0);
        world.run(2, steps);
        assert_eq!(world.lock.holders.len(), 1, "{steps} steps");
        world.keep_house_to_the_end();
        world.check_nothing_leaked();
    }
}

#[test]
fn reconcile_leaves_a_node_alone_that_may_be_rebooting() {
    let mut world = World::new(2);
    world.call(0);
    world.run(1, 100);
    world.keep_house_to_the_end();
    assert_eq!(world.lock.holders.len(), 1);
    assert!(world.machines[0].node.unschedulable);
}

#[test]
fn reconcile_undoes_a_mark_without_a_slot_and_adopts_one_whose_lease_is_gone() {
    for lease_is_gone in [false, true] {
        let mut world = World::new(1);
        world.call(0);
        world.run(1, 100);
        world.lock = if lease_is_gone { LockState::default() } else { world.lock.free(&Uid("u0".to_owned())) };
        if lease_is_gone {
            world.lease = None;
        }
        world.keep_house_to_the_end();
        assert_eq!(world.lock.holders.len(), usize::from(lease_is_gone));
        assert_eq!(world.machines[0].node.unschedulable, lease_is_gone);
    }
}

#[test]
fn reconcile_decides_by_evidence_that_is_younger_than_the_lock() {
    let mut world = World::new(1);
    world.call(0);
    world.run(1, 4);
    let (uid, now) = (Uid("u0".to_owned()), world.now());
    let mut actor = Actor { id: 9, machine: 0, work: Work::Holder(uid.clone()), seen: Observed::nothing(uid.clone(), None), looked: 0 };
    let asks = |actor: &Actor, question| matches!(reconcile::holder(&uid, &actor.seen, now.clock), reconcile::Step::Look(asked) if asked == question);
    assert!(asks(&actor, Question::Lock));
    world.read(&mut actor, Question::Node);
    world.read(&mut actor, Question::Lock);
    assert!(asks(&actor, Question::Node), "the node was read before the lock");
    let orphan = |actor: &Actor| reconcile::orphan(&NodeName("n0".to_owned()), &uid, &actor.seen, now.clock);
    let mut actor = Actor { seen: Observed::nothing(uid.clone(), None), ..actor };
    world.read(&mut actor, Question::Lock);
    world.read(&mut actor, Question::Node);
    assert!(matches!(orphan(&actor), reconcile::Step::Look(Question::Lock)), "the lock was read before the node");
}

#[test]
fn a_mark_that_an_older_lock_does_not_know_may_be_newer_than_it() {
    let mut world = World::new(1);
    world.call(0);
    world.run(1, 100);
    let holder = world.lock.holders[0].clone();
    let another = Holder { term: holder.term + 1, ..holder.clone() };
    let node = Seen { value: Some(world.machines[0].node.clone()), tick: 2, at: world.start };
    let state = || Lock { state: world.lock.clone(), version: world.lease.clone(), written: None };
    let since = |tick, holder| may_be_marked_since(&node, &Seen { value: state(), tick, at: world.start }, holder);
    assert!(since(1, None));
    assert!(since(1, Some(&another)), "the mark is of another term than the slot");
    assert!(!since(1, Some(&holder)), "the mark is of this very term");
    assert!(!since(2, None) && !since(3, None), "the lock is not older");
}
