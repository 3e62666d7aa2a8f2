//! The gates in front of a free slot, on values made by hand.

use super::super::gates::{self, control_plane_stays_up};
use super::*;
use crate::cluster::Unavailable;

/// A control-plane node `n0` beside `n1`, and what one request of it has seen.
struct Gate {
    fixture: Fixture,
    node: Node,
    observed: Observed,
    lock: Reading<Lock>,
    rules: Rules,
}

impl Gate {
    fn new() -> Self {
        let fixture = Fixture::approved();
        let mut gate = Self {
            node: Node { control_plane: true, ..in_service() },
            observed: Observed::new(uid("n0"), None),
            lock: fixture.reading(fixture.held(&[], &[]), 2),
            rules: rules(1),
            fixture,
        };
        gate.reads(plane("n1", None));
        gate
    }

    /// Reads the control-plane nodes: itself, cordoned, and this one.
    fn reads(&mut self, other: Member) {
        let members = vec![plane("n0", Some(Unavailable::Cordoned)), other];
        self.observed.fleet_cached = Some(self.fixture.reading(FleetFacts { members, queue: Vec::new() }, 3));
    }

    /// Lets these nodes hold the slots.
    fn hold(&mut self, nodes: &[&str], approved: &[&str]) {
        self.lock.value = self.fixture.held(nodes, approved);
    }

    /// Kind and message of the refusal; empty when the way is free.
    fn says(&self) -> String {
        let (caller, lock, node) = (&self.fixture.caller(), &self.lock, &self.node);
        let closed = gates::own(caller, lock, node, self.fixture.now);
        match closed.or_else(|| gates::control_plane(caller, &self.observed, lock, node, &self.rules)) {
            None => String::new(),
            Some(Step::Answer(Outcome::Refused(refusal))) => format!("{}: {}", refusal.kind.name(), refusal.message),
            Some(step) => short(step),
        }
    }

    fn stays_up(&self) -> bool {
        let holder = self.lock.value.state.holder(&uid("n0")).unwrap();
        let fleet = &self.observed.fleet_cached.as_ref().unwrap().value;
        control_plane_stays_up(&self.fixture.caller(), fleet, &self.lock.value, holder, &self.node, &self.rules)
    }
}

/// A node of the control plane that is unavailable for this reason.
fn plane(name: &str, unavailable: Option<Unavailable>) -> Member {
    let mut node: Member = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    node.control_plane = true;
    match unavailable {
        Some(Unavailable::Cordoned) => node.unschedulable = true,
        Some(Unavailable::NotReady) => node.readiness = ReadyCondition::NotReady,
        Some(Unavailable::Rebooting) => node.status = Status::Rebooting,
        None => {}
    }
    node
}

#[test]
fn a_node_waits_once_it_has_not_been_ready_for_a_minute() {
    let mut gate = Gate::new();
    gate.node.control_plane = false;
    for (readiness, seconds, waits) in [
        (ReadyCondition::Ready, Some(3600), false),
        (ReadyCondition::Absent, None, false),
        (ReadyCondition::NotReady, Some(-300), false),
        (ReadyCondition::NotReady, Some(-301), true),
        (ReadyCondition::NotReady, Some(59), false),
        (ReadyCondition::NotReady, Some(60), true),
        (ReadyCondition::NotReady, None, true),
    ] {
        gate.node.readiness = readiness;
        gate.node.readiness_since = seconds.map(|seconds| gate.fixture.now.clock - SignedDuration::from_secs(seconds));
        let says = gate.says();
        assert_eq!(says.starts_with("node_not_ready: node n0 must wait"), waits, "{readiness:?} {seconds:?}: {says}");
        assert_eq!(says.is_empty(), !waits);
    }
}

#[test]
fn a_control_plane_node_waits_only_for_another_unavailable_one() {
    let mut gate = Gate::new();
    assert_eq!(gate.says(), "", "its own cordon does not count");
    for (why, says) in [
        (Unavailable::Cordoned, "n1 is cordoned (`kubectl uncordon n1`"),
        (Unavailable::NotReady, "n1 is not Ready (see `kubectl describe node n1`)"),
        (
            Unavailable::Rebooting,
            "n1 is marked Rebooting (once it is back: `kubectl annotate node n1 --overwrite rebootmanager/status=Ready`)",
        ),
    ] {
        gate.reads(plane("n1", Some(why)));
        assert!(gate.says().starts_with("control_plane_unavailable: node n0 must wait") && gate.says().contains(says), "{}", gate.says());
    }
    gate.rules.protect_control_plane = false;
    assert_eq!(gate.says(), "", "switched off");
    gate.rules.protect_control_plane = true;
    gate.node.control_plane = false;
    assert_eq!(gate.says(), "", "a worker");
}

#[test]
fn the_fleet_is_read_for_a_node_of_the_control_plane() {
    let mut gate = Gate::new();
    gate.observed.fleet_cached = None;
    assert_eq!(gate.says(), "read FleetCached");
    gate.node.control_plane = false;
    assert_eq!(gate.says(), "");
}

#[test]
fn a_cordon_of_ours_whose_slot_was_given_back_does_not_count() {
    let mut gate = Gate::new();
    gate.lock.value.state.last_term = 4;
    for (before, term, readiness, says) in [
        (Before::Schedulable, 4, ReadyCondition::Ready, ""),
        (Before::Schedulable, 5, ReadyCondition::Ready, "n1 is marked Rebooting"),
        (Before::Unschedulable, 4, ReadyCondition::Ready, "n1 is cordoned"),
        (Before::Schedulable, 4, ReadyCondition::NotReady, "n1 is not Ready"),
    ] {
        let mut node = plane("n1", Some(Unavailable::Rebooting));
        (node.unschedulable, node.readiness) = (true, readiness);
        node.record = Some(Box::new(CordonRecord { before, term: gate.lock.value.term(term), drained: None }));
        gate.reads(node);
        assert!(gate.says().contains(says) && gate.says().is_empty() == says.is_empty(), "{before:?} {readiness:?}: {}", gate.says());
    }
}

#[test]
fn a_holder_of_the_control_plane_is_known_by_list_or_lease() {
    let mut gate = Gate::new();
    gate.hold(&["x9"], &[]);
    assert_eq!(gate.says(), "", "a worker holds the other slot");
    gate.lock.value.state.holders[0].control_plane = true;
    assert!(
        gate.says().contains("x9 holds a slot since 20") && gate.says().contains("Z (being drained)"),
        "its Node may be deleted: {}",
        gate.says()
    );
    gate.hold(&["n1"], &[]);
    gate.reads(plane("n1", Some(Unavailable::Rebooting)));
    assert!(gate.says().contains("n1 holds a slot since 20") && !gate.says().contains("marked"), "named once: {}", gate.says());
}

#[test]
fn a_holder_yields_to_unavailable_control_plane_nodes_except_later_holders() {
    let mut gate = Gate::new();
    gate.hold(&["n0"], &[]);
    assert!(gate.stays_up());
    gate.reads(plane("n1", Some(Unavailable::NotReady)));
    assert!(!gate.stays_up());
    gate.reads(plane("n1", Some(Unavailable::Rebooting)));
    gate.hold(&["n0", "n1"], &[]);
    assert!(gate.stays_up(), "n1 took its slot later, and gives way itself");
    gate.hold(&["n0", "n1"], &["n1"]);
    assert!(!gate.stays_up(), "but not when it is approved");
    gate.reads(plane("n1", None));
    gate.hold(&["n1", "n0"], &[]);
    assert!(!gate.stays_up(), "n1 took its slot before");
    gate.rules.protect_control_plane = false;
    assert!(gate.stays_up(), "switched off");
}
