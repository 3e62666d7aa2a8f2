//! Everything that requests, reconcilers and agents can do next.

use std::ops::Range;
use std::rc::Rc;

use reboot_manager::cluster::Status;
use reboot_manager::reboot::{Change, Fact, FleetFacts, Outcome, Question};

use crate::actor::{Actor, Next, Work, fleet, pods, read};
use crate::explore::{Describe, Move};
use crate::mutations::{self, Mutation};
use crate::world::{Client, Flight, Stage, View, World};

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

fn gather<'a>(stage: &'a Stage, world: &'a World, describe: Describe, chosen: Chosen) -> Moves<'a> {
    let mut moves = Moves { stage, world, describe, chosen, count: 0, youngest: 0..0, found: Vec::new() };
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

impl Moves<'_> {
    /// Adds what comes of `change`; it may say which promise that breaks.
    pub(crate) fn add(&mut self, what: impl FnOnce() -> String, change: impl FnOnce(&mut World) -> Option<String>) {
        let position = self.count;
        self.count += 1;
        if self.chosen != Chosen::All && self.chosen != Chosen::One(position) {
            return;
        }
        let mut to = self.world.clone();
        to.tick();
        let broken = change(&mut to);
        to.ground_flights();
        let what = if self.describe == Describe::Yes { what() } else { String::new() };
        self.found.push(Move { what, to, broken });
    }

    fn of_actor(&mut self, position: usize) {
        let (stage, actor) = (self.stage, Rc::clone(&self.world.actors[position]));
        let name = || actor.name(stage);
        if self.world.may.deaths > 0 {
            self.add(
                || format!("{}: its replica dies", name()),
                |world| {
                    world.may.deaths -= 1;
                    world.actors.remove(position);
                    None
                },
            );
        }
        if let Some(term) = actor.drain {
            return self.of_drain(position, term);
        }
        match actor.next(stage, stage.now(self.world)) {
            Next::Answer(outcome) => {
                self.add(|| format!("{}: answers {}", name(), describe(&outcome)), |world| answer(stage, world, position, &outcome));
            }
            Next::Change(change) => self.of_change(position, &change),
            Next::Drain(drain) => self.add(
                || format!("{}: waits for the drain of term {}", name(), drain.term),
                |world| {
                    world.actor(position).drain = Some(drain.term);
                    None
                },
            ),
            Next::Idle => self.add(
                || format!("{}: is done", name()),
                |world| {
                    world.actors.remove(position);
                    None
                },
            ),
            Next::Read(question @ (Question::Fleet | Question::FleetCached)) => self.of_look_at_fleet(position, question),
            Next::Read(Question::Pods) => self.add(
                || format!("{}: lists the pods", name()),
                |world| {
                    let count = mutations::pods(stage.setup.mutation, &actor, world.machines[actor.machine].pods);
                    record(stage, world, position, Fact::Pods(pods(count)))
                },
            ),
            Next::Read(question) if actor.cannot_read(question, stage, self.world) => self.add(
                || format!("{}: cannot read the Lease", name()),
                |world| {
                    world.actors.remove(position);
                    None
                },
            ),
            Next::Read(question) => {
                self.add(
                    || format!("{}: looks at {question:?}", name()),
                    |world| record(stage, world, position, read(stage, world, actor.machine, question)),
                );
                self.of_lone_not_found(position, question);
            }
        }
    }

    /// The Node is there, and the API server says that it is not.
    fn of_lone_not_found(&mut self, position: usize, question: Question) {
        let fact = match question {
            Question::Meta => Fact::Meta(None),
            Question::Node => Fact::Node(None, None),
            _ => return,
        };
        if self.world.may.lone_not_founds > 0 {
            let stage = self.stage;
            self.add(
                || format!("{}: looks at {question:?}, which is answered \"not found\"", self.world.actors[position].name(stage)),
                |world| {
                    world.may.lone_not_founds -= 1;
                    record(stage, world, position, fact)
                },
            );
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
                let possible = match stage.setup.view {
                    View::Now => set == world.marked(),
                    View::Late => !barrier || actor.marks_since >> set & 1 == 1,
                };
                let answer = fleet(stage, world, set & !(1 << actor.machine));
                if possible && !answers.contains(&answer) {
                    answers.push(answer);
                }
            }
        }
        for answer in answers {
            let marked: Vec<_> = answer.members.iter().filter(|member| member.is_marked()).map(|member| member.name.0.clone()).collect();
            let fact = if lately { Fact::FleetCached(answer) } else { Fact::Fleet(answer) };
            self.add(
                || format!("{}: looks at {question:?}: marked are {marked:?}", actor.name(stage)),
                |world| record(stage, world, position, fact),
            );
        }
    }

    /// A write is done; or not; or done and the answer lost; or given up and done later.
    fn of_change(&mut self, position: usize, change: &Change) {
        let (stage, actor) = (self.stage, Rc::clone(&self.world.actors[position]));
        let mutation = stage.setup.mutation;
        let careless = mutation == Some(Mutation::OverwritesWhateverIsThere);
        let what = |how: &str| format!("{}: {}{how}", actor.name(stage), change.purpose());
        let would_be_done = careless || self.world.would_be_done(actor.machine, change);
        self.add(
            || what(if would_be_done { "" } else { ": conflict" }),
            |world| {
                let done = mutations::pretended(mutation, change, world).or_else(|| world.apply(actor.machine, change, careless));
                match done {
                    Some(fact) => return record(stage, world, position, fact),
                    None if mutation == Some(Mutation::NeverLooksAgain) => {}
                    None => world.actor(position).forget(change),
                }
                end_if_done(stage, world, position)
            },
        );
        if would_be_done && self.world.may.faults > 0 {
            for done in [false, true] {
                self.add(
                    || what(if done { ": done, and the answer is lost" } else { ": not done" }),
                    |world| {
                        world.may.faults -= 1;
                        if done {
                            world.apply(actor.machine, change, careless);
                        }
                        world.actor(position).forget(change);
                        end_if_done(stage, world, position)
                    },
                );
            }
        }
        if would_be_done && self.world.may.late_writes > 0 {
            self.add(
                || what(": given up, and still on its way"),
                |world| {
                    world.may.late_writes -= 1;
                    world.flights.push(Rc::new(Flight { machine: actor.machine, change: change.clone() }));
                    world.actor(position).forget(change);
                    end_if_done(stage, world, position)
                },
            );
        }
    }

    /// A request that waits for its drain: pods go as long as the slot is held; when they are gone, or the cordon is,
    /// the request continues; it can be answered "not yet" at any time.
    fn of_drain(&mut self, position: usize, term: u64) {
        let (stage, actor) = (self.stage, Rc::clone(&self.world.actors[position]));
        let machine = &self.world.machines[actor.machine];
        let name = || actor.name(stage);
        let uid = machine.node.as_ref().map(|node| &node.meta.uid);
        let holder = uid.and_then(|uid| self.world.lock.state.holder(uid));
        let is_void = !holder.is_some_and(|holder| holder.term == term && holder.checked_in.is_none());
        if machine.pods > 0 && !is_void {
            self.add(
                || format!("{}: a pod is evicted and goes", name()),
                |world| {
                    world.machine(actor.machine).pods -= 1;
                    None
                },
            );
        }
        let is_cordoned = machine.node.as_ref().is_some_and(|node| node.is_cordoned_for(&self.world.lock.term(term)));
        if machine.pods == 0 || !is_cordoned || is_void {
            self.add(
                || format!("{}: continues after its drain", name()),
                |world| {
                    world.actor(position).resume();
                    None
                },
            );
        }
        self.add(
            || format!("{}: is answered that the drain continues, or has ended", name()),
            |world| {
                world.actors.remove(position);
                None
            },
        );
    }

    fn of_agent(&mut self, machine: usize) {
        let (stage, state) = (self.stage, &self.world.machines[machine]);
        let waits = self.world.actors.iter().any(|actor| actor.heard && actor.machine == machine);
        let room = self.world.actors.iter().filter(|actor| actor.is_request()).count() < stage.setup.requests;
        let asks = match state.client {
            Client::Up => state.wants > 0,
            Client::Approved => self.world.may.second_thoughts > 0,
            Client::Back => true,
        };
        if !asks || !room || state.node.is_none() || (waits && self.world.may.second_calls == 0) {
            return;
        }
        let back = state.client == Client::Back;
        self.add(
            || format!("{}: {}{}", stage.names[machine], if back { "checks in" } else { "asks" }, if waits { ", again" } else { "" }),
            |world| {
                hang_up(world, machine, waits);
                world.may.second_thoughts -= u8::from(state.client == Client::Approved);
                let caller = stage.caller(world, machine);
                if !back {
                    return begin(stage, world, Actor::new(Work::PreReboot(caller), machine, world));
                }
                world.machine(machine).out = false;
                world.machine(machine).kept = false;
                world.actors.push(Rc::new(Actor::new(Work::SteadyState(caller), machine, world)));
                None
            },
        );
    }

    fn of_reconcilers(&mut self) {
        if self.world.actors.iter().filter(|actor| !actor.is_request()).count() >= self.stage.setup.reconcilers {
            return;
        }
        let stage = self.stage;
        let holders = if self.world.annotation_lost { &[][..] } else { &self.world.lock.state.holders[..] };
        for holder in holders {
            let Some(machine) = stage.names.iter().position(|name| *name == holder.node) else { continue };
            self.add(
                || format!("housekeeping: looks after the holder {}", holder.node),
                |world| begin(stage, world, Actor::new(Work::Holder(holder.uid.clone()), machine, world)),
            );
        }
        for machine in 0..stage.names.len() {
            let Some(node) = self.world.node(machine) else { continue };
            if node.meta.record.is_some() || (node.meta.status == Status::Rebooting && !stage.is_ours(machine)) {
                let work = || Work::Orphan(node.name().clone(), node.meta.uid.clone());
                self.add(
                    || format!("housekeeping: looks after the marked node {}", node.name()),
                    |world| begin(stage, world, Actor::new(work(), machine, world)),
                );
            }
        }
    }
}

/// An actor begins, with its first read: before that it can neither do anything nor be disturbed.
fn begin(stage: &Stage, world: &mut World, actor: Actor) -> Option<String> {
    let machine = actor.machine;
    world.actors.push(Rc::new(actor));
    let position = world.actors.len() - 1;
    match world.actors[position].next(stage, stage.now(world)) {
        Next::Read(question) if world.actors[position].cannot_read(question, stage, world) => {
            world.actors.remove(position);
            None
        }
        Next::Read(question) => record(stage, world, position, read(stage, world, machine, question)),
        Next::Answer(_) | Next::Change(_) | Next::Drain(_) | Next::Idle => None,
    }
}

/// Takes in a fact.
fn record(stage: &Stage, world: &mut World, position: usize, fact: Fact) -> Option<String> {
    let mut actor = (*world.actors[position]).clone();
    actor.record(fact, world, stage.now(world));
    world.actors[position] = Rc::new(actor);
    end_if_done(stage, world, position)
}

/// A refusal or a "settled" changes nothing but what its agent knows, so it need not be a step of its own. A yes is one:
/// much can happen between its last write and the moment when it is heard.
fn end_if_done(stage: &Stage, world: &mut World, position: usize) -> Option<String> {
    match world.actors[position].next(stage, stage.now(world)) {
        Next::Answer(outcome @ (Outcome::Refused(_) | Outcome::Settled(_) | Outcome::UnknownNode(_))) => {
            answer(stage, world, position, &outcome)
        }
        Next::Idle => {
            world.actors.remove(position);
            None
        }
        Next::Answer(Outcome::Approved(..)) | Next::Change(_) | Next::Drain(_) | Next::Read(_) => None,
    }
}

/// An answer arrives, if its agent still waits for it.
fn answer(stage: &Stage, world: &mut World, position: usize, outcome: &Outcome) -> Option<String> {
    let actor = world.actors.remove(position);
    let machine = world.machine(actor.machine);
    match outcome {
        Outcome::Approved(..) if actor.heard => {
            machine.client = Client::Approved;
            machine.out = true;
            // A Node that was deleted, or registered again, has lost its cordon.
            let node = machine.node.as_ref().filter(|node| actor.is_of(node))?;
            machine.kept = !actor.uncordoned;
            let name = &stage.names[actor.machine];
            // What environment do between the last look and the answer, no answer can know.
            if !node.unschedulable && !actor.uncordoned {
                return Some(format!("PROMISE BROKEN: {name} is describe yes and is not cordoned"));
            }
            if machine.pods > 0 && !actor.uncordoned && !actor.pods_came {
                return Some(format!("PROMISE BROKEN: {name} is approved with pods left to evict"));
            }
        }
        Outcome::Settled(_) if actor.heard && machine.client == Client::Back => machine.client = Client::Up,
        Outcome::Approved(..) | Outcome::Refused(_) | Outcome::Settled(_) | Outcome::UnknownNode(_) => {}
    }
    None
}

/// The agent does not wait any longer for what it has asked.
pub(crate) fn hang_up(world: &mut World, machine: usize, costs: bool) {
    world.may.second_calls -= u8::from(costs);
    for actor in world.actors.iter_mut().filter(|actor| actor.machine == machine && actor.heard) {
        Rc::make_mut(actor).heard = false;
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Approved(..) => "YES".to_owned(),
        Outcome::Refused(refusal) => format!("no: {}", refusal.message),
        Outcome::Settled(settled) => format!("{settled:?}"),
        Outcome::UnknownNode(id) => format!("no: no node has the id {id}"),
    }
}
