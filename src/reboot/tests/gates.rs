//! The gates in front of a free slot, on values made by hand.

use super::super::gates::{closed, control_plane_stays_up};
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
        let mut node = in_service();
        node.control_plane = true;
        let lock = Lock { state: LockState::default(), version: None, written: None };
        let mut gate = Self {
            observed: Observed::new(node.meta.uid.clone(), None),
            lock: Reading { value: lock, tick: 2, at: fixture.now.instant },
            rules: Rules { capacity: Capacity { slots: 1 }, protect_control_plane: true, ours: Ours::default() },
            node,
            fixture,
        };
        gate.reads(None, 3);
        gate
    }

    /// The control-plane nodes, read at this tick.
    fn reads(&mut self, unavailable: Option<Unavailable>, tick: u64) {
        let members = vec![plane("n0", Some(Unavailable::Cordoned)), plane("n1", unavailable)];
        self.observed.fleet_cached = Some(Reading { value: FleetFacts { members }, tick, at: self.fixture.now.instant });
    }

    fn take(&mut self, name: &str) {
        let (name, uid) = (NodeName(name.to_owned()), Uid(format!("u-{name}")));
        self.lock.value.state = self.lock.value.state.take(&name, &uid, &GroupName::parse("g").unwrap(), self.fixture.now.clock);
    }

    fn step(&self) -> Option<Step> {
        closed(&self.fixture.caller(), &self.observed, &self.lock, &self.node, &self.rules, self.fixture.now)
    }

    /// Kind and message of the refusal; empty when the way is free.
    fn says(&self) -> String {
        match self.step() {
            None => String::new(),
            Some(Step::Answer(Outcome::Refused(refusal))) => format!("{}: {}", refusal.kind.name(), refusal.message),
            Some(step) => format!("{step:?}"),
        }
    }

    fn stays_up(&self) -> bool {
        let holder = self.lock.value.state.holders.iter().find(|holder| holder.node.as_str() == "n0").unwrap();
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
        Some(Unavailable::NotReady) => node.readiness = Readiness::NotReady,
        Some(Unavailable::Rebooting) => node.status = Status::Rebooting,
        None => {}
    }
    node
}

#[test]
fn a_node_waits_once_it_has_not_been_ready_for_a_minute() {
    let mut gate = Gate::new();
    gate.node.control_plane = false;
    let ago = |gate: &Gate, seconds| Some(gate.fixture.now.clock - jiff::SignedDuration::from_secs(seconds));
    for (readiness, since, waits) in [
        (Readiness::Ready, Some(3600), false),
        (Readiness::Unknown, None, false),
        (Readiness::NotReady, Some(-3600), false),
        (Readiness::NotReady, Some(59), false),
        (Readiness::NotReady, Some(60), true),
        (Readiness::NotReady, None, true),
    ] {
        gate.node.readiness = readiness;
        gate.node.readiness_since = since.and_then(|seconds| ago(&gate, seconds));
        assert_eq!(gate.says().starts_with("node_not_ready: node n0 must wait"), waits, "{readiness:?} {since:?}: {}", gate.says());
        assert_eq!(gate.step().is_some(), waits);
    }
}

#[test]
fn a_control_plane_node_waits_only_for_another_unavailable_one() {
    let mut gate = Gate::new();
    assert_eq!(gate.says(), "", "its own cordon does not count");
    for (why, says) in [
        (Unavailable::Cordoned, "n1 is cordoned"),
        (Unavailable::NotReady, "n1 is not Ready"),
        (Unavailable::Rebooting, "n1 is marked Rebooting"),
    ] {
        gate.reads(Some(why), 3);
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
    assert!(matches!(gate.step(), Some(Step::Read(Question::FleetCached))));
    gate.node.control_plane = false;
    assert!(gate.step().is_none());
}

#[test]
fn a_cordon_of_ours_whose_slot_was_given_back_does_not_count() {
    let mut gate = Gate::new();
    let version = LeaseVersion { uid: Uid("lease".to_owned()), version: ResourceVersion("7".to_owned()) };
    gate.lock.value.version = Some(version);
    gate.lock.value.state.last_term = 4;
    for (before, term, readiness, says) in [
        (Before::Schedulable, 4, Readiness::Ready, ""),
        (Before::Schedulable, 5, Readiness::Ready, "n1 is marked Rebooting"),
        (Before::Unschedulable, 4, Readiness::Ready, "n1 is cordoned"),
        (Before::Schedulable, 4, Readiness::NotReady, "n1 is not Ready"),
    ] {
        let mut node = plane("n1", Some(Unavailable::Rebooting));
        (node.unschedulable, node.readiness) = (true, readiness);
        let term = Term { lease: Uid("lease".to_owned()), term };
        node.record = Some(Box::new(CordonRecord { before, term, drained: None }));
        gate.observed.fleet_cached = Some(Reading { value: FleetFacts { members: vec![node] }, tick: 3, at: gate.fixture.now.instant });
        assert!(gate.says().contains(says) && gate.says().is_empty() == says.is_empty(), "{before:?} {readiness:?}: {}", gate.says());
    }
}

#[test]
fn a_holder_of_the_control_plane_is_known_by_list_or_lease() {
    let mut gate = Gate::new();
    gate.take("x9");
    assert_eq!(gate.says(), "", "a worker holds the other slot");
    gate.lock.value.state.holders[0].control_plane = true;
    assert!(gate.says().contains("x9 holds a slot since 20"), "its Node may be deleted: {}", gate.says());
    let mut gate = Gate::new();
    gate.take("n1");
    gate.reads(Some(Unavailable::Rebooting), 3);
    assert!(gate.says().contains("n1 holds a slot since 20") && !gate.says().contains("marked"), "named once: {}", gate.says());
}

#[test]
fn a_holder_yields_to_unavailable_control_plane_nodes_except_later_holders() {
    let mut gate = Gate::new();
    gate.take("n0");
    assert!(gate.stays_up());
    gate.reads(Some(Unavailable::NotReady), 3);
    assert!(!gate.stays_up());
    gate.reads(Some(Unavailable::Rebooting), 3);
    gate.take("n1");
    assert!(gate.stays_up(), "n1 took its slot later, and gives way itself");
    gate.lock.value.state = gate.lock.value.state.approve(&Uid("u-n1".to_owned()), "b", gate.fixture.now.clock);
    assert!(!gate.stays_up(), "but not when it is approved");
    let mut gate = Gate::new();
    gate.take("n1");
    gate.take("n0");
    assert!(!gate.stays_up(), "n1 took its slot before");
    gate.rules.protect_control_plane = false;
    assert!(gate.stays_up(), "switched off");
}
