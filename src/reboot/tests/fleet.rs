//! Who else is rebooting, by a view of the fleet that may be late.

use super::*;
use crate::fleetlock::Fleet;

/// After its slot is freed, and before the view shows it restored, a node is in the way of no other.
#[test]
fn a_node_whose_slot_was_given_back_blocks_no_other_however_late_the_view() {
    let fixture = Fixture::approved();
    let lease = fixture.version.uid.clone();
    let state = LockState::default().take(&NodeName("n1".to_owned()), &Uid("u1".to_owned()), &group(), fixture.now.clock);
    let term = state.last_term;
    let lock = |state: &LockState, tick| {
        let version = Some(LeaseVersion { uid: lease.clone(), version: ResourceVersion("7".to_owned()) });
        Reading { value: Lock { state: state.clone(), version, written: None }, tick, at: fixture.now.instant }
    };
    let fleet = |lease: &Uid, term| {
        let mut marked = marked_by_hand("n1");
        marked.record =
            Some(Box::new(CordonRecord { before: Before::Schedulable, term: Term { lease: lease.clone(), term }, drained: None }));
        Reading { value: FleetFacts { members: vec![marked] }, tick: 2, at: fixture.now.instant }
    };
    let others = |fleet: &Reading<FleetFacts>, lock: &Reading<Lock>| {
        FleetFacts::rebooting_without_slot(Some(fleet), lock, &NodeName("n0".to_owned()))
    };
    let none = Others::Rebooting(Vec::new());
    let n1 = Others::Rebooting(vec![NodeName("n1".to_owned())]);
    let (held, free) = (state.clone(), state.free(&Uid("u1".to_owned())));
    assert_eq!(others(&fleet(&lease, term), &lock(&held, 3)), none, "its slot counts");
    assert_eq!(others(&fleet(&lease, term), &lock(&free, 3)), none);
    assert_eq!(others(&fleet(&lease, term), &lock(&free, 1)), none, "this lock has counted the term");
    assert_eq!(others(&fleet(&lease, term + 1), &lock(&free, 1)), Others::LockTooOld, "this one has not");
    assert_eq!(others(&fleet(&lease, term + 1), &lock(&free, 3)), n1, "which no unedited Lease shows");
    assert_eq!(others(&fleet(&Uid("another".to_owned()), term), &lock(&free, 3)), n1, "a Lease that was deleted");
}

#[test]
fn others_are_marked_nodes_without_a_slot() {
    let fixture = Fixture::approved();
    let name = |name: &str| NodeName(name.to_owned());
    let others = |names: &[&str], fleet, lock, own: &str| {
        let members = names.iter().map(|node| marked_by_hand(node)).collect();
        let fleet = fixture.reading(FleetFacts { members }, fleet);
        FleetFacts::rebooting_without_slot(Some(&fleet), &fixture.reading(fixture.lock(), lock), &name(own))
    };
    let are = |names: &[&str]| Others::Rebooting(names.iter().map(|node| name(node)).collect());
    assert_eq!(others(&["n0", "n1", "n2"], 1, 2, "n1"), are(&["n2"]), "n0 holds a slot, and n1 asks");
    assert_eq!(others(&["n2"], 2, 1, "n1"), Others::LockTooOld);
    assert_eq!(others(&["n2"], 2, 2, "n1"), are(&["n2"]), "the lock is not older");
    assert_eq!(others(&["n0", "n1"], 2, 1, "n1"), are(&[]), "none of these can be mistaken for another");
    assert_eq!(FleetFacts::rebooting_without_slot(None, &fixture.reading(fixture.lock(), 1), &name("n1")), Others::NotRead);
}

#[test]
fn the_rules_see_the_marked_and_the_control_plane_of_a_fleet() {
    let mut fleet = Fleet::default();
    let plane = json!({"metadata": {"name": "plane", "labels": {"node-role.kubernetes.io/control-plane": ""}}});
    let ordinary = json!({"metadata": {"name": "ordinary"}});
    [ordinary, plane].into_iter().for_each(|wire| fleet.add(serde_json::from_value(wire).unwrap()));
    fleet.add(marked_by_hand("marked"));
    let facts = FleetFacts::of(&fleet.finish(&ResourceVersion("1".to_owned())));
    assert_eq!(facts.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["marked", "plane"]);
}
