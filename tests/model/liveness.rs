//! Liveness: from every state, once faults and interventions end, each node that keeps asking is approved within a bounded
//! time, or the state is one of [`Person`], in which a person must act.
//!
//! From each state one way is followed. Each request and each reconciler that has begun runs to its end. Then come rounds: approved machines
//! reboot; the reconciler goes round; each agent asks, or checks in, and is answered; [`ROUND`] passes. Failures of nodes that last
//! stay. The steps are those of the model, so a state with a way to an end is not stuck.

use std::collections::{BTreeMap, HashMap};

use reboot_manager::cluster::{NodeName, ReadyCondition, Status, Uid};
use reboot_manager::fleetlock::{Kind, Refusal};
use reboot_manager::lock::{DrainReport, Holder, Times};
use reboot_manager::reboot::{Outcome, Step, Wait};

use crate::actor::{Actor, Work, read, reconcilers};
use crate::environment::{ask_again, pass, reboot, register, report, report_drain};
use crate::explore::{Describe, Model, short};
use crate::key::Key;
use crate::moves::{deliver, of_others};
use crate::mutations::Mutation;
use crate::setup::{Allowance, Event, Setup};
use crate::world::{Client, Failure, Machine, Stage, World};

/// Minutes of a round. Zincati asks every 300 to 330 seconds.
const ROUND: i64 = 6;

/// Rounds of a reboot: in one a node is approved, in the next it checks in.
const ROUNDS_OF_REBOOT: i64 = 2;

/// Rounds after which a way does not end: more than all times of the rules together.
const ROUNDS_MAX: usize = 60;

/// Steps after which a request does not end.
const STEPS_MAX: usize = 40;

/// States in which nodes wait for a person. The list is closed: a node that waits in any other state is a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Person {
    /// A node was approved, and is neither back nor does its agent ask. It may still reboot.
    ApprovedAndSilent,
    /// A node was approved, and its kubelet is down.
    ApprovedAndNotReady,
    /// A node is back and its agent does not check in, and the boot of its approval is not known: its slot is from before the Lease was
    /// deleted, or its kubelet had not reported its boot.
    BootUnknown,
    /// A node of the control plane is cordoned by an administrator, or its kubelet is down.
    ControlPlane,
    /// A node is marked as rebooting by hand, and does not ask or cannot be drained.
    MarkedByHand,
    /// The Lease has lost its annotation.
    LeaseUnreadable,
}

/// Known ways from the states so far.
#[derive(Default)]
pub(crate) struct Ways {
    known: HashMap<[u8; 16], Way>,
    /// The longest way to an end.
    pub(crate) longest: Way,
    /// Number of states from which the way ends with a person.
    pub(crate) persons: BTreeMap<Person, usize>,
}

/// The way from a state. If it ends with a person, until no further machine gets what it wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    rounds: u8,
    pub(crate) moves: u16,
    person: Option<Person>,
}

impl Way {
    /// Minutes until the end.
    pub(crate) fn minutes(self) -> i64 {
        i64::from(self.rounds) * ROUND
    }
}

impl Ways {
    /// Number of states on all ways.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Returns the times at which slots are given back on a way.
pub(crate) fn times(mutation: Option<Mutation>) -> Times {
    let times = Times::DEFAULT;
    match mutation {
        Some(Mutation::NeverFreesTheMissing) => Times { missing: None, ..times },
        Some(Mutation::NeverFreesTheNotReady) => Times { not_ready: None, ..times },
        Some(Mutation::NeverFreesTheReinstalled) => Times { no_check_in: None, ..times },
        Some(Mutation::NeverFreesTheSilent) => Times { silent: None, ..times },
        Some(Mutation::NeverGivesUp) => Times { stalled: None, ..times },
        Some(Mutation::NeverWithdraws) => Times { not_rebooted: None, ..times },
        _ => times,
    }
}

/// Returns the number of minutes within which all reboots must be over: the rounds of each reboot one after the other, one more for what
/// has begun, and for each node that can fail the time after which its slot is given back.
fn limit(setup: &Setup) -> i64 {
    let reboots = i64::try_from(setup.nodes).unwrap() * i64::from(setup.reboots);
    let given_back = |event| match event {
        // A node that is marked by hand and one with a slot may wait for each other.
        Event::Obstruction | Event::HandMark => Times::DEFAULT.stalled,
        Event::Departure => Times::DEFAULT.silent,
        Event::FailedReboot => Times::DEFAULT.not_rebooted,
        Event::KubeletFailure | Event::PowerLoss => Times::DEFAULT.not_ready,
        Event::NodeDeletion | Event::Removal => Times::DEFAULT.missing,
        Event::Silence => Times::DEFAULT.no_check_in,
        // The node itself, which could be drained by then, must wait.
        Event::Standstill if setup.may_fail() => Times::DEFAULT.back_off,
        _ => None,
    };
    let times = |(event, _): &(Event, u8)| {
        let time = given_back(*event).map_or(0, |time| time.as_mins());
        std::iter::repeat_n(time, setup.may.left(*event).into())
    };
    // A node fails once.
    let mut times: Vec<i64> = Event::ALL.iter().flat_map(times).collect();
    times.sort_unstable();
    (reboots * ROUNDS_OF_REBOOT + 1) * ROUND + times.iter().rev().take(setup.nodes).sum::<i64>()
}

impl Stage {
    /// Follows the way from `from`. Returns the way, or what is wrong with it and its steps.
    pub(crate) fn follow(&self, from: &World, ways: &mut Ways) -> Result<Way, (String, Vec<String>)> {
        self.giving_back.as_deref().unwrap_or(self).follow_here(from, ways)
    }

    fn follow_here(&self, from: &World, ways: &mut Ways) -> Result<Way, (String, Vec<String>)> {
        let mut last = Round::default();
        let mut world = self.start(from, &mut last);
        let mut path: Vec<([u8; 16], u16, bool)> = Vec::new();
        let begun = last.moves;
        if let Some(broken) = self.wrong(&world) {
            return Err((broken, self.show_way(from, 0)));
        }
        let mut way = loop {
            if self.is_done(&world) {
                break Way::default();
            }
            let key = short(&Key::exact(self, &world));
            if let Some(way) = ways.known.get(&key) {
                break *way;
            }
            if path.len() == ROUNDS_MAX || path.iter().any(|(before, ..)| *before == key) {
                match self.person(&world, &last.refusals) {
                    Some(person) => break Way { person: Some(person), ..Way::default() },
                    None => {
                        let broken = "there is no way to an end: a node that keeps asking is not approved, and no person must act";
                        return Err((broken.to_owned(), self.show_way(from, path.len())));
                    }
                }
            }
            last = Round::default();
            let done = self.done(&world);
            self.round(&mut world, &mut last);
            path.push((key, last.moves, self.done(&world) != done));
            if let Some(broken) = self.wrong(&world) {
                return Err((broken, self.show_way(from, path.len())));
            }
        };
        for (key, moves, is_progress) in path.into_iter().rev() {
            let counts = way.person.is_none() || is_progress || way.rounds > 0;
            way = Way { rounds: way.rounds + u8::from(counts), moves: way.moves + moves, ..way };
            ways.known.insert(key, way);
        }
        way.moves += begun;
        for person in way.person.into_iter().chain(from.annotation_lost.then_some(Person::LeaseUnreadable)) {
            *ways.persons.entry(person).or_default() += 1;
        }
        ways.longest = ways.longest.max(way);
        Ok(way)
    }

    /// Returns what is wrong with the `way` from `from` if it takes longer than `times` the limit, and its steps.
    pub(crate) fn too_long(&self, from: &World, way: Way, times: i64) -> Option<(String, Vec<String>)> {
        let limit = limit(&self.setup) * times;
        let broken = || format!("the way to an end takes {} minutes, and must not take more than {limit}", way.minutes());
        let stage = self.giving_back.as_deref().unwrap_or(self);
        (way.minutes() > limit).then(|| (broken(), stage.show_way(from, way.rounds.into())))
    }

    /// Counts the machines that have all reboots that they want, or do not work.
    fn done(&self, world: &World) -> usize {
        world.machines[..self.setup.nodes].iter().filter(|machine| machine.is_done()).count()
    }

    /// Reports whether each agent that works has all reboots that it wants, no node holds a slot but those that have failed, and no node
    /// without a slot has our mark.
    fn is_done(&self, world: &World) -> bool {
        let works = |holder: &Holder| self.machine(world, &holder.node).is_some_and(Machine::works);
        let ours = (0..self.setup.nodes).all(|at| world.machines[at].is_done());
        let is_marked = |machine: &Machine| {
            let node = machine.node.as_ref().filter(|node| node.meta.record.is_some());
            node.is_some_and(|node| world.lock.state.holder(&node.meta.uid).is_none())
        };
        let is_left = world.machines[..self.setup.nodes].iter().any(|machine| is_marked(machine));
        ours && !is_left && world.actors.is_empty() && world.flights.is_empty() && !world.lock.state.holders.iter().any(works)
    }

    fn machine<'a>(&self, world: &'a World, node: &NodeName) -> Option<&'a Machine> {
        let at = self.names.iter().position(|name| name == node)?;
        Some(&world.machines[at])
    }

    /// The person for whom nodes wait, if the message with which each was `refused` names a node on which a person must act.
    fn person(&self, world: &World, refused: &[(usize, Refusal)]) -> Option<Person> {
        let person = |at: usize| {
            let machine = &world.machines[at];
            let node = machine.node.as_ref()?;
            let approved = world.lock.state.holder(&node.meta.uid).filter(|holder| holder.approved.is_some());
            let (is_approved, is_known) = (approved.is_some(), approved.is_none_or(Holder::knows_boot));
            let is_silent = machine.failure.ends_agent() || (machine.client == Client::Up && machine.wants == 0);
            let is_down = node.readiness == ReadyCondition::NotReady;
            let asks = machine.client == Client::Up && machine.wants > 0 && machine.works();
            if is_approved && is_down {
                Some((Person::ApprovedAndNotReady, Kind::SlotsTaken))
            } else if !is_known && is_silent {
                Some((Person::BootUnknown, Kind::SlotsTaken))
            } else if is_approved && machine.failure == Failure::Departed {
                Some((Person::ApprovedAndSilent, Kind::SlotsTaken))
            } else if !asks && node.meta.status == Status::Rebooting && node.meta.record.is_none() {
                Some((Person::MarkedByHand, Kind::OtherRebooting))
            } else if self.setup.control_plane && (machine.cordoned || is_down) {
                Some((Person::ControlPlane, Kind::ControlPlaneUnavailable))
            } else {
                None
            }
        };
        let holds = |at: &usize| world.machines[*at].node.as_ref().is_some_and(|node| world.lock.state.holder(&node.meta.uid).is_some());
        // Only a node that still asks holds a slot for a time.
        let leaks = |at: &usize| holds(at) && world.machines[*at].is_done() && person(*at).is_none();
        if (0..self.setup.nodes).any(|at| leaks(&at)) {
            return None;
        }
        let persons: Vec<_> = (0..self.setup.nodes).filter_map(|at| Some((at, person(at)?))).collect();
        let is_kind = |refused, kind| refused == kind || (self.setup.control_plane && refused == Kind::ControlPlaneUnavailable);
        let names = |refusal: &Refusal, at: usize, kind| is_kind(refusal.kind, kind) && refusal.message.contains(self.names[at].as_str());
        let has_reason = |asking: usize| {
            let refusal = refused.iter().find(|(at, _)| *at == asking).map(|(_, refusal)| refusal);
            persons.iter().any(|(at, (_, kind))| *at != asking && refusal.is_some_and(|refusal| names(refusal, *at, *kind)))
        };
        let all_have_reasons = (0..self.setup.nodes).filter(|at| !world.machines[*at].is_done()).all(has_reason);
        persons.first().filter(|_| all_have_reasons).map(|(_, (person, _))| *person)
    }

    /// Nothing more goes wrong, and what has begun ends. If the Lease has lost its annotation, a person puts it back.
    fn start(&self, from: &World, round: &mut Round) -> World {
        let mut world = from.clone();
        world.may = Allowance::default();
        if world.annotation_lost {
            world.lose_annotation(false);
        }
        for actor in std::mem::take(&mut world.actors) {
            round.settle(self, &mut world, (*actor).clone());
        }
        world
    }

    /// Plays one round of the fleet.
    fn round(&self, world: &mut World, round: &mut Round) {
        while let Some(step) = of_others(self, world) {
            *world = step.to;
            round.count(self, world, || step.what);
        }
        for at in 0..self.setup.nodes {
            round.turn(self, world, at);
        }
        for actor in reconcilers(self, world) {
            round.settle(self, world, actor);
        }
        for at in 0..self.setup.nodes {
            round.ask(self, world, at);
        }
        self.report_drains(world);
        pass(world, ROUND);
        round.count(self, world, || format!("{ROUND} minutes pass"));
    }

    /// The replica that drains a node reports each drain without progress.
    fn report_drains(&self, world: &mut World) {
        let now = self.now(world).clock;
        let is_blocked = |holder: &&Holder| {
            let machine = self.machine(world, &holder.node);
            holder.approved.is_none() && machine.is_some_and(|machine| machine.pods > 0 && !machine.drains())
        };
        let report = |holder: &Holder| {
            let idle = holder.drain.as_ref().map_or(0, |report| report.idle) + ROUND * 60;
            (holder.uid.clone(), DrainReport { idle, ..DrainReport::first("replica", now) })
        };
        let reports: Vec<(Uid, DrainReport)> = world.lock.state.holders.iter().filter(is_blocked).map(report).collect();
        reports.into_iter().for_each(|(uid, report)| report_drain(world, &uid, report));
    }

    /// Describes the first rounds of the way from `from`.
    fn show_way(&self, from: &World, rounds: usize) -> Vec<String> {
        let mut way = Round { describe: Describe::Yes, ..Round::default() };
        way.steps.push("from here nothing goes wrong any more".to_owned());
        let mut world = self.start(from, &mut way);
        for _ in 0..rounds {
            self.round(&mut world, &mut way);
        }
        way.steps
    }
}

/// Record of a round.
struct Round {
    describe: Describe,
    moves: u16,
    /// Descriptions of the moves, if requested.
    steps: Vec<String>,
    /// The machines that were refused, each with the answer.
    refusals: Vec<(usize, Refusal)>,
}

impl Default for Round {
    fn default() -> Self {
        Self { describe: Describe::No, moves: 0, steps: Vec::new(), refusals: Vec::new() }
    }
}

impl Round {
    /// Counts a move, which takes a moment.
    fn count(&mut self, stage: &Stage, world: &mut World, what: impl FnOnce() -> String) {
        world.moment += 1;
        self.moves += 1;
        if self.describe == Describe::Yes {
            self.steps.push(format!("{}\n        {}", what(), stage.show(world)));
        }
    }

    /// Plays a machine: its Node is created again, it reboots, its kubelet reports.
    fn turn(&mut self, stage: &Stage, world: &mut World, at: usize) {
        let name = &stage.names[at];
        if world.machines[at].node.is_none() && world.machines[at].failure != Failure::Removed {
            register(stage, world, at);
            self.count(stage, world, || format!("{name}: its kubelet recreates its Node"));
        }
        if world.machines[at].may_reboot() {
            reboot(world, at, true);
            self.count(stage, world, || format!("{name}: reboots"));
        }
        if world.machines[at].is_unreported() {
            report(world, at);
            self.count(stage, world, || format!("{name}: its kubelet reports the boot"));
        }
    }

    /// The agent asks, or checks in.
    fn ask(&mut self, stage: &Stage, world: &mut World, at: usize) {
        let machine = &world.machines[at];
        let is_gone = machine.failure.ends_agent() || machine.node.is_none();
        let caller = stage.caller(world, at);
        let work = match machine.client {
            _ if is_gone => return,
            Client::Up if machine.wants == 0 => return,
            Client::Approved if machine.failure != Failure::CannotReboot => return,
            Client::Up => Work::PreReboot(caller),
            Client::Approved => {
                ask_again(world, at);
                Work::PreReboot(caller)
            }
            Client::Back => {
                world.machine(at).came_back();
                Work::SteadyState(caller)
            }
        };
        let actor = Actor::new(work, at, world);
        self.settle(stage, world, actor);
    }

    /// Runs a request or a reconciler to its end.
    fn settle(&mut self, stage: &Stage, world: &mut World, mut actor: Actor) {
        let at = actor.machine;
        if actor.drain.is_some() {
            actor.resume();
        }
        for _ in 0..STEPS_MAX {
            let now = stage.now(world);
            match actor.next(stage, now) {
                None => return self.count(stage, world, || format!("{}: is done", actor.name(stage))),
                Some(Step::Answer(outcome)) => {
                    deliver(stage, world, &actor, &outcome);
                    self.count(stage, world, || format!("{}: answers {outcome:?}", actor.name(stage)));
                    if let Outcome::Refused(refusal) = outcome
                        && matches!(actor.work, Work::PreReboot(_))
                        && actor.heard
                    {
                        self.refusals.push((at, refusal));
                    }
                    return;
                }
                Some(Step::Read(question)) if actor.cannot_read(question, stage, world) => return,
                Some(Step::Read(question)) => {
                    actor.record(read(stage, world, at, question), world, now);
                    self.count(stage, world, || format!("{}: looks at {question:?}", actor.name(stage)));
                }
                Some(Step::Change(change)) => {
                    match world.apply(at, &change, false) {
                        Some(fact) => actor.record(fact, world, now),
                        None => actor.forget(&change),
                    }
                    self.count(stage, world, || format!("{}: {}", actor.name(stage), change.purpose()));
                }
                Some(Step::Wait(Wait::Drain(_))) if world.machines[at].drains() => {
                    world.machine(at).pods = 0;
                    actor.resume();
                    self.count(stage, world, || format!("{}: its pods are evicted and go", actor.name(stage)));
                }
                Some(Step::Wait(_)) => {
                    return self.count(stage, world, || format!("{}: is answered that the drain continues", actor.name(stage)));
                }
            }
        }
        assert!(stage.setup.mutation.is_some(), "{} does not end", actor.name(stage));
        self.count(stage, world, || format!("{}: does not end", actor.name(stage)));
    }
}

impl Machine {
    /// Neither the machine nor its agent has failed for good.
    fn works(&self) -> bool {
        self.failure == Failure::None
    }

    /// Reports whether the agent has all reboots that it wants, or does not work.
    fn is_done(&self) -> bool {
        !self.works() || (self.client == Client::Up && self.wants == 0 && self.node.is_some())
    }

    /// Reports whether the pods go when they are evicted.
    fn drains(&self) -> bool {
        self.failure != Failure::Obstructed && !self.failure.ends_kubelet()
    }
}
