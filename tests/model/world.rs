//! The model of a cluster: machines and their agents, one Lease, requests and reconcilers in the middle of their work,
//! and what others do.
//!
//! A replica has no part of its own in it: its requests share nothing that the rules rely on, so several replicas are
//! several requests at once, and a replica that dies is requests that end in the middle.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reboot_manager::cluster::{HexId, LeaseVersion, MachineId, Member, Node, NodeName, Pod, ResourceVersion, Status, Uid};
use reboot_manager::drain::Ours;
use reboot_manager::fleetlock::GroupName;
use reboot_manager::lock::{Capacity, LockState, Times};
use reboot_manager::reboot::{Caller, Change, Fact, Lock, Now, Rules};
use serde_json::json;

use crate::actor::Actor;
use crate::liveness;
use crate::mutations::Mutation;
use crate::setup::{Allowance, Setup};

/// State of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Client {
    /// Runs, and asks as long as it wants a reboot.
    #[default]
    Up,
    /// Approved: may reboot at any moment.
    Approved,
    /// Restarted; checks in until it is answered.
    Back,
}

/// A failure of one node that lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Failure {
    #[default]
    None,
    /// The agent has stopped: `Event::Departure`.
    Departed,
    /// The pods can never be evicted.
    Obstructed,
    /// The kubelet is down.
    KubeletDown,
    /// The machine cannot reboot.
    CannotReboot,
    /// The machine has no power: neither its agent nor its kubelet runs.
    PoweredOff,
    /// The machine is removed.
    Removed,
}

impl Failure {
    /// Reports whether the agent never asks, reboots or checks in again.
    pub(crate) fn ends_agent(self) -> bool {
        matches!(self, Self::Departed | Self::PoweredOff | Self::Removed)
    }

    pub(crate) fn ends_kubelet(self) -> bool {
        matches!(self, Self::KubeletDown | Self::PoweredOff)
    }
}

#[derive(Clone, Default)]
pub(crate) struct Machine {
    /// `None` while its Node is deleted.
    pub(crate) node: Option<Node>,
    pub(crate) client: Client,
    pub(crate) pods: u8,
    pub(crate) wants: u8,
    /// An administrator wants it cordoned.
    pub(crate) cordoned: bool,
    /// Approved, and not checked in since.
    pub(crate) out: bool,
    /// Out, and not uncordoned by another client since.
    pub(crate) kept: bool,
    /// Boots so far.
    pub(crate) boots: u8,
    /// Number of boots when its agent last heard an approval.
    pub(crate) approved_boots: u8,
    /// Number of times that the Node was recreated.
    pub(crate) generation: u8,
    pub(crate) failure: Failure,
}

impl Machine {
    pub(crate) fn may_reboot(&self) -> bool {
        self.client == Client::Approved && !self.failure.ends_agent() && self.failure != Failure::CannotReboot
    }

    /// Reports whether the kubelet has not yet reported the current boot.
    pub(crate) fn is_unreported(&self) -> bool {
        let reports = |node: &Node| node.boot_id != self.boots.to_string() && !self.failure.ends_kubelet();
        self.node.as_ref().is_some_and(reports)
    }

    /// Reports whether the machine has started again since its agent last heard an approval.
    pub(crate) fn has_rebooted(&self) -> bool {
        self.boots > self.approved_boots
    }

    /// Records that there is evidence for the reboot of the machine, so its cordon may be removed.
    pub(crate) fn came_back(&mut self) {
        (self.out, self.kept) = (false, false);
    }
}

/// State of the annotation-only manager's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Older {
    Idle,
    Looked,
    Marked,
    Approved,
}

/// A write that its request has given up, and that may still be done.
#[derive(Clone)]
pub(crate) struct Flight {
    pub(crate) machine: usize,
    pub(crate) change: Change,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machines: Vec<Rc<Machine>>,
    pub(crate) lock: Rc<Lock>,
    pub(crate) actors: Vec<Rc<Actor>>,
    pub(crate) flights: Vec<Rc<Flight>>,
    pub(crate) may: Allowance,
    pub(crate) older: Older,
    /// The annotation-only manager approved its node when no other was marked.
    pub(crate) older_rightly: bool,
    /// The Lease was deleted.
    pub(crate) lease_deleted: bool,
    /// The Lease is without its annotation. Its content is kept in `lock`, to be put back.
    pub(crate) annotation_lost: bool,
    pub(crate) leases: u8,
    pub(crate) minutes: i64,
    /// Moves so far: each takes a moment, so everything written from now on is later than what was before.
    pub(crate) moment: i64,
    pub(crate) versions: u64,
    /// `--slots` of all replicas.
    pub(crate) slots: usize,
    /// The promise that the last move has broken.
    pub(crate) broken: Option<String>,
}

/// A [`Setup`] with what does not change in it.
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    pub(crate) rules: Rules,
    /// Names of all nodes; the annotation-only manager's node is the last.
    pub(crate) names: Vec<NodeName>,
    /// Values of which nodes and pods are made.
    node: Node,
    pub(crate) member: Member,
    pub(crate) pod: Pod,
    begun: Instant,
    /// Stage with all times at which slots are given back, if something may fail for good.
    pub(crate) giving_back: Option<Box<Self>>,
}

impl Stage {
    pub(crate) fn new(setup: Setup) -> Self {
        let giving_back = setup.may_fail().then(|| Box::new(Self::with(setup, liveness::times(setup.mutation))));
        let times = if setup.gives_back {
            Times { back_off: None, ..Times::DEFAULT }
        } else {
            Times { missing: Times::DEFAULT.missing, ..Times::NEVER }
        };
        Self { giving_back, ..Self::with(setup, times) }
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant comes only from the clock; the test does not wait for it")]
    fn with(setup: Setup, times: Times) -> Self {
        let mut names: Vec<NodeName> = (0..setup.nodes).map(|number| NodeName(format!("n{number}"))).collect();
        names.extend(setup.older.map(|name| NodeName(name.to_owned())));
        let labels = if setup.control_plane { json!({"node-role.kubernetes.io/control-plane": ""}) } else { json!({}) };
        let node = json!({"metadata": {"name": "", "labels": labels}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let pod = json!({"metadata": {"namespace": "shop", "name": "p", "uid": "p"}, "status": {"phase": "Running"}});
        let protect_control_plane = setup.mutation != Some(Mutation::IgnoresTheControlPlane);
        Self {
            rules: Rules {
                capacity: Capacity { slots: setup.slots },
                protect_control_plane,
                times,
                replica: "replica".to_owned(),
                ours: Ours::default(),
            },
            setup,
            names,
            node: serde_json::from_value(node.clone()).unwrap(),
            member: serde_json::from_value(node).unwrap(),
            pod: serde_json::from_value(pod).unwrap(),
            begun: Instant::now(),
            giving_back: None,
        }
    }

    pub(crate) fn world(&self) -> World {
        let machine = |number: usize| Machine {
            node: Some(self.node(number, 0, 0, self.setup.cordoned.contains(&number))),
            pods: self.setup.pods,
            wants: if self.is_ours(number) { self.setup.reboots } else { 0 },
            cordoned: self.setup.cordoned.contains(&number),
            ..Machine::default()
        };
        World {
            machines: (0..self.names.len()).map(machine).map(Rc::new).collect(),
            lock: no_lease(),
            actors: Vec::new(),
            flights: Vec::new(),
            may: self.setup.may,
            older: Older::Idle,
            older_rightly: true,
            lease_deleted: false,
            annotation_lost: false,
            leases: 0,
            minutes: 0,
            moment: 0,
            versions: 0,
            slots: self.setup.slots,
            broken: None,
        }
    }

    /// A Node as its kubelet registers it.
    pub(crate) fn node(&self, machine: usize, generation: u8, boots: u8, unschedulable: bool) -> Node {
        let mut node = self.node.clone();
        node.meta.name = self.names[machine].clone();
        node.meta.uid = Uid(format!("u{machine}-{generation}"));
        node.meta.version = ResourceVersion(format!("made-{generation}"));
        node.machine_id = Some(MachineId(id(machine)));
        node.boot_id = boots.to_string();
        node.unschedulable = unschedulable;
        node
    }

    pub(crate) fn now(&self, world: &World) -> Now {
        let since = SignedDuration::from_secs(world.minutes * 60) + SignedDuration::from_micros(world.moment);
        let clock = Timestamp::from_second(1_800_000_000).unwrap() + since;
        Now { clock, instant: self.begun + Duration::try_from(since).unwrap() }
    }

    /// The agent of a machine, calling now. Every node is of a group of its own: the slots are of all groups together.
    pub(crate) fn caller(&self, world: &World, machine: usize) -> Caller {
        let uid = world.machines[machine].node.as_ref().map(|node| node.meta.uid.clone()).unwrap_or_default();
        let group = GroupName::parse(&format!("group-{machine}")).unwrap();
        Caller { node: self.names[machine].clone(), uid, id: id(machine), group, arrived: self.now(world).clock }
    }

    pub(crate) fn is_ours(&self, machine: usize) -> bool {
        machine < self.setup.nodes
    }
}

fn id(machine: usize) -> HexId {
    let mut id = [7; 16];
    id[0] = u8::try_from(machine).unwrap();
    HexId(id)
}

fn no_lease() -> Rc<Lock> {
    Rc::new(Lock { state: LockState::default(), version: None, written: None })
}

impl World {
    pub(crate) fn machine(&mut self, machine: usize) -> &mut Machine {
        Rc::make_mut(&mut self.machines[machine])
    }

    pub(crate) fn actor(&mut self, position: usize) -> &mut Actor {
        Rc::make_mut(&mut self.actors[position])
    }

    pub(crate) fn node(&self, machine: usize) -> Option<&Node> {
        self.machines[machine].node.as_ref()
    }

    /// Changes a Node, for any actor: it has another version now, and others may see another set of marked nodes.
    pub(crate) fn change_node(&mut self, machine: usize, change: impl FnOnce(&mut Node)) {
        self.versions += 1;
        let version = ResourceVersion(self.versions.to_string());
        let machine = self.machine(machine);
        let Some(node) = &mut machine.node else { return };
        change(node);
        node.meta.version = version;
        self.note_marks();
    }

    /// The set of nodes marked now, as a bit for each.
    pub(crate) fn marked(&self) -> u8 {
        let is_marked = |machine: &Machine| machine.node.as_ref().is_some_and(|node| node.meta.status == Status::Rebooting);
        self.machines.iter().enumerate().map(|(at, machine)| u8::from(is_marked(machine)) << at).sum()
    }

    /// Remembers the set of marks that holds now for all who may yet be shown it.
    pub(crate) fn note_marks(&mut self) {
        let bit = 1u32 << self.marked();
        for actor in self.actors.iter_mut().filter(|actor| actor.marks_since & bit == 0) {
            Rc::make_mut(actor).marks_since |= bit;
        }
    }

    /// Does a write if its basis still holds; what the API server answers then.
    pub(crate) fn apply(&mut self, machine: usize, change: &Change, careless: bool) -> Option<Fact> {
        if !careless && !self.would_be_done(machine, change) {
            return None;
        }
        match change {
            Change::Lock { why, next, .. } => {
                self.versions += 1;
                let uid = self.lock.version.as_ref().map(|version| version.uid.clone());
                let uid = uid.unwrap_or_else(|| {
                    self.leases += 1;
                    Uid(format!("lease-{}", self.leases))
                });
                let version = Some(LeaseVersion { uid, version: ResourceVersion(self.versions.to_string()) });
                let state = LockState { slots: Some(self.slots), ..next.clone() };
                self.lock = Rc::new(Lock { state: state.clone(), version: version.clone(), written: None });
                self.annotation_lost = false;
                Some(Fact::Lock(Lock { state, version, written: Some(*why) }))
            }
            Change::Node { why, patch } => {
                self.change_node(machine, |node| {
                    node.meta.waiting.clone_from(&patch.waiting);
                    if let Some(status) = patch.status {
                        node.meta.status = status;
                        node.meta.record.clone_from(&patch.record);
                    }
                    node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
                });
                self.node(machine).map(|node| Fact::Node(Some(node.clone()), Some(*why)))
            }
        }
    }

    /// Reports whether the version under a write is still current.
    pub(crate) fn would_be_done(&self, machine: usize, change: &Change) -> bool {
        match change {
            Change::Lock { basis, .. } => *basis == self.lock.version,
            Change::Node { patch, .. } => self.node(machine).is_some_and(|node| node.meta.version == patch.version),
        }
    }

    /// Writes that can never be done any more are forgotten.
    pub(crate) fn ground_flights(&mut self) {
        if !self.flights.is_empty() {
            let flights = std::mem::take(&mut self.flights);
            self.flights = flights.into_iter().filter(|flight| self.would_be_done(flight.machine, &flight.change)).collect();
        }
    }

    /// Takes the annotation from the Lease, or puts it back: the Lease gets another version either way.
    pub(crate) fn lose_annotation(&mut self, lost: bool) {
        self.annotation_lost = lost;
        self.versions += 1;
        let version = ResourceVersion(self.versions.to_string());
        if let Some(lease) = &mut Rc::make_mut(&mut self.lock).version {
            lease.version = version;
        }
    }

    /// Deletes the Lease.
    pub(crate) fn delete_lease(&mut self) {
        self.lease_deleted = true;
        self.annotation_lost = false;
        self.lock = no_lease();
    }
}
