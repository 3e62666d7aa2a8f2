//! Everything that requests, reconcilers and agents can do next.

use std::fmt::Arguments;
use std::ops::Range;
use std::rc::Rc;

use reboot_manager::reboot::{Change, Fact, FleetFacts, Outcome, Question, Step, Wait};

use crate::actor::{Actor, Work, fleet, pods, read, reconcilers};
use crate::environment::ask_again;
use crate::explore::{Describe, Move};
use crate::mutations::{self, Mutation};
use crate::setup::Event;
use crate::world::{Client, Failure, Flight, Stage, World};

/// The moves from one state, as they are gathered.
pub(crate) struct Moves<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) world: &'a World,
    describe: Describe,
    chosen: Chosen,
    count: usize,
    /// Moves of the request or reconciler that began last.
    youngest: Range<usize>,
    found: Vec<Move<World>>,
}

/// Moves to make; the others are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    All,
    None,
    One(usize),
}

/// All moves from `world`.
pub(crate) fn all(stage: &Stage, world: &World, describe: Describe) -> Vec<Move<World>> {
    gather(stage, world, describe, Chosen::All).found
}

/// Makes one of the moves from `world`, by choice: mostly of the request or reconciler that began last, so that many finish
/// while older ones lie frozen. `None` if there is no move.
pub(crate) fn one(stage: &Stage, world: &World, describe: Describe, choice: u32) -> Option<Move<World>> {
    let Moves { count, youngest, .. } = gather(stage, world, Describe::No, Chosen::None);
    let (among, number) = (choice % 8, choice as usize / 8);
    let number = if among < 5 && !youngest.is_empty() { youngest.start + number % youngest.len() } else { number.checked_rem(count)? };
    gather(stage, world, describe, Chosen::One(number)).found.pop()
}

/// The first move of those who have begun something and are no part of the program; `None` if there is none.
pub(crate) fn of_others(stage: &Stage, world: &World) -> Option<Move<World>> {
    let mut moves = Moves::new(stage, world, Describe::Yes, Chosen::One(0));
    moves.of_others();
    moves.found.pop()
}

fn gather<'a>(stage: &'a Stage, world: &'a World, describe: Describe, chosen: Chosen) -> Moves<'a> {
    let mut moves = Moves::new(stage, world, describe, chosen);
    for position in 0..world.actors.len() {
        let before = moves.count;
        moves.of_actor(position);
        moves.youngest = before..moves.count;
    }
    (0..stage.setup.nodes).for_each(|machine| moves.of_agent(machine));
    moves.of_reconcilers();
    moves.of_outsiders();
    moves
}

impl<'a> Moves<'a> {
    fn new(stage: &'a Stage, world: &'a World, describe: Describe, chosen: Chosen) -> Self {
        Self { stage, world, describe, chosen, count: 0, youngest: 0..0, found: Vec::new() }
    }
}

impl Moves<'_> {
    /// Adds what comes of `change`.
    pub(crate) fn add(&mut self, what: Arguments<'_>, change: impl FnOnce(&mut World)) {
        let position = self.count;
        self.count += 1;
        if self.chosen != Chosen::All && self.chosen != Chosen::One(position) {
            return;
        }
        let mut to = self.world.clone();
        to.moment += 1;
        change(&mut to);
        to.ground_flights();
        let what = if self.describe == Describe::Yes { what.to_string() } else { String::new() };
        self.found.push(Move { what, to });
    }

    /// Adds what comes of `change`, if this event may yet happen.
    pub(crate) fn event(&mut self, event: Event, what: Arguments<'_>, change: impl FnOnce(&mut World)) {
        if self.world.may.left(event) > 0 {
            self.add(what, |world| {
                world.may.spend(event);
                change(world);
            });
        }
    }

    fn name(&self, actor: &Actor) -> String {
        if self.describe == Describe::Yes { actor.name(self.stage) } else { String::new() }
    }

    fn of_actor(&mut self, position: usize) {
        let (stage, actor) = (self.stage, Rc::clone(&self.world.actors[position]));
        let name = self.name(&actor);
        self.event(Event::Death, format_args!("{name}: its replica dies"), |world| drop(world.actors.remove(position)));
        if let Some(term) = actor.drain {
            return self.of_drain(position, term);
        }
        match actor.next(stage, stage.now(self.world)) {
            // A reconciler has nothing to do.
            None => self.add(format_args!("{name}: is done"), |world| drop(world.actors.remove(position))),
            Some(Step::Answer(outcome)) => {
                self.add(format_args!("{name}: answers {outcome:?}"), |world| answer(stage, world, position, &outcome));
            }
            Some(Step::Change(change)) => self.of_change(position, &change),
            Some(Step::Wait(Wait::Slot(_))) => unreachable!("a request that waits for a slot is answered"),
            Some(Step::Wait(Wait::Drain(drain))) => {
                let term = drain.term;
                self.add(format_args!("{name}: waits for the drain of term {term}"), |world| world.actor(position).drain = Some(term));
            }
            Some(Step::Read(question @ (Question::Fleet | Question::FleetCached))) => self.of_look_at_fleet(position, question),
            Some(Step::Read(Question::Pods)) => self.add(format_args!("{name}: lists the pods"), |world| {
                let count = mutations::pods(stage.setup.mutation, &actor, world.machines[actor.machine].pods);
                record(stage, world, position, Fact::Pods(pods(stage, count)));
            }),
            Some(Step::Read(question)) if actor.cannot_read(question, stage, self.world) => {
                self.add(format_args!("{name}: cannot read the Lease"), |world| drop(world.actors.remove(position)));
            }
            Some(Step::Read(question)) => {
                self.add(format_args!("{name}: looks at {question:?}"), |world| {
                    record(stage, world, position, read(stage, world, actor.machine, question));
                });
                // The Node is there, and the API server says that it is not.
                let not_found = match question {
                    Question::Meta => Fact::Meta(None),
                    Question::Node => Fact::Node(None, None),
                    _ => return,
                };
                self.event(Event::LoneNotFound, format_args!("{name}: looks at {question:?}, which is answered \"not found\""), |world| {
                    record(stage, world, position, not_found);
                });
            }
        }
    }

    /// The fleet: a list shows it as it is now, a view may be late. After its own write a request is shown nothing older than
    /// that; before it, any change may be missing.
    fn of_look_at_fleet(&mut self, position: usize, question: Question) {
        let (stage, world, actor) = (self.stage, self.world, Rc::clone(&self.world.actors[position]));
        let lately = question == Question::FleetCached;
        let barrier = !lately && stage.setup.mutation != Some(Mutation::DoesNotWaitForItsOwnWrite);
        let mut answers: Vec<FleetFacts> = Vec::new();
        if mutations::is_blind(stage.setup.mutation, &actor) {
            answers.push(FleetFacts::default());
        } else if barrier && actor.observed.own_write.is_none() {
            answers.push(fleet(stage, world, world.marked()));
        } else {
            for set in 0..1u8 << stage.names.len() {
                let possible = if stage.setup.late { !barrier || actor.marks_since >> set & 1 == 1 } else { set == world.marked() };
                let answer = fleet(stage, world, set & !(1 << actor.machine));
                if possible && !answers.contains(&answer) {
                    answers.push(answer);
                }
            }
        }
        let name = self.name(&actor);
        for answer in answers {
            let marked: Vec<_> =
                answer.members.iter().filter(|member| member.has_our_annotations()).map(|member| member.name.0.clone()).collect();
            let fact = if lately { Fact::FleetCached(answer) } else { Fact::Fleet(answer) };
            self.add(format_args!("{name}: looks at {question:?}: marked are {marked:?}"), |world| record(stage, world, position, fact));
        }
    }

    /// A write is done; or not; or done and the answer lost; or given up and done later.
    fn of_change(&mut self, position: usize, change: &Change) {
        let (stage, actor) = (self.stage, Rc::clone(&self.world.actors[position]));
        let (name, purpose, machine) = (self.name(&actor), change.purpose(), actor.machine);
        let mutation = stage.setup.mutation;
        let careless = mutation == Some(Mutation::OverwritesWhateverIsThere);
        let would_be_done = careless || self.world.would_be_done(machine, change);
        self.add(format_args!("{name}: {purpose}{}", if would_be_done { "" } else { ": conflict" }), |world| {
            match mutations::pretended(mutation, change, world).or_else(|| world.apply(machine, change, careless)) {
                Some(fact) => record(stage, world, position, fact),
                None if mutation == Some(Mutation::NeverLooksAgain) => end_if_done(stage, world, position),
                None => forget(stage, world, position, change),
            }
        });
        if !would_be_done {
            return;
        }
        self.event(Event::Fault, format_args!("{name}: {purpose}: not done"), |world| forget(stage, world, position, change));
        self.event(Event::Fault, format_args!("{name}: {purpose}: done, and the answer is lost"), |world| {
            world.apply(machine, change, careless);
            forget(stage, world, position, change);
        });
        self.event(Event::LateWrite, format_args!("{name}: {purpose}: given up, and still on its way"), |world| {
            world.flights.push(Rc::new(Flight { machine, change: change.clone() }));
            forget(stage, world, position, change);
        });
    }

    /// A request that waits for its drain: pods go as long as the slot is held; when they are gone, or the cordon is,
    /// the request continues; it can be answered "not yet" at any time.
    fn of_drain(&mut self, position: usize, term: u64) {
        let actor = Rc::clone(&self.world.actors[position]);
        let machine = &self.world.machines[actor.machine];
        let name = self.name(&actor);
        let uid = machine.node.as_ref().map(|node| &node.meta.uid);
        let holder = uid.and_then(|uid| self.world.lock.state.holder(uid));
        let is_void = !holder.is_some_and(|holder| holder.term == term && holder.checked_in.is_none());
        if machine.pods > 0 && !is_void && machine.failure == Failure::None {
            self.add(format_args!("{name}: a pod is evicted and goes"), |world| world.machine(actor.machine).pods -= 1);
        }
        let is_cordoned = machine.node.as_ref().is_some_and(|node| node.is_cordoned_for(&self.world.lock.term(term)));
        if machine.pods == 0 || !is_cordoned || is_void {
            self.add(format_args!("{name}: continues after its drain"), |world| world.actor(position).resume());
        }
        self.add(format_args!("{name}: is answered that the drain continues, or has ended"), |world| drop(world.actors.remove(position)));
    }

    fn of_agent(&mut self, machine: usize) {
        let (stage, state) = (self.stage, &self.world.machines[machine]);
        let waits = self.world.actors.iter().any(|actor| actor.heard && actor.machine == machine);
        let room = self.world.actors.iter().filter(|actor| actor.work.is_request()).count() < stage.setup.requests;
        let client = state.client;
        if state.failure.ends_agent() {
            return;
        }
        let asks = match client {
            Client::Up => state.wants > 0,
            Client::Approved => state.failure == Failure::CannotReboot || self.world.may.left(Event::SecondThought) > 0,
            Client::Back => true,
        };
        if !asks || !room || state.node.is_none() || (waits && self.world.may.left(Event::SecondCall) == 0) {
            return;
        }
        let what = if client == Client::Back { "checks in" } else { "asks" };
        self.add(format_args!("{}: {what}{}", stage.names[machine], if waits { ", again" } else { "" }), |world| {
            if waits {
                world.may.spend(Event::SecondCall);
            }
            hang_up(world, machine);
            let caller = stage.caller(world, machine);
            if client == Client::Back {
                world.machine(machine).came_back();
                return world.actors.push(Rc::new(Actor::new(Work::SteadyState(caller), machine, world)));
            }
            let cannot_reboot = world.machines[machine].failure == Failure::CannotReboot;
            if client == Client::Approved && !cannot_reboot {
                world.may.spend(Event::SecondThought);
            }
            if stage.setup.gives_back || stage.setup.may_fail() {
                ask_again(world, machine);
            }
            begin(stage, world, Actor::new(Work::PreReboot(caller), machine, world));
        });
    }

    fn of_reconcilers(&mut self) {
        if self.world.actors.iter().filter(|actor| !actor.work.is_request()).count() >= self.stage.setup.reconcilers {
            return;
        }
        let stage = self.stage;
        for actor in reconcilers(stage, self.world) {
            let name = self.name(&actor);
            self.add(format_args!("{name}: begins"), |world| begin(stage, world, actor));
        }
    }
}

/// An actor begins, with its first read: before that it can neither do anything nor be disturbed.
fn begin(stage: &Stage, world: &mut World, actor: Actor) {
    let machine = actor.machine;
    world.actors.push(Rc::new(actor));
    let position = world.actors.len() - 1;
    if let Some(Step::Read(question)) = world.actors[position].next(stage, stage.now(world)) {
        if world.actors[position].cannot_read(question, stage, world) {
            world.actors.remove(position);
        } else {
            record(stage, world, position, read(stage, world, machine, question));
        }
    }
}

/// Takes in a fact.
fn record(stage: &Stage, world: &mut World, position: usize, fact: Fact) {
    let mut actor = (*world.actors[position]).clone();
    actor.record(fact, world, stage.now(world));
    world.actors[position] = Rc::new(actor);
    end_if_done(stage, world, position);
}

/// Forgets what a write has changed, or was to change.
fn forget(stage: &Stage, world: &mut World, position: usize, change: &Change) {
    world.actor(position).forget(change);
    end_if_done(stage, world, position);
}

/// A refusal or a "settled" changes nothing but what its agent knows, so it need not be a step of its own. A yes is one:
/// much can happen between its last write and the moment when it is heard.
fn end_if_done(stage: &Stage, world: &mut World, position: usize) {
    match world.actors[position].next(stage, stage.now(world)) {
        None => drop(world.actors.remove(position)),
        Some(Step::Answer(outcome @ (Outcome::Refused(_) | Outcome::Settled(_) | Outcome::UnknownNode(_)))) => {
            answer(stage, world, position, &outcome);
        }
        Some(Step::Answer(Outcome::Approved(..)) | Step::Change(_) | Step::Read(_) | Step::Wait(_)) => {}
    }
}

/// An answer arrives, if its agent still waits for it.
fn answer(stage: &Stage, world: &mut World, position: usize, outcome: &Outcome) {
    let actor = world.actors.remove(position);
    deliver(stage, world, &actor, outcome);
}

/// The agent of a request that has ended learns the answer.
pub(crate) fn deliver(stage: &Stage, world: &mut World, actor: &Actor, outcome: &Outcome) {
    let machine = world.machine(actor.machine);
    match outcome {
        Outcome::Approved(..) if actor.heard => {
            machine.client = Client::Approved;
            machine.out = true;
            machine.approved_boots = machine.boots;
            // A Node that was deleted, or registered again, has lost its cordon.
            let Some(node) = machine.node.as_ref().filter(|node| actor.is_of(node)) else { return };
            let (is_cordoned, pods) = (node.unschedulable, machine.pods);
            machine.kept = !actor.uncordoned;
            let name = &stage.names[actor.machine];
            // No answer can know what others do between the last look and the answer.
            if !is_cordoned && !actor.uncordoned {
                world.broken = Some(format!("{name} is approved and is not cordoned"));
            } else if pods > 0 && !actor.uncordoned && !actor.pods_came {
                world.broken = Some(format!("{name} is approved with pods left to evict"));
            }
        }
        Outcome::Settled(_) if actor.heard && machine.client == Client::Back => machine.client = Client::Up,
        Outcome::Approved(..) | Outcome::Refused(_) | Outcome::Settled(_) | Outcome::UnknownNode(_) => {}
    }
}

/// The agent does not wait any longer for what it has asked.
pub(crate) fn hang_up(world: &mut World, machine: usize) {
    for actor in world.actors.iter_mut().filter(|actor| actor.machine == machine && actor.heard) {
        Rc::make_mut(actor).heard = false;
    }
}
