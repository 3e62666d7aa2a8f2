//! A fleet in simulated time: the shipped rules, and clients that behave as Zincati does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reboot_manager::cluster::{
    Complete, HexId, LeaseVersion, MachineId, Node, NodeName, Pod, ReadyCondition, ResourceVersion, Status, Uid,
};
use reboot_manager::drain::Ours;
use reboot_manager::fleetlock::GroupName;
use reboot_manager::lock::{Capacity, DrainReport, DrainView, LockState, Place, Times};
use reboot_manager::reboot::{
    Caller, Change, Fact, FleetFacts, HeldTerm, Lock, Now, Observed, Outcome, Question, Rules, Step, Wait, pre_reboot, reconcile,
    steady_state,
};
use serde_json::json;

/// Pause of Zincati after a refusal: 300 to 330 seconds.
const AGAIN: (i64, i64) = (300_000, 330_000);

/// Shares of the time for which a request is held, in percent, as in `coordinator::request`: of one that waits for a slot, at random, and of
/// the one whose turn is next.
const FOR_SLOT: (i64, i64) = (60, 80);
const FOR_NEXT: i64 = 90;

/// Agents that have an update at the same time ask within this time.
const SPREAD: i64 = 1_000;

/// Time between two reads of the Lease while requests wait, as in `coordinator::request`.
const LEASE_EVERY: (i64, i64) = (560, 700);

/// Time between two rounds of the reconciler.
const RECONCILE_EVERY: i64 = 10_000;

/// Limit of a roll-out: it does not end.
const TIME_MAX: i64 = 5 * 24 * 3_600_000;

/// Nodes that keep others waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    None,
    /// The budget of the first node never yields.
    Blocked,
    /// The first node never returns from its reboot.
    Lost,
}

/// A roll-out to simulate. Times are in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) nodes: usize,
    pub(crate) slots: usize,
    pub(crate) obstacle: Obstacle,
    /// Time to drain a node whose pods go.
    pub(crate) drain: i64,
    /// Time from the approval until the node is up again and its agent starts.
    pub(crate) reboot: i64,
    /// Time for which requests are held; 0: every request is answered at once.
    pub(crate) hold: i64,
}

/// Event of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The agent of a node asks.
    Ask(usize),
    /// A held request reaches its deadline. The number identifies the request.
    Deadline(usize, u64),
    /// The last pod of a node has gone, under this term.
    Drained(usize, u64),
    /// The node is up again, and its agent checks in.
    Back(usize),
    /// Free slots are offered to the requests that wait.
    Offer,
    Reconcile,
}

/// An open request.
struct Held {
    number: u64,
    caller: Caller,
    term: Option<HeldTerm>,
    /// The place in the queue; `None`: it waits for the drain.
    place: Option<Place>,
    deadlines: Deadlines,
    /// Deadline for which there is an event.
    event: Option<i64>,
}

/// Times until which a request is held, as in `coordinator::held`.
struct Deadlines {
    drain: i64,
    slot: i64,
    next: i64,
}

impl Held {
    fn deadline(&self) -> i64 {
        if self.place.is_some() { self.deadlines.slot } else { self.deadlines.drain }
    }
}

struct Machine {
    node: Node,
    pods: bool,
    draining: Option<u64>,
    held: Option<Held>,
    done: Option<i64>,
}

pub(crate) struct World {
    case: Case,
    rules: Rules,
    machines: Vec<Machine>,
    lock: Lock,
    now: i64,
    /// Number of machines that are back.
    done: usize,
    /// An offer is among the events.
    offers: bool,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    count: u64,
    random: u64,
    begun: Instant,
    pod: Pod,
}

impl World {
    pub(crate) fn new(case: Case, seed: u64) -> Self {
        let node = |number: usize| -> Node {
            let wire = json!({"metadata": {"name": name(number), "uid": name(number), "resourceVersion": "1"}, "status": {
                "nodeInfo": {"machineID": format!("{:032x}", number + 1), "bootID": "first", "osImage": "41"},
                "conditions": [{"type": "Ready", "status": "True"}]}});
            serde_json::from_value(wire).unwrap()
        };
        let machine = |number| Machine { node: node(number), pods: true, draining: None, held: None, done: None };
        let pod = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "web"}, "status": {"phase": "Running"}});
        let mut world = Self {
            case,
            rules: Rules {
                capacity: Capacity { slots: case.slots },
                protect_control_plane: true,
                times: Times::DEFAULT,
                replica: "replica".to_owned(),
                ours: Ours::default(),
            },
            machines: (0..case.nodes).map(machine).collect(),
            lock: Lock { state: LockState::default(), version: None, written: None },
            now: 0,
            done: 0,
            offers: false,
            events: BinaryHeap::new(),
            count: 0,
            random: seed,
            begun: started(),
            pod: serde_json::from_value(pod).unwrap(),
        };
        for number in 0..case.nodes {
            let at = world.between(0, SPREAD);
            world.at(at, Event::Ask(number));
        }
        world.at(0, Event::Reconcile);
        world
    }

    /// Runs until all nodes are done, except that one. Returns the time, and how many nodes are done.
    pub(crate) fn run(mut self) -> (i64, usize) {
        let wanted = if self.case.obstacle == Obstacle::None { self.case.nodes } else { self.case.nodes - 1 };
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            self.happen(event);
            if self.done >= wanted || self.now > TIME_MAX {
                break;
            }
        }
        let done: Vec<i64> = self.machines.iter().filter_map(|machine| machine.done).collect();
        (done.iter().copied().max().unwrap_or(0), done.len())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(number) => self.ask(number),
            Event::Deadline(number, request) => {
                let is_next = self.is_next(number);
                if let Some(mut held) = self.machines[number].held.take_if(|held| held.number == request) {
                    if is_next {
                        held.deadlines.slot = held.deadlines.slot.max(held.deadlines.next);
                    }
                    if held.deadline() <= self.now { self.decide(number, held) } else { self.hold(number, held) }
                }
            }
            Event::Drained(number, term) => self.drained(number, term),
            Event::Back(number) => self.check_in(number),
            Event::Offer => self.offer(),
            Event::Reconcile => self.reconcile(),
        }
    }

    /// Reports whether the request of a node waits for a slot, and has waited longest of those held.
    fn is_next(&self, number: usize) -> bool {
        let place = |machine: &Machine| machine.held.as_ref().and_then(|held| held.place.clone());
        let Some(own) = place(&self.machines[number]) else { return false };
        self.machines.iter().filter_map(place).all(|other| other >= own)
    }

    fn ask(&mut self, number: usize) {
        let caller = self.caller(number);
        let (now, hold) = (self.now, self.case.hold);
        let for_slot = self.between(hold * FOR_SLOT.0 / 100, hold * FOR_SLOT.1 / 100);
        let deadlines = Deadlines { drain: now + hold, slot: now + for_slot, next: now + hold * FOR_NEXT / 100 };
        self.count += 1;
        let held = Held { number: self.count, caller, term: None, place: None, deadlines, event: None };
        self.decide(number, held);
    }

    /// Decides a request, as `coordinator::request` does.
    fn decide(&mut self, number: usize, mut held: Held) {
        let mut observed = Observed::new(held.caller.uid.clone(), held.term.take());
        let rules = self.rules.clone();
        let step = loop {
            let (caller, now) = (&held.caller, self.clock());
            match pre_reboot::next(caller, &observed, &rules, now) {
                Step::Read(question) => observed.record(self.read(number, question), now.instant),
                Step::Change(change) => observed.record(self.write(number, &change), now.instant),
                step => break step,
            }
        };
        match step {
            Step::Answer(Outcome::Approved(..)) => {
                if self.case.obstacle != Obstacle::Lost || number != 0 {
                    self.at(self.now + self.case.reboot, Event::Back(number));
                }
            }
            Step::Wait(wait) => {
                if let Wait::Drain(drain) = &wait {
                    self.drain(number, drain.term);
                }
                held.place = match wait {
                    Wait::Slot(slot) => Some(slot.place),
                    Wait::Drain(_) => None,
                };
                held.term = observed.term;
                if held.deadline() <= self.now {
                    return self.refused(number);
                }
                self.hold(number, held);
            }
            _ => self.refused(number),
        }
    }

    fn hold(&mut self, number: usize, mut held: Held) {
        let deadline = held.deadline();
        if held.event.replace(deadline) != Some(deadline) {
            self.at(deadline, Event::Deadline(number, held.number));
        }
        if held.place.is_some() {
            self.plan_offer();
        }
        self.machines[number].held = Some(held);
    }

    fn refused(&mut self, number: usize) {
        let pause = self.between(AGAIN.0, AGAIN.1);
        self.at(self.now + pause, Event::Ask(number));
    }

    fn drain(&mut self, number: usize, term: u64) {
        let blocked = self.case.obstacle == Obstacle::Blocked && number == 0;
        if self.machines[number].draining.replace(term) != Some(term) && !blocked {
            self.at(self.now + self.case.drain, Event::Drained(number, term));
        }
    }

    fn drained(&mut self, number: usize, term: u64) {
        let machine = &mut self.machines[number];
        if machine.draining != Some(term) {
            return;
        }
        (machine.draining, machine.pods) = (None, false);
        if let Some(held) = machine.held.take_if(|held| held.place.is_none()) {
            self.decide(number, held);
        }
    }

    fn check_in(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.node.boot_id = "second".to_owned();
        machine.node.os_image = "42".to_owned();
        machine.done = Some(self.now);
        self.done += 1;
        let (caller, times) = (self.caller(number), self.rules.times);
        let mut observed = Observed::new(caller.uid.clone(), None);
        loop {
            let now = self.clock();
            match steady_state::next(&caller, &observed, &times, now) {
                Step::Read(question) => observed.record(self.read(number, question), now.instant),
                Step::Change(change) => observed.record(self.write(number, &change), now.instant),
                _ => return,
            }
        }
    }

    /// Offers free slots to the requests that have waited longest.
    fn offer(&mut self) {
        self.offers = false;
        let room = self.rules.capacity.room(&self.lock.state.holders);
        if room == 0 {
            // The Lease is read, and nothing is decided.
            return self.plan_offer();
        }
        let place = |(number, machine): (usize, &Machine)| Some((machine.held.as_ref()?.place.clone()?, number));
        let mut waiting: Vec<(Place, usize)> = self.machines.iter().enumerate().filter_map(place).collect();
        waiting.sort_unstable();
        for (_, number) in waiting.into_iter().take(room) {
            let held = self.machines[number].held.take().unwrap();
            self.decide(number, held);
        }
        let still_waits = self.machines.iter().any(|machine| machine.held.as_ref().is_some_and(|held| held.place.is_some()));
        if still_waits {
            self.plan_offer();
        }
    }

    fn plan_offer(&mut self) {
        if !std::mem::replace(&mut self.offers, true) {
            let pause = self.between(LEASE_EVERY.0, LEASE_EVERY.1);
            self.at(self.now + pause, Event::Offer);
        }
    }

    /// A round of the reconciler, and the report of each drain.
    fn reconcile(&mut self) {
        for holder in self.lock.state.holders.clone() {
            let number = self.machines.iter().position(|machine| machine.node.meta.uid == holder.uid).unwrap();
            let held = self.machines[number].held.is_some();
            if self.machines[number].draining == Some(holder.term) {
                let view = DrainView { moves: self.case.obstacle != Obstacle::Blocked || number != 0, blocked: None, held };
                if let Some(report) = DrainReport::next(&holder, &self.rules.replica, &view, self.clock().clock) {
                    self.lock.state = self.lock.state.report(&holder.uid, report, held);
                    self.new_version();
                }
            }
            let times = self.rules.times;
            self.perform(number, |observed, now| reconcile::holder(&holder.uid, observed, &times, now));
            self.perform(number, |observed, now| reconcile::orphan(&holder.node, &holder.uid, observed, now));
            if self.lock.state.holder(&holder.uid).is_none() {
                self.machines[number].draining = None;
                if let Some(_ended) = self.machines[number].held.take_if(|held| held.place.is_none()) {
                    self.refused(number);
                }
            }
        }
        self.at(self.now + RECONCILE_EVERY, Event::Reconcile);
    }

    fn perform(&mut self, number: usize, next: impl Fn(&Observed, Timestamp) -> reconcile::Step) {
        let mut observed = Observed::new(self.machines[number].node.meta.uid.clone(), None);
        loop {
            let now = self.clock();
            match next(&observed, now.clock) {
                reconcile::Step::Read(question) => observed.record(self.read(number, question), now.instant),
                reconcile::Step::Change(change) => observed.record(self.write(number, &change), now.instant),
                reconcile::Step::Done(_) => return,
            }
        }
    }

    fn read(&self, number: usize, question: Question) -> Fact {
        let machine = &self.machines[number];
        match question {
            Question::OtherHosts => Fact::OtherHosts(reboot_manager::cluster::Hosts::default()),
            Question::Fleet => Fact::Fleet(self.fleet()),
            Question::FleetCached => Fact::FleetCached(self.fleet()),
            Question::Lock => Fact::Lock(Lock { written: None, ..self.lock.clone() }),
            Question::Meta => Fact::Meta(Some(machine.node.meta.clone())),
            Question::Node => Fact::Node(Some(machine.node.clone()), None),
            Question::Pods => Fact::Pods(Complete::of_all_pages(if machine.pods { vec![self.pod.clone()] } else { Vec::new() })),
            Question::Renamed => Fact::Renamed(None),
        }
    }

    /// The nodes that wait. No node is of the control plane or marked by hand here.
    fn fleet(&self) -> FleetFacts {
        let place = |machine: &Machine| {
            let waiting = machine.node.meta.waiting.as_ref()?;
            (machine.node.readiness == ReadyCondition::Ready).then(|| Place { since: waiting.since, node: machine.node.name().clone() })
        };
        let mut queue: Vec<Place> = self.machines.iter().filter_map(place).collect();
        queue.sort_unstable();
        queue.truncate(64);
        FleetFacts { members: Vec::new(), queue }
    }

    fn write(&mut self, number: usize, change: &Change) -> Fact {
        match change {
            Change::Lock { why, next, .. } => {
                self.lock.state = next.clone();
                self.new_version();
                let draining = |uid: &Uid, term| self.lock.state.holder(uid).is_some_and(|holder| holder.term == term);
                let ended: Vec<usize> = (0..self.machines.len())
                    .filter(|other| {
                        self.machines[*other].draining.is_some_and(|term| !draining(&self.machines[*other].node.meta.uid, term))
                    })
                    .collect();
                ended.into_iter().for_each(|other| self.machines[other].draining = None);
                Fact::Lock(Lock { written: Some(*why), ..self.lock.clone() })
            }
            Change::Node { why, patch } => {
                self.count += 1;
                let version = ResourceVersion(self.count.to_string());
                let node = &mut self.machines[number].node;
                node.meta.version = version;
                node.meta.waiting.clone_from(&patch.waiting);
                if let Some(status) = patch.status {
                    node.meta.status = status;
                    node.meta.record.clone_from(&patch.record);
                }
                node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
                if node.meta.status == Status::Ready && !node.unschedulable {
                    self.machines[number].pods = true;
                }
                Fact::Node(Some(self.machines[number].node.clone()), Some(*why))
            }
        }
    }

    fn new_version(&mut self) {
        self.count += 1;
        let version = ResourceVersion(self.count.to_string());
        self.lock.version = Some(LeaseVersion { uid: Uid("lease".to_owned()), version });
    }

    fn caller(&self, number: usize) -> Caller {
        let node = &self.machines[number].node;
        let MachineId(HexId(id)) = node.machine_id.unwrap();
        let group = GroupName::parse("default").unwrap();
        Caller { node: node.name().clone(), uid: node.meta.uid.clone(), id: HexId(id), group, arrived: self.clock().clock }
    }

    fn clock(&self) -> Now {
        let clock = Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_millis(self.now);
        Now { clock, instant: self.begun + Duration::from_millis(u64::try_from(self.now).unwrap()) }
    }

    fn at(&mut self, at: i64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    /// Returns a random number: an xorshift generator of Marsaglia.
    fn between(&mut self, least: i64, most: i64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        least + i64::try_from(self.random % u64::try_from(most - least + 1).unwrap()).unwrap()
    }
}

fn name(number: usize) -> String {
    NodeName(format!("n{number:03}")).0
}

#[expect(clippy::disallowed_methods, reason = "an Instant comes only from the clock; nothing waits for it")]
fn started() -> Instant {
    Instant::now()
}

impl Case {
    /// Number of nodes that can reboot.
    pub(crate) fn others(&self) -> usize {
        if self.obstacle == Obstacle::None { self.nodes } else { self.nodes - 1 }
    }

    /// All drains and reboots over the slots, in seconds.
    pub(crate) fn ideal(&self) -> f64 {
        ((self.drain + self.reboot) * i64::try_from(self.others().div_ceil(self.slots)).unwrap()) as f64 / 1000.0
    }
}
