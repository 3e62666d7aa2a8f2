//! The model of a cluster: machines and their agents, one Lease, requests and reconcilers in the middle of their work,
//! and what environment do.
//!
//! A replica has no part of its own in it: its requests share nothing that the rules rely on, so several replicas are
//! several requests at once, and a replica that dies is requests that end in the middle.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reboot_manager::cluster::{HexId, LeaseVersion, MachineId, Node, NodeMeta, NodeName, Readiness, ResourceVersion, Status, Uid};
use reboot_manager::drain::Ours;
use reboot_manager::fleetlock::GroupName;
use reboot_manager::lock::{Capacity, LockState};
use reboot_manager::reboot::{Caller, Change, Fact, Lock, Now, Rules};

use crate::actor::Actor;
use crate::mutations::Mutation;

/// Size of a world, and number of faults that may happen in it.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Nodes `n0`, `n1`, … whose agents ask us.
    pub(crate) nodes: usize,
    /// The name of one more node, which an annotation-only manager looks after.
    pub(crate) older: Option<&'static str>,
    pub(crate) slots: usize,
    /// Pods on each node that have to go.
    pub(crate) pods: u8,
    /// Reboots that each node wants.
    pub(crate) reboots: u8,
    /// Requests that can be under way at once, over all replicas.
    pub(crate) requests: usize,
    /// Housekeepers that can be under way at once.
    pub(crate) reconcilers: usize,
    /// Kubelets report a boot before the agent can check in. Otherwise they report it at any later time.
    pub(crate) prompt: bool,
    /// A minute may pass at any point.
    pub(crate) time: bool,
    pub(crate) view: View,
    /// All nodes are of the control plane.
    pub(crate) control_plane: bool,
    /// The nodes that an administrator has cordoned before.
    pub(crate) cordoned: &'static [usize],
    pub(crate) may: Allowance,
    pub(crate) mutation: Option<Mutation>,
}

/// Lateness of the view of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Maximum lateness that `reboot::FleetFacts` allows.
    Late,
    /// Not at all.
    Now,
}

/// Number of times that each fault may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// A request or a reconciler ends at any point: its replica dies.
    pub(crate) deaths: u8,
    /// A write that is not done, or is done and its answer lost.
    pub(crate) faults: u8,
    /// A write that was given up and is done later.
    pub(crate) late_writes: u8,
    /// An agent that does not wait for its answer and calls again.
    pub(crate) second_calls: u8,
    /// An agent that restarts without a reboot.
    pub(crate) restarts: u8,
    /// An approved node that asks again.
    pub(crate) second_thoughts: u8,
    pub(crate) cordons: u8,
    pub(crate) uncordons: u8,
    /// A pod that comes to a node, also to one that is cordoned already.
    pub(crate) arrivals: u8,
    pub(crate) lease_deletions: u8,
    /// The annotation with the lock is taken from the Lease.
    pub(crate) lost_annotations: u8,
    /// The API server says once of a Node that it does not exist, and it does.
    pub(crate) lone_not_founds: u8,
    pub(crate) node_deletions: u8,
    /// Reboots of the annotation-only manager's node.
    pub(crate) older: u8,
}

impl Allowance {
    /// Each with its name.
    pub(crate) fn counts(&self) -> [(&'static str, u8); 14] {
        [
            ("deaths", self.deaths),
            ("faults", self.faults),
            ("late writes", self.late_writes),
            ("second calls", self.second_calls),
            ("restarts", self.restarts),
            ("second thoughts", self.second_thoughts),
            ("cordons", self.cordons),
            ("uncordons", self.uncordons),
            ("pods that come", self.arrivals),
            ("Lease deletions", self.lease_deletions),
            ("annotations lost", self.lost_annotations),
            ("Nodes not found for once", self.lone_not_founds),
            ("Node deletions", self.node_deletions),
            ("reboots of the annotation-only manager", self.older),
        ]
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, slots, requests, reconcilers, pods, reboots, .. } = self;
        write!(
            f,
            "{nodes} nodes, {slots} slots, {requests} requests and {reconcilers} reconcilers at once, {pods} pods, {reboots} reboots each"
        )?;
        let older = self.older.map(|name| format!("an annotation-only manager's node {name:?}"));
        let time = self.time.then(|| "time".to_owned());
        let prompt = self.prompt.then(|| "prompt kubelets".to_owned());
        let marks = (self.view == View::Late).then(|| "marks seen late".to_owned());
        let plane = self.control_plane.then(|| "control-plane nodes".to_owned());
        let cordoned = (!self.cordoned.is_empty()).then(|| format!("cordoned before: {}", self.cordoned.len()));
        let counts = self.may.counts().into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what}: {count}"));
        for part in [older, time, prompt, marks, plane, cordoned].into_iter().flatten().chain(counts) {
            write!(f, "; {part}")?;
        }
        Ok(())
    }
}

/// State of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Runs, and asks as long as it wants a reboot.
    Up,
    /// Approved: may reboot at any moment.
    Approved,
    /// Restarted; checks in until it is answered.
    Back,
}

#[derive(Clone)]
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
    /// Number of times that the Node was recreated.
    pub(crate) generation: u8,
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
    pub(crate) moment: i64,
    pub(crate) versions: u64,
}

/// A [`Setup`] with what does not change in it.
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    pub(crate) rules: Rules,
    pub(crate) names: Vec<NodeName>,
    /// The position of the annotation-only manager's node.
    pub(crate) older: Option<usize>,
    begun: Instant,
}

impl Stage {
    #[expect(clippy::disallowed_methods, reason = "an Instant comes only from the clock; the test does not wait for it")]
    pub(crate) fn new(setup: Setup) -> Self {
        let mut names: Vec<NodeName> = (0..setup.nodes).map(|number| NodeName(format!("n{number}"))).collect();
        names.extend(setup.older.map(|name| NodeName(name.to_owned())));
        let older = setup.older.map(|_| setup.nodes);
        let protect_control_plane = setup.mutation != Some(Mutation::IgnoresTheControlPlane);
        Self {
            rules: Rules { capacity: Capacity { slots: setup.slots }, protect_control_plane, ours: Ours::default() },
            setup,
            names,
            older,
            begun: Instant::now(),
        }
    }

    pub(crate) fn world(&self) -> World {
        let machine = |number: usize| Machine {
            node: Some(self.node(number, 0, 0, self.setup.cordoned.contains(&number))),
            client: Client::Up,
            pods: self.setup.pods,
            wants: if self.older == Some(number) { 0 } else { self.setup.reboots },
            cordoned: self.setup.cordoned.contains(&number),
            out: false,
            kept: false,
            boots: 0,
            generation: 0,
        };
        World {
            machines: (0..self.names.len()).map(machine).map(Rc::new).collect(),
            lock: Rc::new(Lock { state: LockState::default(), version: None, written: None }),
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
        }
    }

    /// A Node as its kubelet registers it.
    pub(crate) fn node(&self, machine: usize, generation: u8, boots: u8, unschedulable: bool) -> Node {
        let meta = NodeMeta {
            name: self.names[machine].clone(),
            uid: Uid(format!("u{machine}-{generation}")),
            version: ResourceVersion(format!("made-{generation}")),
            status: Status::Unset,
            record: None,
        };
        let machine_id = Some(MachineId(id(machine)));
        Node {
            meta,
            unschedulable,
            machine_id,
            boot_id: boots.to_string(),
            readiness: Readiness::Ready,
            readiness_since: None,
            control_plane: self.setup.control_plane,
            addresses: Vec::new(),
            gateways: Vec::new(),
        }
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
        self.older != Some(machine)
    }
}

fn id(machine: usize) -> HexId {
    let mut id = [7; 16];
    id[0] = u8::try_from(machine).unwrap();
    HexId(id)
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

    /// A moment passes: everything that is written down from now on is later than what was before.
    pub(crate) fn tick(&mut self) {
        self.moment += 1;
    }

    pub(crate) fn minutes(&mut self, count: i64) {
        self.minutes += count;
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
                self.lock = Rc::new(Lock { state: next.clone(), version: version.clone(), written: None });
                self.annotation_lost = false;
                Some(Fact::Lock(Lock { state: next.clone(), version, written: Some(*why) }))
            }
            Change::Node { why, patch } => {
                self.change_node(machine, |node| {
                    node.meta.status = patch.status;
                    node.meta.record.clone_from(&patch.record);
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

    /// An administrator deletes the Lease.
    pub(crate) fn delete_lease(&mut self) {
        self.lease_deleted = true;
        self.annotation_lost = false;
        self.lock = Rc::new(Lock { state: LockState::default(), version: None, written: None });
    }
}
