//! Requests that go on after a later one of the same node, or another manager, has changed what they saw.

use super::*;

#[test]
fn a_check_in_from_before_an_approval_frees_nothing() {
    // Frozen after its look at the metadata; and after node and lock, when the next step would write the check-in.
    for steps in [1, 3] {
        let mut world = World::new(1);
        let (asked, back) = (Work::PreReboot(world.caller(0)), Work::SteadyState(world.caller(0)));
        let first = world.spawn(0, asked);
        world.run(first, 100);
        let frozen = world.spawn(0, back);
        world.run(frozen, steps);
        world.seconds += 1;
        world.call(0);
        world.run(frozen + 1, 100);
        assert_eq!(world.machines[0].client, Client::Approved);
        world.run(frozen, 100);
        assert!(world.lock.holders[0].checked_in.is_none(), "an old check-in freed a node that may be rebooting ({steps} steps)");
        assert!(world.machines[0].node.unschedulable);
    }
}

#[test]
fn an_ask_from_before_a_check_in_takes_no_slot() {
    let mut world = World::new(1);
    let asked = Work::PreReboot(world.caller(0));
    let frozen = world.spawn(0, asked);
    // Node, lock, marks, take, mark, marks: then it would list pods.
    world.run(frozen, 6);
    let term = world.actors[0].seen.term.clone();
    world.restart(0);
    world.call(0);
    world.run(frozen + 1, 100);
    assert_eq!(world.lock.holders, []);
    world.run(frozen, 1);
    world.actors.iter_mut().for_each(|actor| actor.seen = Observed::nothing(Uid("u0".to_owned()), term.clone()));
    world.run(frozen, 100);
    world.check_nothing_leaked();
}

#[test]
fn a_look_from_before_the_mark_takes_no_approval_away() {
    let mut world = World::new(1);
    let asked = Work::PreReboot(world.caller(0));
    let old = world.spawn(0, asked);
    // The node alone: it is not marked yet.
    world.run(old, 1);
    world.call(0);
    world.run(old + 1, 100);
    assert_eq!(world.machines[0].client, Client::Approved);
    for _ in 0..10 {
        world.run(old, 1);
        assert!(world.lock.holders[0].approved.is_some(), "the slot of a node that may be rebooting is not approved any more");
    }
    assert_eq!(world.lock.last_term, 1);
}

#[test]
fn a_request_that_goes_back_lets_no_other_of_its_node_approve() {
    let mut world = World { stage: Stage::OlderManager, ..World::new(2) };
    // The other manager's node comes first by name.
    world.machines[1].node.mark.name = NodeName("a".to_owned());
    world.machines[0].pods = 0;
    let asked = Work::PreReboot(world.caller(0));
    let old = world.spawn(0, asked);
    // Node, lock, marks, take, mark: it is to look again who is marked.
    world.run(old, 5);
    let asked = Work::PreReboot(world.caller(0));
    let young = world.spawn(0, asked);
    // Node, lock, marks, pods: it is to approve.
    world.run(young, 4);
    world.older_manager_at = OlderManager::Looked;
    world.older_manager();
    world.machines[0].listens_to = Some(young);
    // Marks, lock; then it goes back.
    world.run(old, 3);
    world.run(young, 100);
    assert_eq!(world.machines[0].client, Client::Up, "approved while it was put back in service");
    world.run(old, 100);
    assert_eq!((world.lock.holders.len(), world.machines[0].node.unschedulable), (0, false));
}
