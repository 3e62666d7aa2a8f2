//! A small world in which the rules run as they ship: nodes with pods, one Lease, and any number of requests and
//! housekeepers whose steps are interleaved at random, abandoned, and answered with the answer lost.

mod answers;
mod caller;
mod edges;
mod evidence;
mod gates;
mod marks;
mod overtaken;
mod reconciled;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::observed::may_be_marked_since;
use super::*;
use crate::cluster::{
    Before, Complete, CordonRecord, HexId, Hosts, LeaseVersion, MachineId, Member, Node, NodeName, NodePatch, PackedId, Pod, Readiness,
    ResourceVersion, Status, Term, Uid,
};
use crate::drain::{DrainPlan, Ours};
use crate::fleetlock::{GroupName, Kind};
use crate::lock::{Capacity, Holder, LockState};

const SLOTS: usize = 1;

/// What a client believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Runs, and will ask.
    Up,
    /// Was told yes; has not been told that it is in service since.
    Approved,
    /// Has rebooted, or was restarted: tells that it is up until it is heard.
    Back,
}

#[derive(Debug)]
struct Machine {
    node: Node,
    /// What an administrator has made of it.
    cordoned: bool,
    pods: usize,
    client: Client,
    /// The request whose answer the client waits for.
    listens_to: Option<usize>,
    /// When somebody last uncordoned it behind our back.
    uncordoned: usize,
}

#[derive(Debug)]
enum Work {
    PreReboot(Caller),
    SteadyState(Caller),
    Holder(Uid),
    Orphan(NodeName, Uid),
}

/// A request or a housekeeper in the middle of its work.
struct Actor {
    id: usize,
    machine: usize,
    work: Work,
    seen: Observed,
    /// When it last read or wrote the Node.
    looked: usize,
}

struct World {
    machines: Vec<Machine>,
    lock: LockState,
    lease: Option<LeaseVersion>,
    versions: u64,
    actors: Vec<Actor>,
    actors_made: usize,
    start: Instant,
    seconds: i64,
    approvals: usize,
    moment: usize,
    stage: Stage,
    older_manager_at: OlderManager,
    /// Each change of a mark: the version it was written at, the machine, and its Node then.
    marks: Vec<(u64, usize, Node)>,
    /// By how much the view is late when it is asked next, as far as it may be.
    lag: u64,
}

/// What else goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    LeaseDeleted,
    OlderManager,
    Quiet,
}

/// Where an older manager is with its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OlderManager {
    Approved,
    Idle,
    Looked,
    Marked,
}

/// How a write goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is not done.
    Lost,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn new(machines: usize) -> Self {
        let machine = |number: usize| {
            let wire = json!({"metadata": {"name": format!("n{number}"), "uid": format!("u{number}"), "resourceVersion": "0"},
                "status": {"nodeInfo": {"machineID": format!("{:032x}", number + 1), "bootID": "0"}}});
            let node: Node = serde_json::from_value(wire).unwrap();
            Machine { node, cordoned: false, pods: 1, client: Client::Up, listens_to: None, uncordoned: 0 }
        };
        Self {
            machines: (0..machines).map(machine).collect(),
            lock: LockState::default(),
            lease: None,
            versions: 1,
            actors: Vec::new(),
            actors_made: 0,
            start: Instant::now(),
            seconds: 0,
            approvals: 0,
            moment: 1,
            stage: Stage::Quiet,
            older_manager_at: OlderManager::Idle,
            marks: Vec::new(),
            lag: 0,
        }
    }

    /// How many machines are ours: the last is an older manager's, where there is one.
    fn own(&self) -> usize {
        self.machines.len() - usize::from(self.stage == Stage::OlderManager)
    }

    fn now(&self) -> Now {
        let moment = jiff::SignedDuration::from_micros(i64::try_from(self.moment).unwrap());
        let clock = Timestamp::from_second(1_800_000_000 + self.seconds).unwrap() + moment;
        Now { clock, instant: self.start + Duration::from_secs(self.seconds.unsigned_abs()) }
    }

    fn rules() -> Rules {
        Rules { capacity: Capacity { slots: SLOTS }, protect_control_plane: true, ours: Ours::default() }
    }

    fn caller(&self, machine: usize) -> Caller {
        let node = &self.machines[machine].node;
        let MachineId(id) = node.machine_id.unwrap();
        Caller {
            node: node.name().clone(),
            uid: node.mark.uid.clone(),
            id,
            group: GroupName::parse("default").unwrap(),
            arrived: self.now().clock,
        }
    }

    fn spawn(&mut self, machine: usize, work: Work) -> usize {
        self.actors_made += 1;
        let uid = self.machines[machine].node.mark.uid.clone();
        self.actors.push(Actor { id: self.actors_made, machine, work, seen: Observed::nothing(uid, None), looked: 0 });
        self.actors_made
    }

    /// The client of a machine sends what it would send now; an earlier request of its own is abandoned but runs on.
    fn call(&mut self, machine: usize) {
        let caller = self.caller(machine);
        // A machine that asks again does not reboot before it is told yes again. Only that bounds what a deleted Lease costs: the
        // old yes stood nowhere else. Everywhere else the old yes is taken to hold, whatever is asked after it.
        let asked_again = self.stage == Stage::LeaseDeleted && self.machines[machine].client == Client::Approved;
        if asked_again {
            self.machines[machine].client = Client::Up;
        }
        let work = match self.machines[machine].client {
            Client::Up | Client::Approved => Work::PreReboot(caller),
            Client::Back => Work::SteadyState(caller),
        };
        self.machines[machine].listens_to = Some(self.spawn(machine, work));
    }

    fn keep_house(&mut self) {
        for machine in 0..self.machines.len() {
            let (name, uid) = (self.machines[machine].node.name().clone(), self.machines[machine].node.mark.uid.clone());
            self.spawn(machine, Work::Holder(uid.clone()));
            if self.machines[machine].node.mark.status == Status::Rebooting {
                self.spawn(machine, Work::Orphan(name, uid));
            }
        }
    }

    /// One step of one actor.
    fn step(&mut self, position: usize, luck: Luck) {
        let mut actor = self.actors.swap_remove(position);
        let now = self.now();
        let step = match &actor.work {
            Work::PreReboot(caller) => pre_reboot::next(caller, &actor.seen, &Self::rules(), now),
            Work::SteadyState(caller) => steady_state::next(caller, &actor.seen, now),
            Work::Holder(uid) => match reconcile::holder(uid, &actor.seen, now.clock) {
                reconcile::Step::Change(change, _why) => Step::Change(change),
                reconcile::Step::Look(question) => Step::Look(question),
                reconcile::Step::Done(_) => return,
            },
            Work::Orphan(name, uid) => match reconcile::orphan(name, uid, &actor.seen, now.clock) {
                reconcile::Step::Change(change, _why) => Step::Change(change),
                reconcile::Step::Look(question) => Step::Look(question),
                reconcile::Step::Done(_) => return,
            },
        };
        match step {
            Step::Answer(outcome) => return self.answered(&actor, &outcome),
            Step::Change(change) => {
                let approves = matches!(change, Change::Lock { why: LockChange::Approve, .. });
                self.write(&mut actor, change, luck);
                if approves && luck == Luck::Good {
                    // The answer follows at once: what happens in between, no answer can know.
                    self.actors.push(actor);
                    return self.step(self.actors.len() - 1, Luck::Good);
                }
            }
            Step::Wait(Wait::Drain(_)) => {
                let machine = &mut self.machines[actor.machine];
                machine.pods = machine.pods.saturating_sub(1);
                actor.seen = Observed::nothing(machine.node.mark.uid.clone(), actor.seen.term.clone());
            }
            Step::Look(question) => self.read(&mut actor, question),
        }
        self.actors.push(actor);
    }

    fn answered(&mut self, actor: &Actor, outcome: &Outcome) {
        let heard = self.machines[actor.machine].listens_to == Some(actor.id);
        match outcome {
            Outcome::Approved(..) => {
                let machine = &self.machines[actor.machine];
                // What somebody does between the last look and the answer is beyond any answer.
                if heard && machine.uncordoned < actor.looked {
                    assert!(machine.node.unschedulable, "approved without a cordon");
                    assert_eq!(machine.pods, 0, "approved with pods left");
                }
                if heard {
                    self.approvals += 1;
                    self.machines[actor.machine].client = Client::Approved;
                }
            }
            Outcome::Settled(_) if heard && self.machines[actor.machine].client == Client::Back => {
                self.machines[actor.machine].client = Client::Up;
            }
            Outcome::Refused(_) | Outcome::Settled(_) | Outcome::UnknownNode(_) => {}
        }
        if heard {
            self.machines[actor.machine].listens_to = None;
        }
        self.check_slots();
    }

    fn read(&self, actor: &mut Actor, question: Question) {
        let node = &self.machines[actor.machine].node;
        let fact = match question {
            Question::Renamed => Fact::Renamed(None),
            Question::Elsewhere => Fact::Elsewhere(Hosts::default()),
            Question::Fleet => {
                let own = actor.seen.own_write.as_ref().map(|own| u64::try_from(own.version.number().unwrap()).unwrap());
                Fact::Fleet(self.fleet(own.unwrap_or(self.versions)))
            }
            Question::FleetLately => Fact::FleetLately(self.fleet(0)),
            Question::Lock => Fact::Lock(Lock { state: self.lock.clone(), version: self.lease.clone(), written: None }),
            Question::Mark => Fact::Mark(Some(node.mark.clone())),
            Question::Node => {
                actor.looked = self.moment;
                Fact::Node(Some(node.clone()), None)
            }
            Question::Pods => {
                let pod = |number| json!({"metadata": {"name": format!("p{number}"), "namespace": "x", "uid": format!("p{number}")}});
                let pods: Vec<Pod> = (0..self.machines[actor.machine].pods).map(|n| serde_json::from_value(pod(n)).unwrap()).collect();
                Fact::Pods(Complete::of_all_pages(pods))
            }
        };
        actor.seen.fold(fact, self.now().instant);
    }

    /// As a view shows the fleet that has come to the version `least` and may be late in all that was written since.
    fn fleet(&self, least: u64) -> FleetFacts {
        let upto = self.versions.saturating_sub(self.lag).max(least);
        let shown = |machine: usize| {
            let mut changes = self.marks.iter().filter(|(version, of, _)| *version <= upto && *of == machine);
            changes.next_back().map(|(_, _, node)| node.clone()).filter(|node| node.mark.status == Status::Rebooting)
        };
        FleetFacts { members: (0..self.machines.len()).filter_map(shown).map(member).collect() }
    }

    fn write(&mut self, actor: &mut Actor, change: Change, luck: Luck) {
        let at = self.now().instant;
        let fact = match (&change, luck) {
            (_, Luck::Lost) => None,
            (Change::Lock { why, next, basis }, _) if *basis == self.lease => {
                self.versions += 1;
                self.lock = next.clone();
                let uid = basis.as_ref().map_or_else(|| Uid(format!("lease-{}", self.versions)), |version| version.uid.clone());
                self.lease = Some(LeaseVersion { uid, version: ResourceVersion(self.versions.to_string()) });
                Some(Fact::Lock(Lock { state: next.clone(), version: self.lease.clone(), written: Some(*why) }))
            }
            (Change::Node { why, patch }, _) if patch.version == self.machines[actor.machine].node.mark.version => {
                self.versions += 1;
                let node = &mut self.machines[actor.machine].node;
                node.mark.version = ResourceVersion(self.versions.to_string());
                node.mark.status = patch.status;
                node.mark.record.clone_from(&patch.record);
                node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
                self.marks.push((self.versions, actor.machine, node.clone()));
                actor.looked = self.moment;
                Some(Fact::Node(Some(node.clone()), Some(*why)))
            }
            _ => None,
        };
        match (fact, change) {
            (Some(fact), _) if luck == Luck::Good => actor.seen.fold(fact, at),
            (_, Change::Lock { .. }) => actor.seen.forget_lock(),
            (_, Change::Node { .. }) => actor.seen.forget_node(),
        }
    }

    /// The machine reboots if it was told that it may; or its agent is restarted.
    fn restart(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if machine.client == Client::Approved {
            self.versions += 1;
            machine.node.boot_id = self.versions.to_string();
            machine.node.mark.version = ResourceVersion(self.versions.to_string());
        }
        machine.pods = 1;
        machine.client = Client::Back;
        machine.listens_to = None;
    }

    /// An administrator cordons a node that is in service.
    fn cordon(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if machine.node.mark.status != Status::Rebooting {
            self.versions += 1;
            machine.node.mark.version = ResourceVersion(self.versions.to_string());
            machine.node.unschedulable = true;
            machine.cordoned = true;
        }
    }

    /// Somebody uncordons a node, whoever had cordoned it; pods may come.
    fn uncordon(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        // Pods that come to a node between its approval and its reboot are beyond what an answer can promise.
        if machine.client != Client::Approved {
            self.versions += 1;
            machine.node.mark.version = ResourceVersion(self.versions.to_string());
            machine.node.unschedulable = false;
            machine.cordoned = false;
            machine.uncordoned = self.moment;
        }
    }

    /// An administrator deletes the Lease.
    fn delete_lease(&mut self) {
        self.lease = None;
        self.lock = LockState::default();
    }

    /// The next move of an older manager, for the last machine: it only knows annotations. It looks, marks, looks again,
    /// and then approves or goes back; in the end it puts the node back in service.
    fn older_manager(&mut self) {
        self.versions += 1;
        let version = ResourceVersion(self.versions.to_string());
        let last = self.machines.len() - 1;
        let alone = self.machines[..last].iter().all(|machine| machine.node.mark.status != Status::Rebooting);
        let machine = &mut self.machines[last];
        let mark = |status: Status| {
            machine.node.mark.status = status;
            machine.node.mark.version = version;
            machine.node.unschedulable = status == Status::Rebooting;
            self.marks.push((self.versions, last, machine.node.clone()));
        };
        self.older_manager_at = match self.older_manager_at {
            OlderManager::Idle if alone => OlderManager::Looked,
            OlderManager::Idle => OlderManager::Idle,
            OlderManager::Looked => {
                mark(Status::Rebooting);
                OlderManager::Marked
            }
            OlderManager::Marked if alone => {
                machine.client = Client::Approved;
                OlderManager::Approved
            }
            OlderManager::Marked | OlderManager::Approved => {
                mark(Status::Ready);
                machine.client = Client::Up;
                OlderManager::Idle
            }
        };
        self.check_slots();
    }

    /// Somebody writes the annotation.
    fn mark_by_hand(&mut self, machine: usize, status: Status) {
        self.versions += 1;
        let mark = &mut self.machines[machine].node.mark;
        (mark.status, mark.version) = (status, ResourceVersion(self.versions.to_string()));
        self.marks.push((self.versions, machine, self.machines[machine].node.clone()));
    }

    fn check_slots(&self) {
        let out = self.machines.iter().filter(|machine| machine.client == Client::Approved).count();
        assert!(out <= SLOTS, "{out} nodes are approved");
    }

    fn act(&mut self, choice: u32) {
        self.moment += 1;
        // Mostly the watch is up to date; now and then it is far behind.
        self.lag = [0, 0, 1, 2, 5, 1000][(choice / 7) as usize % 6];
        let machine = (choice / 64) as usize % self.own();
        match choice % 64 {
            13 if self.stage == Stage::LeaseDeleted && (choice / 64).is_multiple_of(3) => self.delete_lease(),
            14 | 15 if self.stage == Stage::OlderManager => self.older_manager(),
            16 => self.seconds += 45,
            0..4 => self.call(machine),
            4 => self.restart(machine),
            5 => self.keep_house(),
            6 => self.cordon(machine),
            7 => self.uncordon(machine),
            8 => drop(self.actors.pop()),
            9 => self.seconds += 1,
            10 if !self.machines[machine].node.unschedulable => self.machines[machine].pods += 1,
            other if !self.actors.is_empty() => {
                let luck = match other {
                    11 => Luck::Lost,
                    12 => Luck::AnswerLost,
                    _ => Luck::Good,
                };
                // Mostly the youngest goes on, so that much is brought to its end while older ones lie frozen.
                let position = if other < 40 { self.actors.len() - 1 } else { (choice / 64) as usize % self.actors.len() };
                self.step(position, luck);
            }
            _ => {}
        }
    }

    /// No more faults: everything runs to its end and housekeeping goes round; nobody restarts. What a client has that was
    /// heard, and neither waits for an answer nor was told yes, must be as if nothing had been.
    fn quiesce(&mut self) {
        self.lag = 0;
        while self.older_manager_at != OlderManager::Idle {
            self.older_manager();
        }
        for _ in 0..12 {
            self.seconds += 40;
            self.keep_house();
            for machine in 0..self.own() {
                if self.machines[machine].client == Client::Back {
                    self.call(machine);
                }
            }
            self.run_out();
        }
    }

    fn run_out(&mut self) {
        for _ in 0..5_000 {
            if self.actors.is_empty() {
                return;
            }
            self.step(0, Luck::Good);
        }
        panic!("somebody never comes to an end");
    }

    /// The same, and every machine comes back.
    fn settle(&mut self) {
        self.quiesce();
        for _ in 0..3 {
            for machine in 0..self.own() {
                self.restart(machine);
            }
            for _ in 0..12 {
                self.seconds += 30;
                self.keep_house();
                for machine in 0..self.own() {
                    if self.machines[machine].client == Client::Back {
                        self.call(machine);
                    }
                }
                self.run_out();
            }
        }
    }

    fn check_nothing_leaked(&self) {
        assert_eq!(self.lock.holders, [], "a slot is still held");
        for machine in &self.machines {
            assert!(machine.node.mark.status != Status::Rebooting, "a mark is left: {machine:?}");
            assert_eq!(machine.node.unschedulable, machine.cordoned, "somebody's cordon was lost or left: {machine:?}");
        }
    }

    /// Runs one actor alone, for so many steps or to its end.
    fn run(&mut self, id: usize, steps: usize) {
        for _ in 0..steps {
            let Some(position) = self.actors.iter().position(|actor| actor.id == id) else { return };
            self.step(position, Luck::Good);
        }
    }

    /// Housekeeping alone, until it finds nothing to do.
    fn keep_house_to_the_end(&mut self) {
        self.actors.clear();
        self.seconds += 3600;
        self.keep_house();
        self.run_out();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order, whoever crashes, whatever answer is lost: the promises hold, and in the end nothing is left.
    #[test]
    fn promises_hold_in_every_interleaving(machines in 1usize..3, choices in proptest::collection::vec(any::<u32>(), 0..400)) {
        play(machines, Stage::Quiet, &choices);
    }

    /// The same while an administrator deletes the Lease now and then.
    #[test]
    fn promises_hold_when_the_lease_is_deleted(machines in 1usize..3, choices in proptest::collection::vec(any::<u32>(), 0..300)) {
        play(machines, Stage::LeaseDeleted, &choices);
    }

    /// The same beside an older manager that only knows annotations.
    #[test]
    fn promises_hold_beside_an_older_manager(choices in proptest::collection::vec(any::<u32>(), 0..300)) {
        play(2, Stage::OlderManager, &choices);
    }
}

fn play(machines: usize, stage: Stage, choices: &[u32]) {
    let mut world = World { stage, ..World::new(machines) };
    for choice in choices {
        world.act(*choice);
    }
    world.settle();
    world.check_nothing_leaked();
}

/// Without this the test above could pass because nothing ever happens.
#[test]
fn an_undisturbed_node_is_approved_and_comes_back() {
    let mut world = World::new(2);
    world.machines[1].node.unschedulable = true;
    world.machines[1].cordoned = true;
    for machine in [0, 1] {
        world.call(machine);
        world.run_out();
        assert_eq!(world.machines[machine].client, Client::Approved);
        world.restart(machine);
        world.call(machine);
        world.run_out();
    }
    assert_eq!(world.approvals, 2);
    world.check_nothing_leaked();
}

/// A Node as the fleet view keeps it.
fn member(node: Node) -> Member {
    Member {
        name: node.mark.name,
        uid: PackedId::from(node.mark.uid.0.as_str()),
        version: node.mark.version.number(),
        machine_id: node.machine_id,
        boot_id: PackedId::from(node.boot_id.as_str()),
        readiness: node.readiness,
        readiness_since: node.readiness_since,
        unschedulable: node.unschedulable,
        status: node.mark.status,
        record: node.mark.record.map(Box::new),
        control_plane: node.control_plane,
        zone: None,
        os_image: None,
    }
}

/// A node of this name that was marked by hand.
fn marked_by_hand(name: &str) -> Member {
    let wire = json!({"metadata": {"name": name, "annotations": {"rebootmanager/status": "Rebooting"}}});
    serde_json::from_value(wire).unwrap()
}
