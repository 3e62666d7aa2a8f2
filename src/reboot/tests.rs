//! Single rules at their edges, on values made by hand. How the rules work together, `tests/model` walks in every order there is, and
//! at random.

mod after_reboot;
mod answers;
mod before_reboot;
mod caller;
mod evidence;
mod fleet;
mod gates;
mod reconciling;
mod recording;
mod waiting;

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::observed::may_be_marked_since;
use super::*;
use crate::cluster::{
    Before, Complete, CordonRecord, HexId, LeaseVersion, MachineId, Member, Node, NodeMeta, NodeName, NodePatch, Pod, ReadyCondition,
    ResourceVersion, Status, Term, Uid,
};
use crate::drain::{DrainPlan, Ours};
use crate::fleetlock::{GroupName, Kind, Reply};
use crate::lock::{Capacity, Holder, LockState, Times};

/// A node `n0` that is approved, and the lock in which it holds its slot.
struct Fixture {
    node: Node,
    lock: Lock,
    now: Now,
}

impl Fixture {
    #[expect(clippy::disallowed_methods, reason = "an Instant comes only from the clock; the test does not wait for it")]
    fn approved() -> Self {
        let now = Now { clock: Timestamp::from_second(1_800_000_000).unwrap(), instant: Instant::now() };
        let version = LeaseVersion { uid: uid("lease"), version: ResourceVersion("4".to_owned()) };
        let mut fixture =
            Self { node: in_service(), lock: Lock { state: LockState::default(), version: Some(version), written: None }, now };
        fixture.lock = fixture.held(&["n0"], &["n0"]);
        fixture.node.meta.version = ResourceVersion("3".to_owned());
        fixture.node.meta.status = Status::Rebooting;
        let term = fixture.lock.term(fixture.lock.state.last_term);
        fixture.node.meta.record = Some(CordonRecord { before: Before::Schedulable, term, drained: Some(now.clock) });
        fixture.node.unschedulable = true;
        fixture
    }

    fn node(&self) -> Node {
        self.node.clone()
    }

    fn caller(&self) -> Caller {
        let MachineId(id) = self.node.machine_id.unwrap();
        Caller { node: name("n0"), uid: uid("n0"), id, group: group(), arrived: self.now.clock }
    }

    fn lock(&self) -> Lock {
        self.lock.clone()
    }

    /// The lock in which these nodes have taken slots in this order, and then some were approved.
    fn held(&self, nodes: &[&str], approved: &[&str]) -> Lock {
        let now = self.now.clock;
        let take = |state: LockState, node: &&str| state.take(&name(node), &uid(node), &group(), now);
        let taken = nodes.iter().fold(LockState::default(), take).describe(&self.node);
        Lock { state: approved.iter().fold(taken, |state, node| state.approve(&uid(node), "0", now)), ..self.lock() }
    }

    /// The lock in which the slot of `n0` is free.
    fn freed(&self, nodes: &[&str]) -> Lock {
        let lock = self.held(nodes, &[]);
        Lock { state: lock.state.free(&uid("n0"), self.now.clock), ..lock }
    }

    /// The lock in which `n0` has checked in.
    fn checked_in(&self) -> Lock {
        Lock { state: self.lock.state.check_in(&uid("n0"), self.now.clock), ..self.lock() }
    }

    fn reading<T>(&self, value: T, tick: u64) -> Reading<T> {
        Reading { value, tick, at: self.now.instant }
    }

    /// Node and lock, read at these ticks.
    fn observed(&self, node: Node, node_tick: u64, lock: Lock, lock_tick: u64) -> Observed {
        let mut observed = Observed::new(uid("n0"), None);
        observed.node = Some(self.reading(Some(node), node_tick));
        observed.lock = Some(self.reading(lock, lock_tick));
        observed
    }

    fn record(&self, observed: &mut Observed, fact: Fact) {
        observed.record(fact, self.now.instant);
    }
}

fn name(name: &str) -> NodeName {
    NodeName(name.to_owned())
}

fn uid(uid: &str) -> Uid {
    Uid(uid.to_owned())
}

fn group() -> GroupName {
    GroupName::parse("default").unwrap()
}

fn in_service() -> Node {
    let wire = json!({"metadata": {"name": "n0", "uid": "n0", "resourceVersion": "1"},
        "status": {"nodeInfo": {"machineID": format!("{:032x}", 1), "bootID": "0"}}});
    serde_json::from_value(wire).unwrap()
}

/// A node of this name that was marked by hand.
fn marked_by_hand(name: &str) -> Member {
    let wire = json!({"metadata": {"name": name, "annotations": {"rebootmanager/status": "Rebooting"}}});
    serde_json::from_value(wire).unwrap()
}

fn rules(slots: usize) -> Rules {
    Rules {
        capacity: Capacity { slots },
        protect_control_plane: true,
        times: Times::DEFAULT,
        replica: "r".to_owned(),
        ours: Ours::default(),
    }
}

/// The step in short: `read Lock`, `write Take`, `wait`, `approved`, or the value of another answer.
fn short(step: Step) -> String {
    match step {
        Step::Answer(Outcome::Approved(..)) => "approved".to_owned(),
        Step::Answer(outcome) => Reply::from(outcome).value().to_owned(),
        Step::Change(change) => written(&change),
        Step::Read(question) => format!("read {question:?}"),
        Step::Wait(Wait::Drain(_)) => "wait".to_owned(),
        Step::Wait(Wait::Slot(wait)) => wait.refusal.message,
    }
}

fn written(change: &Change) -> String {
    match change {
        Change::Lock { why: LockChange::Free(_), .. } => "write Free".to_owned(),
        Change::Lock { why, .. } => format!("write {why:?}"),
        Change::Node { why, .. } => format!("write {why:?}"),
    }
}

#[track_caller]
fn check(step: Step, want: &str) {
    assert_eq!(short(step), want);
}

#[track_caller]
fn refused(step: Step, says: &str) {
    assert!(matches!(step, Step::Answer(_) | Step::Wait(Wait::Slot(_))), "{step:?}");
    let value = short(step);
    assert!(value.contains(says), "{value}");
}
