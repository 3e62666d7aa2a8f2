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

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::observed::may_be_marked_since;
use super::*;
use crate::cluster::{
    Before, Complete, CordonRecord, HexId, LeaseVersion, MachineId, Member, Node, NodeName, NodePatch, Pod, Readiness, ResourceVersion,
    Status, Term, Uid,
};
use crate::drain::{DrainPlan, Ours};
use crate::fleetlock::{GroupName, Kind};
use crate::lock::{Capacity, Holder, LockState};

/// A node `n0` that is approved, and the lock in which it holds its slot.
struct Fixture {
    uid: Uid,
    node: Node,
    state: LockState,
    version: LeaseVersion,
    now: Now,
}

impl Fixture {
    #[expect(clippy::disallowed_methods, reason = "an Instant comes only from the clock; the test does not wait for it")]
    fn approved() -> Self {
        let now = Now { clock: Timestamp::from_second(1_800_000_000).unwrap(), instant: Instant::now() };
        let mut node = in_service();
        let uid = node.meta.uid.clone();
        let state = LockState::default().take(node.name(), &uid, &group(), now.clock).describe(&node).approve(&uid, "0", now.clock);
        let version = LeaseVersion { uid: Uid("lease".to_owned()), version: ResourceVersion("4".to_owned()) };
        let term = Term { lease: version.uid.clone(), term: state.last_term };
        node.meta.version = ResourceVersion("3".to_owned());
        node.meta.status = Status::Rebooting;
        node.meta.record = Some(CordonRecord { before: Before::Schedulable, term, drained: Some(now.clock) });
        node.unschedulable = true;
        Self { uid, node, state, version, now }
    }

    fn node(&self) -> Node {
        self.node.clone()
    }

    fn caller(&self) -> Caller {
        let MachineId(id) = self.node.machine_id.unwrap();
        Caller { node: self.node.name().clone(), uid: self.uid.clone(), id, group: group(), arrived: self.now.clock }
    }

    fn lock(&self) -> Lock {
        Lock { state: self.state.clone(), version: Some(self.version.clone()), written: None }
    }

    fn reading<T>(&self, value: T, tick: u64) -> Reading<T> {
        Reading { value, tick, at: self.now.instant }
    }

    /// Node and lock, read at these ticks.
    fn observed(&self, node: Node, node_tick: u64, lock: Lock, lock_tick: u64) -> Observed {
        let mut observed = Observed::new(self.uid.clone(), None);
        observed.node = Some(self.reading(Some(node), node_tick));
        observed.lock = Some(self.reading(lock, lock_tick));
        observed
    }

    fn holder(&self, observed: &Observed) -> reconcile::Step {
        reconcile::holder(&self.uid, observed, self.now.clock)
    }

    fn orphan(&self, observed: &Observed) -> reconcile::Step {
        reconcile::orphan(&NodeName("n0".to_owned()), &self.uid, observed, self.now.clock)
    }
}

fn in_service() -> Node {
    let wire = json!({"metadata": {"name": "n0", "uid": "u0", "resourceVersion": "1"},
        "status": {"nodeInfo": {"machineID": format!("{:032x}", 1), "bootID": "0"}}});
    serde_json::from_value(wire).unwrap()
}

fn group() -> GroupName {
    GroupName::parse("default").unwrap()
}

/// A node of this name that was marked by hand.
fn marked_by_hand(name: &str) -> Member {
    let wire = json!({"metadata": {"name": name, "annotations": {"rebootmanager/status": "Rebooting"}}});
    serde_json::from_value(wire).unwrap()
}

#[track_caller]
fn refused(step: Step) -> String {
    let Step::Answer(outcome) = step else { panic!("{step:?}") };
    crate::fleetlock::Reply::from(outcome).value().to_owned()
}
