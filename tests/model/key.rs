//! What tells two states apart, with everything left out that no rule can see.
//!
//! - A resourceVersion matters only by whether it is still the current one.
//! - Tenures matter only by their order, so they are numbered by it; except where a Lease is deleted, whose successor
//!   counts from 1 again.
//! - Of times matter: the order of approvals and arrivals of one node, and which of the rules' limits has passed
//!   (a minute, two minutes; of a Node that is gone, a quarter of an hour; for proofs, whether a minute has passed at all).
//! - It does not matter in which order the requests are listed.

use jiff::{SignedDuration, Timestamp};
use reboot_manager::cluster::{CordonRecord, LeaseVersion, Member, Node, NodeMark, NodePatch};
use reboot_manager::lock::{Approved, Holder, LockState};
use reboot_manager::reboot::{Change, Lock, Now, PROOF_AGE_MAX, Seen, Tenure};

use crate::actor::{Actor, Work};
use crate::world::{Flight, Machine, Stage, View, World};

/// Gathers tenures and times first, then writes.
pub(crate) struct Key<'a> {
    stage: &'a Stage,
    world: &'a World,
    now: Now,
    gathers: bool,
    terms: Vec<u64>,
    /// The machine, and a time that is compared with others of it.
    times: Vec<(usize, Timestamp)>,
    bytes: Vec<u8>,
}

impl<'a> Key<'a> {
    pub(crate) fn of(stage: &'a Stage, world: &'a World) -> Vec<u8> {
        let now = stage.now(world);
        let mut key = Key { stage, world, now, gathers: true, terms: Vec::new(), times: Vec::new(), bytes: Vec::new() };
        key.world();
        key.terms.sort_unstable();
        key.terms.dedup();
        key.times.sort_unstable();
        key.times.dedup();
        key.gathers = false;
        key.bytes.clear();
        key.world();
        key.bytes
    }

    fn world(&mut self) {
        let world = self.world;
        for (_, left) in world.may.counts() {
            self.byte(left);
        }
        self.byte(world.older as u8);
        self.flag(world.older_rightly);
        self.flag(world.lease_deleted);
        self.flag(world.annotation_lost);
        self.lease(world.lock.version.as_ref());
        self.lock_state(&world.lock.state);
        for (at, machine) in world.machines.iter().enumerate() {
            self.machine(at, machine);
        }
        self.sorted(world.actors.len(), |key, at| key.actor(&world.actors[at]));
        self.sorted(world.flights.len(), |key, at| key.flight(&world.flights[at]));
    }

    /// Several parts whose order does not matter.
    fn sorted(&mut self, count: usize, part: impl Fn(&mut Self, usize)) {
        let mut parts = Vec::with_capacity(count);
        for at in 0..count {
            let before = std::mem::take(&mut self.bytes);
            part(self, at);
            parts.push(std::mem::replace(&mut self.bytes, before));
        }
        parts.sort_unstable();
        self.number(count);
        for part in parts {
            self.number(part.len());
            self.bytes.extend(part);
        }
    }

    fn machine(&mut self, at: usize, machine: &Machine) {
        for part in [machine.client as u8, machine.pods, machine.wants, machine.boots, machine.generation] {
            self.byte(part);
        }
        for flag in [machine.cordoned, machine.out, machine.kept, machine.node.is_some()] {
            self.flag(flag);
        }
        if let Some(node) = &machine.node {
            self.node(at, node);
        }
    }

    fn node(&mut self, machine: usize, node: &Node) {
        self.mark(machine, &node.mark);
        self.flag(node.unschedulable);
        self.text(&node.boot_id);
        self.byte(node.readiness as u8);
    }

    fn mark(&mut self, machine: usize, mark: &NodeMark) {
        let current = self.world.node(machine).is_some_and(|node| node.mark.version == mark.version);
        self.flag(current);
        self.text(&mark.uid.0);
        self.byte(mark.status as u8);
        self.record(mark.record.as_ref());
    }

    fn member(&mut self, member: &Member) {
        let Member { name, status, record, unschedulable, readiness, control_plane, .. } = member;
        self.text(name.as_str());
        self.byte(*status as u8);
        self.byte(*readiness as u8);
        self.flag(*unschedulable);
        self.flag(*control_plane);
        self.record(record.as_deref());
    }

    fn record(&mut self, record: Option<&CordonRecord>) {
        self.flag(record.is_some());
        if let Some(record) = record {
            self.byte(record.before as u8);
            self.text(&record.term.lease.0);
            self.term(record.term.term);
        }
    }

    fn lease(&mut self, version: Option<&LeaseVersion>) {
        self.flag(version == self.world.lock.version.as_ref());
        self.text(version.map(|version| version.uid.0.as_str()).unwrap_or_default());
    }

    fn lock(&mut self, lock: &Lock) {
        self.lease(lock.version.as_ref());
        self.byte(lock.written.map_or(u8::MAX, |why| why as u8));
        self.lock_state(&lock.state);
    }

    fn lock_state(&mut self, state: &LockState) {
        self.term(state.last_term);
        self.number(state.holders.len());
        for holder in &state.holders {
            // Its group, role and machine-id are those of its node.
            let Holder { node, uid, group: _, term, since, control_plane: _, machine: _, approved, checked_in, missing_since, extra: _ } =
                holder;
            let machine = self.stage.names.iter().position(|name| name == node).unwrap();
            self.number(machine);
            self.text(&uid.0);
            self.term(*term);
            self.age(*since, &[1, 2]);
            self.flag(approved.is_some());
            if let Some(Approved { at, boot }) = approved {
                self.time(machine, *at);
                self.text(boot);
            }
            self.flag(checked_in.is_some());
            checked_in.iter().for_each(|at| self.age(*at, &[1, 2]));
            self.flag(missing_since.is_some());
            missing_since.iter().for_each(|at| self.age(*at, &[15]));
        }
    }

    fn actor(&mut self, actor: &Actor) {
        let at = actor.machine;
        self.number(at);
        match &actor.work {
            Work::Holder(uid) => self.kind(0, &uid.0),
            Work::Stray(_, uid) => self.kind(1, &uid.0),
            Work::PreReboot(caller) => self.kind(2, &caller.uid.0),
            Work::SteadyState(caller) => {
                self.kind(3, &caller.uid.0);
                self.time(at, caller.arrived);
            }
        }
        for flag in [actor.heard, actor.uncordoned, actor.pods_came, actor.drain.is_some()] {
            self.flag(flag);
        }
        actor.drain.iter().for_each(|term| self.term(*term));
        if self.stage.setup.view == View::Late && actor.seen.own_write().is_some() {
            self.bytes.extend(actor.marks_since.to_le_bytes());
        }
        if self.stage.setup.mutation.is_some() {
            self.byte(actor.pods_at_first);
        }
        let seen = &actor.seen;
        self.tenure(at, seen.tenure.as_ref());
        self.flag(seen.first.is_some());
        seen.first.iter().for_each(|first| self.tenure(at, first.as_ref()));
        let mut order = Vec::new();
        self.seen(&mut order, seen.lock.as_ref(), |key, lock| key.lock(lock));
        self.seen(&mut order, seen.mark.as_ref(), |key, mark| mark.iter().for_each(|mark| key.mark(at, mark)));
        self.seen(&mut order, seen.node.as_ref(), |key, node| node.iter().for_each(|node| key.node(at, node)));
        for fleet in [&seen.fleet, &seen.fleet_lately] {
            self.seen(&mut order, fleet.as_ref(), |key, fleet| fleet.members.iter().for_each(|member| key.member(member)));
        }
        let own = seen.own_write().and_then(|own| own.record.as_ref());
        self.flag(own.is_some_and(|record| record.drained.is_some()));
        self.flag(seen.own_write().is_some());
        self.seen(&mut order, seen.pods.as_ref(), |key, pods| key.number(pods.items().len()));
        self.seen(&mut order, seen.elsewhere.as_ref(), |key, elsewhere| key.flag(*elsewhere));
        self.seen(&mut order, seen.renamed.as_ref(), |key, renamed| key.flag(renamed.is_some()));
        // The order in which these were seen.
        let mut ranked: Vec<usize> = (0..order.len()).collect();
        ranked.sort_unstable_by_key(|fact| order[*fact]);
        ranked.into_iter().for_each(|fact| self.number(fact));
    }

    fn kind(&mut self, kind: u8, uid: &str) {
        self.byte(kind);
        self.text(uid);
    }

    fn seen<T>(&mut self, order: &mut Vec<u64>, seen: Option<&Seen<T>>, value: impl FnOnce(&mut Self, &T)) {
        self.flag(seen.is_some());
        if let Some(seen) = seen {
            order.push(seen.tick);
            self.flag(self.now.instant.saturating_duration_since(seen.at) > PROOF_AGE_MAX);
            let before = self.bytes.len();
            value(self, &seen.value);
            self.number(self.bytes.len() - before);
        }
    }

    fn tenure(&mut self, machine: usize, tenure: Option<&Tenure>) {
        self.flag(tenure.is_some());
        if let Some(tenure) = tenure {
            self.term(tenure.term);
            self.flag(tenure.checked_in);
            self.flag(tenure.approved.is_some());
            tenure.approved.iter().for_each(|at| self.time(machine, *at));
        }
    }

    fn flight(&mut self, flight: &Flight) {
        self.number(flight.machine);
        match &flight.change {
            Change::Lock { why, next, basis } => {
                self.byte(*why as u8);
                self.lock_state(next);
                self.lease(basis.as_ref());
            }
            Change::Node { why, patch } => {
                self.byte(64 + *why as u8);
                let NodePatch { status, record, unschedulable, .. } = patch;
                self.byte(*status as u8);
                self.record(record.as_ref());
                self.byte(unschedulable.map_or(2, u8::from));
            }
        }
    }

    fn term(&mut self, term: u64) {
        if self.gathers {
            self.terms.push(term);
        }
        let by_order = self.terms.binary_search(&term).unwrap_or_default();
        let number = if self.stage.setup.may.lease_deletions > 0 { usize::try_from(term).unwrap() } else { by_order };
        self.number(number);
    }

    fn time(&mut self, machine: usize, at: Timestamp) {
        if self.gathers {
            self.times.push((machine, at));
        }
        let first = self.times.partition_point(|(other, _)| *other < machine);
        let rank = self.times.binary_search(&(machine, at)).unwrap_or_default().saturating_sub(first);
        self.number(rank);
    }

    /// Which limits of the rules have passed since.
    fn age(&mut self, at: Timestamp, minutes: &[i64]) {
        let age = self.now.clock.duration_since(at);
        self.number(minutes.iter().filter(|limit| age >= SignedDuration::from_mins(**limit)).count());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes.extend(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.bytes.push(u8::try_from(number).unwrap());
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }
}
