//! Liveness: from every state, once faults end and nobody interferes any more, each node that keeps asking is approved within a bounded
//! time, or the state is one of [`Person`], in which a person must act.
//!
//! From each state one way is followed, in rounds: each request and each reconciler that has begun runs to its end; approved machines
//! reboot; the reconciler goes round; each agent asks, or checks in, and is answered; then [`ROUND`] passes. Failures of nodes that last
//! stay. The way is a way of the same model, so a state with a way to an end is not stuck, and the number of rounds is a time that a fleet
//! of well-behaved agents needs.

use std::collections::{BTreeMap, HashMap};

use reboot_manager::cluster::{NodeName, ReadyCondition, Status, Uid};
use reboot_manager::lock::{DrainReport, Holder};
use reboot_manager::reboot::{Step, Wait};

use crate::actor::{Actor, Work, read, reconcilers};
use crate::environment::{ask_again, pass, reboot, register, report, report_drain};
use crate::explore::{Describe, Model, short};
use crate::key::Key;
use crate::moves::{deliver, of_others};
use crate::setup::Allowance;
use crate::world::{Client, Machine, Stage, Trouble, World};

/// Minutes of a round. Zincati asks every 300 to 330 seconds.
const ROUND: i64 = 6;

/// Rounds after which a way has no end: longer than all limits of the rules after each other.
const ROUNDS_MAX: usize = 40;

/// Steps after which a request does not come to its end.
const STEPS_MAX: usize = 40;

/// The states in which nodes wait for a person. The list is closed: a node that waits in any other state is a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Person {
    /// A node was approved, and its agent neither asks nor checks in, and its machine does not reboot. It may still reboot.
    ApprovedAndSilent,
    /// A node was approved, and its kubelet is down.
    ApprovedAndNotReady,
    /// Another node of the control plane is cordoned by an administrator, or its kubelet is down.
    ControlPlane,
    /// A node is marked as rebooting by hand, and its agent does not ask.
    MarkedByHand,
    /// The Lease has lost its annotation.
    LeaseUnreadable,
}

/// What is known of the ways from the states so far.
#[derive(Default)]
pub(crate) struct Ways {
    known: HashMap<[u8; 16], Way>,
    /// The longest way to an end, in rounds and in moves.
    pub(crate) longest: Way,
    /// Number of states from which the way ends with a person.
    pub(crate) persons: BTreeMap<Person, usize>,
}

/// Length of the way from a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    rounds: u8,
    moves: u16,
    person: Option<Person>,
}

impl Way {
    /// Minutes until the end.
    pub(crate) fn minutes(self) -> i64 {
        i64::from(self.rounds) * ROUND
    }
}

impl Ways {
    /// Number of states on the ways.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Stage {
    /// Follows the way from `from`. Returns the end of a way that has none.
    pub(crate) fn follow(&self, from: &World, ways: &mut Ways) -> Option<Vec<String>> {
        let mut world = from.clone();
        world.may = Allowance::default();
        let mut path: Vec<([u8; 16], u16)> = Vec::new();
        let unreadable = world.annotation_lost.then_some(Person::LeaseUnreadable);
        if world.annotation_lost {
            // The person puts it back, and all goes on.
            world.lose_annotation(false);
        }
        let mut way = loop {
            if self.is_done(&world) {
                break Way::default();
            }
            let key = short(&Key::exact(self, &world));
            if let Some(way) = ways.known.get(&key) {
                break *way;
            }
            if path.len() == ROUNDS_MAX || path.iter().any(|(before, _)| *before == key) {
                match self.person(&world) {
                    Some(person) => break Way { person: Some(person), ..Way::default() },
                    None => return Some(self.show_way(from)),
                }
            }
            let mut steps = Vec::new();
            path.push((key, self.round(&mut world, &mut steps, Describe::No)));
            if self.wrong(&world).is_some() {
                return Some(self.show_way(from));
            }
        };
        for (key, moves) in path.into_iter().rev() {
            way = Way { rounds: way.rounds + 1, moves: way.moves + moves, ..way };
            ways.known.insert(key, way);
        }
        for person in way.person.into_iter().chain(unreadable) {
            *ways.persons.entry(person).or_default() += 1;
        }
        if way.person.is_none() {
            ways.longest = ways.longest.max(way);
        }
        None
    }

    /// Each agent that still works has all reboots that it wants, and no node holds a slot but those that have failed.
    fn is_done(&self, world: &World) -> bool {
        let is_done = |machine: &Machine| !machine.works() || (machine.client == Client::Up && machine.wants == 0 && machine.node.is_some());
        let of_working = |holder: &Holder| self.machine(world, &holder.node).is_some_and(Machine::works);
        let ours = (0..self.setup.nodes).all(|at| is_done(&world.machines[at]));
        ours && world.actors.is_empty() && world.flights.is_empty() && !world.lock.state.holders.iter().any(of_working)
    }

    fn machine<'a>(&self, world: &'a World, node: &NodeName) -> Option<&'a Machine> {
        let at = self.names.iter().position(|name| name == node)?;
        Some(&world.machines[at])
    }

    /// The person for whom the nodes wait that are not approved.
    fn person(&self, world: &World) -> Option<Person> {
        let is_down = |machine: &Machine| machine.node.as_ref().is_some_and(|node| node.readiness == ReadyCondition::NotReady);
        let approved = |machine: &&Machine| {
            let holder = machine.node.as_ref().and_then(|node| world.lock.state.holder(&node.meta.uid));
            holder.is_some_and(|holder| holder.approved.is_some())
        };
        let machines = || world.machines[..self.setup.nodes].iter().map(AsRef::as_ref);
        let is_marked = |machine: &Machine| {
            let meta = machine.node.as_ref().map(|node| &node.meta);
            let asks = machine.client == Client::Up && machine.wants > 0 && machine.trouble != Trouble::Departed;
            !asks && meta.is_some_and(|meta| meta.status == Status::Rebooting && meta.record.is_none())
        };
        let plane = |machine: &Machine| machine.cordoned || is_down(machine);
        if machines().filter(approved).any(is_down) {
            Some(Person::ApprovedAndNotReady)
        } else if machines().filter(approved).any(|machine| machine.trouble == Trouble::Departed) {
            Some(Person::ApprovedAndSilent)
        } else if machines().any(is_marked) {
            Some(Person::MarkedByHand)
        } else if self.setup.control_plane && machines().any(plane) {
            Some(Person::ControlPlane)
        } else {
            None
        }
    }

    /// One round of the fleet. Returns the number of moves.
    fn round(&self, world: &mut World, steps: &mut Vec<String>, describe: Describe) -> u16 {
        let before = world.moment;
        let mut tell = |world: &mut World, what: String| {
            world.moment += 1;
            if describe == Describe::Yes {
                steps.push(format!("{what}\n        {}", self.show(world)));
            }
        };
        for actor in std::mem::take(&mut world.actors) {
            self.settle(world, (*actor).clone(), &mut tell);
        }
        while let Some(step) = of_others(self, world) {
            *world = step.to;
            tell(world, step.what);
        }
        for at in 0..self.setup.nodes {
            self.turn(world, at, &mut tell);
        }
        for actor in reconcilers(self, world) {
            self.settle(world, actor, &mut tell);
        }
        for at in 0..self.setup.nodes {
            self.ask(world, at, &mut tell);
        }
        self.report_drains(world);
        pass(world, ROUND);
        tell(world, format!("{ROUND} minutes pass"));
        u16::try_from(world.moment - before).unwrap()
    }

    /// What the machine does: its Node is created again, it reboots, its kubelet reports.
    fn turn(&self, world: &mut World, at: usize, tell: &mut impl FnMut(&mut World, String)) {
        let name = &self.names[at];
        if world.machines[at].node.is_none() && world.machines[at].trouble != Trouble::Removed {
            register(self, world, at);
            tell(world, format!("{name}: its kubelet recreates its Node"));
        }
        if world.machines[at].may_reboot() {
            reboot(world, at, true);
            tell(world, format!("{name}: reboots"));
        }
        if world.machines[at].is_unreported() {
            report(world, at);
            tell(world, format!("{name}: its kubelet reports the boot"));
        }
    }

    /// The agent asks, or checks in.
    fn ask(&self, world: &mut World, at: usize, tell: &mut impl FnMut(&mut World, String)) {
        let machine = &world.machines[at];
        let is_gone = [Trouble::Departed, Trouble::Removed].contains(&machine.trouble) || machine.node.is_none();
        let caller = self.caller(world, at);
        let work = match machine.client {
            _ if is_gone => return,
            Client::Up if machine.wants == 0 => return,
            Client::Approved if machine.trouble != Trouble::CannotReboot => return,
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
        self.settle(world, actor, tell);
    }

    /// Runs a request or a reconciler to its end.
    fn settle(&self, world: &mut World, mut actor: Actor, tell: &mut impl FnMut(&mut World, String)) {
        let at = actor.machine;
        if actor.drain.is_some() {
            actor.resume();
        }
        for _ in 0..STEPS_MAX {
            let now = self.now(world);
            let name = actor.name(self);
            match actor.next(self, now) {
                None => return tell(world, format!("{name}: is done")),
                Some(Step::Answer(outcome)) => {
                    deliver(self, world, &actor, &outcome);
                    return tell(world, format!("{name}: answers {outcome:?}"));
                }
                Some(Step::Read(question)) if actor.cannot_read(question, self, world) => return,
                Some(Step::Read(question)) => {
                    actor.record(read(self, world, at, question), world, now);
                    tell(world, format!("{name}: looks at {question:?}"));
                }
                Some(Step::Change(change)) => {
                    match world.apply(at, &change, false) {
                        Some(fact) => actor.record(fact, world, now),
                        None => actor.forget(&change),
                    }
                    tell(world, format!("{name}: {}", change.purpose()));
                }
                Some(Step::Wait(Wait::Drain(_))) if world.machines[at].drains() => {
                    world.machine(at).pods = 0;
                    actor.resume();
                    tell(world, format!("{name}: its pods are evicted and go"));
                }
                Some(Step::Wait(_)) => return tell(world, format!("{name}: is answered that the drain continues")),
            }
        }
        panic!("{} does not come to its end: {:?}", actor.name(self), self.show(world));
    }

    /// Each drain without progress is reported.
    fn report_drains(&self, world: &mut World) {
        let now = self.now(world).clock;
        let stands = |holder: &&Holder| {
            let machine = self.machine(world, &holder.node);
            holder.approved.is_none() && machine.is_some_and(|machine| machine.pods > 0 && !machine.drains())
        };
        let reports: Vec<(Uid, DrainReport)> = world.lock.state.holders.iter().filter(stands).map(|holder| {
            let idle = holder.drain.as_ref().map_or(0, |report| report.idle) + ROUND * 60;
            (holder.uid.clone(), DrainReport { idle, ..DrainReport::first("replica", now) })
        }).collect();
        reports.into_iter().for_each(|(uid, report)| report_drain(world, &uid, report));
    }

    /// The way from `from`, described.
    fn show_way(&self, from: &World) -> Vec<String> {
        let mut world = from.clone();
        world.may = Allowance::default();
        if world.annotation_lost {
            world.lose_annotation(false);
        }
        let mut steps = vec!["from here nothing goes wrong any more".to_owned()];
        for _ in 0..ROUNDS_MAX {
            self.round(&mut world, &mut steps, Describe::Yes);
            if let Some(wrong) = self.wrong(&world) {
                steps.push(wrong);
                return steps;
            }
        }
        // The last rounds show what does not change any more.
        steps.truncate(60);
        steps.push("NOTHING ENDS: a node that keeps asking is not approved, and no person has to act".to_owned());
        steps
    }
}

impl Machine {
    /// Neither the machine nor its agent has failed for good.
    fn works(&self) -> bool {
        self.trouble == Trouble::None
    }

    /// Its pods go when they are evicted.
    fn drains(&self) -> bool {
        ![Trouble::Obstructed, Trouble::KubeletDown].contains(&self.trouble)
    }
}
