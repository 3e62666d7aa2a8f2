//! A request or a reconciler in the middle of its work, and the loop around the rules as `coordinator::perform` has it.

use reboot_manager::cluster::{
    Before, Complete, CordonRecord, Hosts, Member, Node, NodeMeta, NodeName, Pod, ReadyCondition, Status, Uid, Waiting,
};
use reboot_manager::lock::{Holder, LockState, Place};
use reboot_manager::reboot::{
    Caller, Change, Fact, FleetFacts, Lock, Now, Observed, Outcome, Question, Step, Wait, pre_reboot, reconcile, steady_state,
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
    /// A reconciler, with a node that is recorded as waiting and did not take a slot that was free for long.
    Waiter(Uid),
}

impl Work {
    /// The UID of the Node that the work is about.
    pub(crate) fn uid(&self) -> &Uid {
        match self {
            Self::PreReboot(caller) | Self::SteadyState(caller) => &caller.uid,
            Self::Holder(uid) | Self::Orphan(_, uid) | Self::Waiter(uid) => uid,
        }
    }

    pub(crate) fn is_request(&self) -> bool {
        matches!(self, Self::PreReboot(_) | Self::SteadyState(_))
    }
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

impl Actor {
    pub(crate) fn new(work: Work, machine: usize, world: &World) -> Self {
        Self {
            observed: Observed::new(work.uid().clone(), None),
            heard: work.is_request(),
            work,
            machine,
            drain: None,
            marks_since: 0,
            uncordoned: false,
            pods_came: false,
            pods_at_first: world.machines[machine].pods,
        }
    }

    /// The request was sent by the agent of this Node, not of an earlier one.
    pub(crate) fn is_of(&self, node: &Node) -> bool {
        self.work.is_request() && *self.work.uid() == node.meta.uid
    }

    /// Asks the shipped rules for the next step, which a mutation may change. `None`: a reconciler has nothing to do.
    pub(crate) fn next(&self, stage: &Stage, now: Now) -> Option<Step> {
        let of_reconciler = |step| match step {
            reconcile::Step::Change(change) => Some(Step::Change(change)),
            reconcile::Step::Done(_) => None,
            reconcile::Step::Read(question) => Some(Step::Read(question)),
        };
        let times = &stage.rules.times;
        let next = match &self.work {
            Work::PreReboot(caller) => {
                Some(match pre_reboot::next(&mutations::arrived(stage.setup.mutation, caller, now), &self.observed, &stage.rules, now) {
                    // As if no request were held: its agent asks again.
                    Step::Wait(Wait::Slot(wait)) => Step::Answer(Outcome::Refused(wait.refusal)),
                    step => step,
                })
            }
            Work::SteadyState(caller) => Some(steady_state::next(caller, &self.observed, times, now)),
            Work::Holder(uid) => of_reconciler(reconcile::holder(uid, &self.observed, times, now.clock)),
            Work::Orphan(name, uid) => of_reconciler(reconcile::orphan(name, uid, &self.observed, now.clock)),
            Work::Waiter(_) => of_reconciler(reconcile::waiter(&self.observed, stage.rules.capacity, now.clock)),
        };
        match stage.setup.mutation {
            None => next,
            Some(mutation) => mutations::of(mutation, self, next, now),
        }
    }

    /// Reports whether the node has checked in under the lock as last read.
    pub(crate) fn has_checked_in(&self) -> bool {
        let holder = self.observed.lock.as_ref().and_then(|lock| lock.value.state.holder(self.work.uid()));
        holder.is_some_and(|holder| holder.checked_in.is_some())
    }

    /// Takes in what was read or written.
    pub(crate) fn record(&mut self, fact: Fact, world: &World, now: Now) {
        match &fact {
            Fact::Node(..) => {
                self.uncordoned = false;
                self.marks_since = 1 << world.marked();
            }
            Fact::Pods(_) => self.pods_came = false,
            _ => {}
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
        self.observed = Observed::new(self.work.uid().clone(), self.observed.term.take());
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
        let late = if self.heard || !self.work.is_request() { "" } else { "abandoned " };
        match self.work {
            Work::PreReboot(_) => format!("{late}pre-reboot of {node}"),
            Work::SteadyState(_) => format!("{late}steady-state of {node}"),
            Work::Holder(_) => format!("reconcile, holder {node}"),
            Work::Orphan(..) => format!("reconcile, marked {node}"),
            Work::Waiter(_) => format!("reconcile, waiting {node}"),
        }
    }
}

/// Returns the actors of one round of a reconciler: one for each holder of a slot, for each marked node, and for each that seems to have
/// stopped asking.
pub(crate) fn reconcilers(stage: &Stage, world: &World) -> Vec<Actor> {
    let holders = if world.annotation_lost { &[][..] } else { &world.lock.state.holders[..] };
    let of_holder = |holder: &Holder| {
        let machine = stage.names.iter().position(|name| *name == holder.node)?;
        Some(Actor::new(Work::Holder(holder.uid.clone()), machine, world))
    };
    let of_node = |machine: usize| {
        let meta = &world.node(machine)?.meta;
        let is_marked = meta.record.is_some() || (meta.status == Status::Rebooting && !stage.is_ours(machine));
        is_marked.then(|| Actor::new(Work::Orphan(meta.name.clone(), meta.uid.clone()), machine, world))
    };
    let room = stage.rules.capacity.room(holders);
    let of_waiter = |place: Place| {
        let is_abandoned = world.lock.state.is_abandoned(place.since, room, stage.now(world).clock);
        let machine = stage.names.iter().position(|name| *name == place.node).filter(|_| is_abandoned && !world.annotation_lost)?;
        Some(Actor::new(Work::Waiter(world.node(machine)?.meta.uid.clone()), machine, world))
    };
    let of_nodes = (0..stage.names.len()).filter_map(of_node);
    holders.iter().filter_map(of_holder).chain(of_nodes).chain(queue(world).into_iter().filter_map(of_waiter)).collect()
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
        Question::Pods => Fact::Pods(pods(stage, world.machines[machine].pods)),
    }
}

/// The fleet as a view has it that shows the set `shown` as marked: as it is now when that is the set marked now, else late.
pub(crate) fn fleet(stage: &Stage, world: &World, shown: u8) -> FleetFacts {
    let members = (0..stage.names.len()).map(|machine| member(stage, world, machine, shown >> machine & 1 == 1));
    let members = members.filter(|member| member.has_our_annotations() || member.control_plane).collect();
    FleetFacts { members, queue: queue(world) }
}

/// The nodes that wait, as they are now: a late view of them only changes whose turn it is.
fn queue(world: &World) -> Vec<Place> {
    let place = |node: &Node| {
        let waits_for_slot = |waiting: &&Waiting| ["queued", "slots_taken"].contains(&waiting.reason.as_str());
        let waiting = node.meta.waiting.as_ref().filter(waits_for_slot).filter(|_| node.readiness != ReadyCondition::NotReady)?;
        Some(Place { since: waiting.since, node: node.meta.name.clone() })
    };
    let mut queue: Vec<Place> = world.machines.iter().filter_map(|machine| place(machine.node.as_ref()?)).collect();
    queue.sort_unstable();
    queue
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
    let NodeMeta { name, status, record, .. } = node.meta;
    let (unschedulable, readiness) = (node.unschedulable, node.readiness);
    Member { name, status, record: record.map(Box::new), unschedulable, readiness, ..stage.member.clone() }
}

/// A list of `count` pods to evict.
pub(crate) fn pods(stage: &Stage, count: u8) -> Complete<Vec<Pod>> {
    let pod = |number: u8| Pod { uid: Uid(format!("p{number}")), ..stage.pod.clone() };
    Complete::of_all_pages((0..count).map(pod).collect())
}
