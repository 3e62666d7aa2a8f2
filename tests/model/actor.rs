//! A request or a reconciler in the middle of its work, and the loop around the rules as `coordinator::perform` has it.

use reboot_manager::cluster::{
    Before, Complete, CordonRecord, Hosts, Member, Node, NodeMeta, NodeName, PackedId, Pod, PodKey, Status, Uid,
};
use reboot_manager::lock::LockState;
use reboot_manager::reboot::{
    Caller, Change, Drain, Fact, FleetFacts, Lock, Now, Observed, Outcome, Question, Step, Wait, pre_reboot, reconcile, steady_state,
};

use crate::mutations::{self, Mutation};
use crate::world::{Stage, World};

/// The work of an actor.
#[derive(Clone)]
pub(crate) enum Work {
    /// A reconciler, with the holder of a slot.
    Holder(Uid),
    PreReboot(Caller),
    SteadyState(Caller),
    /// A reconciler, with a node that it saw marked.
    Orphan(NodeName, Uid),
}

#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) work: Work,
    pub(crate) machine: usize,
    pub(crate) observed: Observed,
    /// The agent waits for the answer.
    pub(crate) heard: bool,
    /// The term of the drain that it waits for, if it waits for one.
    pub(crate) drain: Option<u64>,
    /// The sets of marked nodes (one bit a set) that there have been since it has last read or written its Node.
    pub(crate) marks_since: u32,
    /// Another client has uncordoned the node since the actor last read it.
    pub(crate) uncordoned: bool,
    /// A pod has come since it listed them.
    pub(crate) pods_came: bool,
    /// Number of pods when the request came, which only mutations use.
    pub(crate) pods_at_first: u8,
}

/// The next step of a request or a reconciler.
pub(crate) enum Next {
    Answer(Outcome),
    Change(Change),
    Drain(Drain),
    /// A reconciler has nothing to do.
    Idle,
    Read(Question),
}

impl Actor {
    pub(crate) fn new(work: Work, machine: usize, world: &World) -> Self {
        let uid = uid(&work);
        let heard = matches!(work, Work::PreReboot(_) | Work::SteadyState(_));
        Self {
            work,
            machine,
            observed: Observed::new(uid, None),
            heard,
            drain: None,
            marks_since: 0,
            uncordoned: false,
            pods_came: false,
            pods_at_first: world.machines[machine].pods,
        }
    }

    pub(crate) fn is_request(&self) -> bool {
        matches!(self.work, Work::PreReboot(_) | Work::SteadyState(_))
    }

    pub(crate) fn uid(&self) -> Uid {
        uid(&self.work)
    }

    /// The request was sent by the agent of this Node, not of an earlier one.
    pub(crate) fn is_of(&self, node: &Node) -> bool {
        matches!(&self.work, Work::PreReboot(caller) | Work::SteadyState(caller) if caller.uid == node.meta.uid)
    }

    /// Asks the shipped rules for the next step; a mutation may change it.
    pub(crate) fn next(&self, stage: &Stage, now: Now) -> Next {
        let next = match &self.work {
            Work::PreReboot(caller) => pre_reboot::next(caller, &self.observed, &stage.rules, now).into(),
            Work::SteadyState(caller) => steady_state::next(caller, &self.observed, now).into(),
            Work::Holder(uid) => reconcile::holder(uid, &self.observed, now.clock).into(),
            Work::Orphan(name, uid) => reconcile::orphan(name, uid, &self.observed, now.clock).into(),
        };
        match stage.setup.mutation {
            None => next,
            Some(mutation) => mutations::of(mutation, self, next, now),
        }
    }

    /// Takes in what was read or written.
    pub(crate) fn record(&mut self, fact: Fact, world: &World, now: Now) {
        match &fact {
            Fact::Node(..) => {
                self.uncordoned = false;
                self.marks_since = 1 << world.marked();
            }
            Fact::Pods(_) => self.pods_came = false,
            Fact::OtherHosts(_) | Fact::Fleet(_) | Fact::FleetCached(_) | Fact::Lock(_) | Fact::Meta(_) | Fact::Renamed(_) => {}
        }
        self.observed.record(fact, now.instant);
    }

    /// Forgets the object of a write whose outcome is unknown.
    pub(crate) fn forget(&mut self, change: &Change) {
        match change {
            Change::Lock { .. } => self.observed.forget_lock(),
            Change::Node { .. } => self.observed.forget_node(),
        }
    }

    /// Continues after its drain: everything is read again, under the same term.
    pub(crate) fn resume(&mut self) {
        let term = self.observed.term.clone();
        if let Work::PreReboot(caller) = &self.work {
            self.observed = Observed::new(caller.uid.clone(), term);
        }
        self.drain = None;
        self.uncordoned = false;
        self.pods_came = false;
    }

    /// Reports whether a read of the Lease fails, because its annotation is missing and no mutation ignores that.
    pub(crate) fn cannot_read(&self, question: Question, stage: &Stage, world: &World) -> bool {
        let careless = stage.setup.mutation == Some(Mutation::TakesALostAnnotationForAnEmptyLock);
        question == Question::Lock && world.annotation_lost && !careless
    }

    /// Returns the name in a trace.
    pub(crate) fn name(&self, stage: &Stage) -> String {
        let node = &stage.names[self.machine];
        let late = if self.heard || !self.is_request() { "" } else { "abandoned " };
        match self.work {
            Work::PreReboot(_) => format!("{late}pre-reboot of {node}"),
            Work::SteadyState(_) => format!("{late}steady-state of {node}"),
            Work::Holder(_) => format!("housekeeping, holder {node}"),
            Work::Orphan(..) => format!("housekeeping, marked {node}"),
        }
    }
}

/// Of the Node that it is about.
fn uid(work: &Work) -> Uid {
    match work {
        Work::PreReboot(caller) | Work::SteadyState(caller) => caller.uid.clone(),
        Work::Holder(uid) | Work::Orphan(_, uid) => uid.clone(),
    }
}

/// The answer of the API server to a question, as things are now.
pub(crate) fn read(stage: &Stage, world: &World, machine: usize, question: Question) -> Fact {
    match question {
        // No Node is registered under another name here.
        Question::Renamed => Fact::Renamed(None),
        Question::Lock if world.annotation_lost => {
            Fact::Lock(Lock { state: LockState::default(), version: world.lock.version.clone(), written: None })
        }
        Question::OtherHosts => Fact::OtherHosts(Hosts::default()),
        Question::Lock => Fact::Lock(Lock { written: None, ..(*world.lock).clone() }),
        Question::Meta => Fact::Meta(world.node(machine).map(|node| node.meta.clone())),
        Question::Fleet => Fact::Fleet(fleet(stage, world, world.marked())),
        Question::FleetCached => Fact::FleetCached(fleet(stage, world, world.marked())),
        Question::Node => Fact::Node(world.node(machine).cloned(), None),
        Question::Pods => Fact::Pods(pods(world.machines[machine].pods)),
    }
}

/// The fleet as a view has it that shows the set `shown` as marked: as it is now when that is the set marked now, else late.
pub(crate) fn fleet(stage: &Stage, world: &World, shown: u8) -> FleetFacts {
    let members = (0..stage.names.len()).map(|machine| member(stage, world, machine, shown >> machine & 1 == 1));
    FleetFacts { members: members.filter(|member| member.is_marked() || member.control_plane).collect() }
}

/// A node that is shown as marked and is not any more was so under a term of ours that has ended, if it is ours.
fn member(stage: &Stage, world: &World, machine: usize, shown: bool) -> Member {
    let state = &world.machines[machine];
    let mut node = state.node.clone().unwrap_or_else(|| stage.node(machine, state.generation, state.boots, false));
    let is_marked = node.meta.status == Status::Rebooting;
    if shown && !is_marked {
        let term = world.lock.term(world.lock.state.last_term);
        let record = CordonRecord { before: Before::Schedulable, term, drained: None };
        (node.meta.status, node.meta.record) = (Status::Rebooting, stage.is_ours(machine).then_some(record));
        node.unschedulable = true;
    } else if is_marked && !shown {
        (node.meta.status, node.meta.record) = (Status::Ready, None);
        node.unschedulable = state.cordoned;
    }
    let Node { meta, unschedulable, machine_id, boot_id, readiness, readiness_since, control_plane, addresses: _, gateways: _ } = node;
    let NodeMeta { name, uid, version, status, record } = meta;
    Member {
        name,
        uid: PackedId::from(uid.0.as_str()),
        version: version.number(),
        machine_id,
        boot_id: PackedId::from(boot_id.as_str()),
        readiness,
        readiness_since,
        unschedulable,
        status,
        record: record.map(Box::new),
        control_plane,
        zone: None,
        os_image: None,
    }
}

/// A list of `count` pods to evict.
pub(crate) fn pods(count: u8) -> Complete<Vec<Pod>> {
    let pod = |number: u8| Pod {
        key: PodKey { namespace: "shop".to_owned(), name: format!("p{number}") },
        uid: Uid(format!("p{number}")),
        controller: None,
        mirror: false,
        created: None,
        ends: None,
        finished: false,
        service_account: String::new(),
        tolerates_cordon: false,
        tolerations: Vec::new(),
        bound_at_creation: false,
    };
    Complete::of_all_pages((0..count).map(pod).collect())
}

impl From<Step> for Next {
    fn from(step: Step) -> Self {
        match step {
            Step::Answer(outcome) => Self::Answer(outcome),
            Step::Change(change) => Self::Change(change),
            Step::Wait(Wait::Drain(drain)) => Self::Drain(drain),
            Step::Read(question) => Self::Read(question),
        }
    }
}

impl From<reconcile::Step> for Next {
    fn from(step: reconcile::Step) -> Self {
        match step {
            reconcile::Step::Change(change, _why) => Self::Change(change),
            reconcile::Step::Done(_) => Self::Idle,
            reconcile::Step::Read(question) => Self::Read(question),
        }
    }
}
