//! Everything but the agents that disturbs a round: faults of calls, the ends of replicas, and an administrator.

use std::time::{Duration, Instant};

use serde_json::Value;
use test_cluster::proxy::{Fault, Rule};

use crate::events::Event;
use crate::faults::{is_approved, plan_404};
use crate::furnish::{NODES, node_name};
use crate::observer::holders;
use crate::random::Random;
use crate::world::World;

/// Outsiders of a round.
pub(crate) struct Outsiders<'a> {
    pub(crate) world: &'a World,
    random: Random,
    /// Budgets that block nodes, and when each is removed.
    pub(crate) blocked: Vec<(String, Instant)>,
    /// Nodes that are marked by hand, and when each is marked Ready.
    pub(crate) marked: Vec<(String, Instant)>,
}

impl<'a> Outsiders<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, random: Random::new(world.settings.seed, "outsiders"), blocked: Vec::new(), marked: Vec::new() }
    }

    /// Disturbs until the quiet end, then undoes all faults.
    pub(crate) fn run(mut self, aims: &[Event]) {
        for act in 0.. {
            if self.world.is_settling() {
                break;
            }
            self.random = Random::new(self.world.settings.seed, &format!("act {act}"));
            let (serves, left) = (self.random.chance(50), self.world.not_reached(aims));
            if serves && !left.is_empty() {
                let event = self.random.pick(&left);
                self.serve(event);
            } else {
                self.disturb();
            }
            self.unblock(|until| until <= Instant::now());
            self.unmark(|until| until <= Instant::now());
            let pause = self.random.time(200, 1500);
            self.world.pause(pause);
        }
        self.unblock(|_| true);
        self.unmark(|_| true);
        for at in [0, 1] {
            let proxy = &self.world.replica(at).proxy;
            proxy.watches().flow();
            proxy.replan(self.world.looks(at));
            if self.world.server(at).is_none() {
                self.world.start(at);
            }
        }
    }

    /// Does what leads to this event.
    fn serve(&mut self, event: Event) {
        match event {
            Event::ContinuedAfterKill => self.end_leader("KILL"),
            Event::HandedOver => self.end_leader("TERM"),
            Event::GivenUp => self.block_holder(Duration::from_secs(40)),
            Event::Lone404 => self.answer_404(),
            Event::AnswerLost => self.lose_approval(),
            Event::EvictedTwice => self.change_holder(false),
            Event::OtherRebooting => self.mark_at_random(),
            _ => self.disturb(),
        }
    }

    /// Does something at random.
    fn disturb(&mut self) {
        let at = usize::from(self.random.chance(50));
        let time = self.random.time(100, 4000);
        let number = usize::try_from(1 + self.random.below(NODES as u64)).unwrap_or(1);
        let watches = self.world.replica(at).proxy.watches();
        match self.random.below(15) {
            0 => self.restart(at, "KILL", time),
            1 => self.restart(at, "TERM", time),
            2 if self.world.settings.freezes => self.freeze(at, time),
            3 => watches.cut(),
            4 => {
                watches.hold();
                self.world.pause(time / 2);
                watches.flow();
            }
            5 | 6 => self.cordon(&node_name(number)),
            7 | 8 => self.block_holder(time * 6),
            9 => self.change_holder(false),
            10 => self.change_holder(true),
            11 => self.answer_404(),
            12 => self.lose_approval(),
            13 => self.mark_at_random(),
            _ => self.replace_budget(),
        }
    }

    fn mark_at_random(&mut self) {
        let number = usize::try_from(1 + self.random.below(NODES as u64)).unwrap_or(1);
        let time = self.random.time(2_000, 10_000);
        self.mark(&node_name(number), time);
    }

    fn restart(&self, at: usize, signal: &str, time: Duration) {
        self.world.end(at, signal);
        self.world.pause(time);
        self.world.start(at);
    }

    fn freeze(&self, at: usize, time: Duration) {
        let Some(server) = self.world.server(at) else { return };
        self.world.note(&format!("replica {at} is frozen for {time:?}"));
        server.signal("STOP");
        self.world.pause(time);
        server.signal("CONT");
    }

    /// Returns a holder that is not approved, as recorded in the Lease.
    pub(crate) fn draining(&mut self) -> Option<Value> {
        let lock = self.world.cluster.lock();
        let draining: Vec<&Value> = holders(&lock).filter(|holder| holder["approved"].is_null()).collect();
        (!draining.is_empty()).then(|| self.random.pick(&draining).clone())
    }

    /// Blocks a drain, and ends the replica that runs it.
    fn end_leader(&mut self, signal: &str) {
        self.block_holder(Duration::from_secs(50));
        let Some(holder) = self.draining() else { return };
        let leader = holder["drain"]["replica"].as_str().unwrap_or_default();
        let Some(at) = ["left-", "right-"].iter().position(|name| leader.starts_with(name)) else { return };
        // Less time in between than a drain without progress is allowed.
        self.restart(at, signal, Duration::from_millis(300));
        if signal == "KILL" {
            // Another replica continues after 25 seconds, unless the node gives its slot back before.
            self.world.pause(Duration::from_secs(10));
        }
    }

    /// Lets a read of the Node of an approved holder meet a 404.
    fn answer_404(&self) {
        let lock = self.world.cluster.lock();
        let approved = holders(&lock).find(|holder| is_approved(holder));
        approved.iter().for_each(|holder| plan_404(self.world, holder["node"].as_str().unwrap_or_default()));
    }

    /// Lets the answer of a later write of the Lease be lost, at both replicas.
    fn lose_approval(&mut self) {
        for at in [0, 1] {
            let call = usize::try_from(1 + self.random.below(3)).unwrap_or(1);
            self.world.replica(at).proxy.plan(Rule::on("patch", "leases").nth(call).inject(Fault::CutAfter));
        }
    }
}
