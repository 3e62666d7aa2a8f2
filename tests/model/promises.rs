//! The promises, each with the words of the README ("What it promises") that it checks. Two more, about the cordon
//! and the pods at the moment of a yes ("A yes means drained"), are judged where a yes is heard: `moves::answer`.

use reboot_manager::cluster::Status;
use reboot_manager::lock::Holder;
use reboot_manager::reboot::Step;

use crate::actor::{Actor, read, reconcilers};
use crate::explore::{Describe, Model, Move};
use crate::key::Key;
use crate::liveness::Ways;
use crate::moves;
use crate::setup::Event;
use crate::world::{Client, Older, Stage, World};

impl Model for Stage {
    type State = World;
    type Ends = Ways;

    fn start(&self) -> World {
        self.world()
    }

    fn moves(&self, world: &World, describe: Describe) -> Vec<Move<World>> {
        moves::all(self, world, describe)
    }

    fn key(&self, world: &World) -> Vec<u8> {
        Key::of(self, world)
    }

    fn wrong(&self, world: &World) -> Option<String> {
        let broken = world.broken.clone();
        broken
            .or_else(|| self.too_many_out(world))
            .or_else(|| self.slot_lost(world))
            .or_else(|| self.cordon_wrong(world))
            .or_else(|| (!self.may_fail() && self.is_quiet(world)).then(|| self.something_leaked(world)).flatten())
            .map(|what| format!("PROMISE BROKEN: {what}"))
    }

    /// All machines have rebooted as often as wanted and have checked in, and no actor is at work.
    fn is_goal(&self, world: &World) -> bool {
        self.is_quiet(world)
    }

    fn may_fail(&self) -> bool {
        self.setup.may_fail()
    }

    fn no_end(&self, world: &World, ways: &mut Ways) -> Option<(String, Vec<String>)> {
        match self.follow(world, ways) {
            Ok(way) => self.too_long(world, way, 1),
            Err(wrong) => Some(wrong),
        }
    }

    fn show(&self, world: &World) -> String {
        let node = |machine: usize| {
            let state = &world.machines[machine];
            let Some(node) = &state.node else { return format!("{}: no Node", self.names[machine]) };
            let cordon = if node.unschedulable { ", cordoned" } else { "" };
            let term = node.meta.record.as_ref().map(|record| format!(" of term {}", record.term.term)).unwrap_or_default();
            format!("{}: {:?}, {:?}{term}{cordon}, {} pods", node.name(), state.client, node.meta.status, state.pods)
        };
        let nodes: Vec<String> = (0..self.names.len()).map(node).collect();
        let holder = |holder: &Holder| {
            let approved = if holder.approved.is_some() { " approved" } else { "" };
            let back = if holder.checked_in.is_some() { " checked-in" } else { "" };
            format!("{} (term {}{approved}{back})", holder.node, holder.term)
        };
        let holders: Vec<String> = world.lock.state.holders.iter().map(holder).collect();
        format!("Lease: [{}]; {}", holders.join(", "), nodes.join("; "))
    }
}

impl Stage {
    /// "Never more nodes than slots": nodes that were approved and have not checked in since. The node of
    /// an annotation-only manager counts if that manager, too, found no marked node. If it was approved by its name, this is the hole that
    /// `seed` shows, which reboot-manager cannot close.
    fn too_many_out(&self, world: &World) -> Option<String> {
        let counts = |at: &usize| world.machines[*at].out && (self.is_ours(*at) || world.older_rightly);
        let out: Vec<_> = (0..self.names.len()).filter(counts).map(|at| self.names[at].as_str()).collect();
        let most = if self.setup.control_plane { 1 } else { self.setup.slots };
        (out.len() > most).then(|| format!("{} may reboot at once; at most {most} may", out.join(" and ")))
    }

    /// "A slot is freed on evidence": from the approval to the check-in, or to the kubelet's report of another boot, the Lease has the
    /// node as approved, whatever older requests, reconcilers and other replicas do. Only who deletes the Lease takes the slot away; and
    /// when its Node was deleted, a quarter of an hour ends it. A node that was uncordoned and asks again gets a new term, not approved
    /// yet.
    fn slot_lost(&self, world: &World) -> Option<String> {
        let holds = |at: usize| {
            let holder = world.lock.state.holders.iter().find(|holder| holder.node == self.names[at]);
            holder.is_some_and(|holder| holder.approved.is_some() || !world.machines[at].kept)
        };
        let lost = |at: &usize| world.machines[*at].out && !world.lease_deleted && !holds(*at);
        (0..self.setup.nodes).find(lost).map(|at| format!("{} was approved and has no slot any more", self.names[at]))
    }

    /// "A node that you had cordoned stays cordoned", at every moment; and "An approval means drained": no actor but an administrator
    /// uncordons a node that was approved before it is back: has checked in, or its kubelet has reported another boot.
    fn cordon_wrong(&self, world: &World) -> Option<String> {
        for at in 0..self.setup.nodes {
            let (state, name) = (&world.machines[at], &self.names[at]);
            let Some(node) = &state.node else { continue };
            if state.cordoned && !node.unschedulable {
                return Some(format!("the administrator's cordon of {name} is gone"));
            }
            if state.kept && !node.unschedulable {
                return Some(format!("{name} was approved and is not cordoned any more"));
            }
        }
        None
    }

    /// No actor is at work, and no agent wants anything.
    fn is_quiet(&self, world: &World) -> bool {
        let at_rest = |at: usize| {
            let state = &world.machines[at];
            state.client == Client::Up && state.wants == 0 && state.node.is_some()
        };
        let ours = (0..self.setup.nodes).all(at_rest);
        ours && !world.annotation_lost && world.actors.is_empty() && world.flights.is_empty() && world.older == Older::Idle
    }

    /// "Nothing leaks": when all is quiet and the reconciler has gone round, no slot is held, no mark is left, and each
    /// node is cordoned if and only if an administrator wants it.
    fn something_leaked(&self, world: &World) -> Option<String> {
        let mut world = world.clone();
        for _ in 0..ROUNDS {
            world.minutes += 15;
            reconcilers(self, &world).into_iter().for_each(|actor| self.run(&mut world, actor));
        }
        // A person must free a slot if the boot of its approval is not known, and the agent never checks in.
        let is_left = |holder: &&Holder| self.setup.may.left(Event::Silence) == 0 || holder.approved.is_none() || holder.knows_boot();
        if let Some(holder) = world.lock.state.holders.iter().find(is_left) {
            return Some(format!("all is quiet, and {} still holds a slot", holder.node));
        }
        for at in 0..self.setup.nodes {
            let (state, name) = (&world.machines[at], &self.names[at]);
            let Some(node) = &state.node else { continue };
            if world.lock.state.holder(&node.meta.uid).is_some() {
                continue;
            }
            if node.meta.status == Status::Rebooting || node.meta.record.is_some() {
                return Some(format!("all is quiet, and {name} is still marked"));
            }
            if node.unschedulable != state.cordoned {
                return Some(format!("all is quiet, and the cordon of {name} is not as the administrator left it"));
            }
        }
        None
    }

    /// Runs a reconciler alone.
    fn run(&self, world: &mut World, mut actor: Actor) {
        for _ in 0..STEPS_MAX {
            let now = self.now(world);
            match actor.next(self, now) {
                Some(Step::Read(question)) => actor.record(read(self, world, actor.machine, question), world, now),
                Some(Step::Change(change)) => match world.apply(actor.machine, &change, false) {
                    Some(fact) => actor.record(fact, world, now),
                    None => actor.forget(&change),
                },
                Some(Step::Answer(_) | Step::Wait(_)) | None => return,
            }
        }
        panic!("the reconciler does not come to an end");
    }
}

/// Rounds of the reconciler, each longer than every limit of the rules, until nothing can be left to do: restore, or record that
/// a Node is gone; free; and one to spare.
const ROUNDS: usize = 3;

/// Limit of `coordinator::reconciler`.
const STEPS_MAX: usize = 12;
