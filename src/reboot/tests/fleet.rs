//! Who else is rebooting, by a view of the fleet that may be late.

use super::*;
use crate::cluster::Waiting;
use crate::fleetlock::Fleet;
use crate::lock::Place;

impl Fixture {
    /// The others that `own` sees in a fleet, by a lock read at another tick.
    fn others(&self, members: Vec<Member>, fleet_tick: u64, lock: Lock, lock_tick: u64, own: &str) -> Others {
        let fleet = self.reading(FleetFacts { members, queue: Vec::new() }, fleet_tick);
        FleetFacts::rebooting_without_slot(Some(&fleet), &self.reading(lock, lock_tick), &name(own))
    }
}

fn are(names: &[&str]) -> Others {
    Others::Known(names.iter().map(|node| name(node)).collect())
}

/// After its slot is freed, and before the view shows it restored, a node is in the way of no other.
#[test]
fn a_node_whose_slot_was_given_back_blocks_no_other_however_late_the_view() {
    let fixture = Fixture::approved();
    let (held, free) = (|| fixture.lock(), || fixture.freed(&["n0"]));
    for (lease, term, lock, lock_tick, want, why) in [
        ("lease", 1, held(), 3, are(&[]), "its slot counts"),
        ("lease", 1, free(), 3, are(&[]), "its slot was freed"),
        ("lease", 1, free(), 1, are(&[]), "this lock has counted the term"),
        ("lease", 2, free(), 1, Others::LockTooOld, "this one has not"),
        ("lease", 2, free(), 3, are(&["n0"]), "which no unedited Lease shows"),
        ("another", 1, free(), 3, are(&["n0"]), "a Lease that was deleted"),
    ] {
        let mut marked = marked_by_hand("n0");
        let term = Term { lease: uid(lease), term };
        marked.record = Some(Box::new(CordonRecord { before: Before::Schedulable, term, drained: None }));
        assert_eq!(fixture.others(vec![marked], 2, lock, lock_tick, "n1"), want, "{why}");
    }
}

#[test]
fn others_are_marked_nodes_without_a_slot() {
    let fixture = Fixture::approved();
    for (marked, fleet_tick, lock_tick, want, why) in [
        (&["n0", "n1", "n2"][..], 1, 2, are(&["n2"]), "n0 holds a slot, and n1 asks"),
        (&["n2"], 2, 1, Others::LockTooOld, "n2 may have taken its slot since"),
        (&["n2"], 2, 2, are(&["n2"]), "the lock is not older"),
        (&["n0", "n1"], 2, 1, are(&[]), "none of these can be mistaken for another"),
    ] {
        let members = marked.iter().map(|node| marked_by_hand(node)).collect();
        assert_eq!(fixture.others(members, fleet_tick, fixture.lock(), lock_tick, "n1"), want, "{why}");
    }
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

#[test]
fn the_queue_has_the_nodes_that_wait_for_a_slot_and_could_take_it() {
    let mut fleet = Fleet::default();
    let since = |second| Timestamp::from_second(second).unwrap();
    let mut add = |node: &str, waiting: Option<(i64, Kind)>, readiness| {
        let waiting = waiting.map(|(second, reason)| Box::new(Waiting { since: since(second), reason: reason.name().to_owned() }));
        let member: Member = serde_json::from_value(json!({"metadata": {"name": node}})).unwrap();
        fleet.add(Member { waiting, readiness, ..member });
    };
    add("deferred", Some((1, Kind::Deferred)), ReadyCondition::Ready);
    add("later", Some((3, Kind::SlotsTaken)), ReadyCondition::Ready);
    add("none", None, ReadyCondition::Ready);
    add("not-ready", Some((1, Kind::SlotsTaken)), ReadyCondition::NotReady);
    add("unreported", Some((2, Kind::Queued)), ReadyCondition::Absent);
    let facts = FleetFacts::of(&fleet.finish(&ResourceVersion("1".to_owned())));
    assert_eq!(facts.queue, [(2, "unreported"), (3, "later")].map(|(second, node)| Place { since: since(second), node: name(node) }));
}
