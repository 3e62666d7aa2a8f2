//! Distinguishes two states, without anything that no rule can see.
//!
//! - A resourceVersion matters only by whether it is still the current one.
//! - Terms matter only by their order, so they are numbered by it; except where a Lease is deleted, whose successor
//!   counts from 1 again.
//! - Of times matter: the order of approvals and arrivals of one node, and which of the rules' limits has passed
//!   (a minute, two minutes; of a Node that is gone, a quarter of an hour; for proofs, whether a minute has passed at all).
//! - It does not matter in which order the requests are listed.
//!
//! Every value is taken apart without `..`: a new field does not compile until it is listed here, with what it adds or why it adds
//! nothing.

use std::fmt::Debug;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use reboot_manager::cluster::{CordonRecord, LeaseVersion, Member, Node, NodeMeta, NodePatch, Term, Waiting};
use reboot_manager::lock::{Approved, Deferral, Holder, LockState, Place};
use reboot_manager::reboot::{Caller, Change, FleetFacts, HeldTerm, Lock, Now, Observed, PROOF_AGE_MAX, Reading};

use crate::actor::{Actor, Work};
use crate::setup::Event;
use crate::world::{Flight, Machine, Stage, World};

fn is_queue(world: &World) -> bool {
    let has_seen = |actor: &Rc<Actor>| {
        let Observed { fleet, fleet_cached, .. } = &actor.observed;
        [fleet, fleet_cached].into_iter().flatten().any(|fleet| !fleet.value.queue.is_empty())
    };
    world.machines.iter().any(|machine| machine.node.as_ref().is_some_and(|node| node.meta.waiting.is_some()))
        || world.actors.iter().any(has_seen)
}

/// Gathers terms and times first, then writes.
pub(crate) struct Key<'a> {
    stage: &'a Stage,
    world: &'a World,
    now: Now,
    gathers: bool,
    /// Times count in minutes, and not only by the limits that have passed.
    exact: bool,
    /// A node waits for a slot, or a request has seen one wait.
    is_queue: bool,
    /// Arrival of the request whose facts are listed.
    arrived: Option<Timestamp>,
    terms: Vec<u64>,
    /// The machine, and a time that is compared with others of it.
    times: Vec<(usize, Timestamp)>,
    bytes: Vec<u8>,
}

impl<'a> Key<'a> {
    pub(crate) fn of(stage: &'a Stage, world: &'a World) -> Vec<u8> {
        Self::bytes(stage, world, false)
    }

    /// Distinguishes also states of which one is some minutes older.
    pub(crate) fn exact(stage: &'a Stage, world: &'a World) -> Vec<u8> {
        Self::bytes(stage, world, true)
    }

    fn bytes(stage: &'a Stage, world: &'a World, exact: bool) -> Vec<u8> {
        let now = stage.now(world);
        let mut key = Key {
            stage,
            world,
            now,
            gathers: true,
            exact,
            is_queue: is_queue(world),
            arrived: None,
            terms: Vec::with_capacity(16),
            times: Vec::with_capacity(16),
            bytes: Vec::with_capacity(1_024),
        };
        key.world();
        key.terms.sort_unstable();
        key.terms.dedup();
        key.times.sort_unstable();
        key.times.dedup();
        key.gathers = false;
        key.world();
        key.bytes
    }

    fn world(&mut self) {
        // What is counted only makes names and times that differ from all others.
        let World {
            machines,
            lock,
            actors,
            flights,
            may,
            older,
            older_rightly,
            lease_deleted,
            annotation_lost,
            leases: _,
            minutes: _,
            moment: _,
            versions: _,
            slots: _,
            broken,
        } = self.world;
        may.0.into_iter().for_each(|left| self.number(left));
        self.number(*older as u8);
        for flag in [*older_rightly, *lease_deleted, *annotation_lost, broken.is_some()] {
            self.number(flag);
        }
        self.lock(lock);
        for (at, machine) in machines.iter().enumerate() {
            self.machine(at, machine);
        }
        self.sorted(actors.len(), |key, at| key.actor(&actors[at]));
        self.sorted(flights.len(), |key, at| key.flight(&flights[at]));
    }

    /// Several parts whose order does not matter.
    fn sorted(&mut self, count: usize, part: impl Fn(&mut Self, usize)) {
        if self.gathers || count < 2 {
            self.number(count);
            return (0..count).for_each(|at| part(self, at));
        }
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
        let Machine { node, client, pods, wants, cordoned, out, kept, boots, approved_boots: _, generation, failure } = machine;
        for part in [*client as u8, *pods, *wants, *boots, *generation, *failure as u8] {
            self.number(part);
        }
        for flag in [*cordoned, *out, *kept, (*out || *kept) && machine.has_rebooted()] {
            self.number(flag);
        }
        self.some(node.as_ref(), |key, node| key.node(at, node));
    }

    fn node(&mut self, machine: usize, node: &Node) {
        // The others never change here.
        let Node {
            meta,
            unschedulable,
            machine_id: _,
            boot_id,
            readiness,
            readiness_since,
            heartbeat: _,
            os_image: _,
            control_plane: _,
            addresses: _,
            gateways: _,
            recorded: _,
        } = node;
        self.meta(machine, meta);
        self.number(*unschedulable);
        self.text(boot_id);
        self.number(*readiness as u8);
        self.some(readiness_since.as_ref(), |key, since| key.age(*since, &[1, 5]));
    }

    fn meta(&mut self, machine: usize, meta: &NodeMeta) {
        let NodeMeta { name: _, uid, version, status, record, waiting } = meta;
        let current = self.world.node(machine).is_some_and(|node| node.meta.version == *version);
        self.number(current);
        self.text(&uid.0);
        self.number(*status as u8);
        self.record(record.as_ref());
        self.some(waiting.as_ref(), |key, Waiting { since, reason }| {
            key.text(reason);
            key.place(*since);
        });
    }

    /// A place in the queue: its order among all, and whether it is lost.
    fn place(&mut self, since: Timestamp) {
        self.number(self.world.lock.state.has_passed(since));
        self.age(since, &[11]);
        self.time(self.stage.names.len(), since);
    }

    fn member(&mut self, member: &Member) {
        // No rule asks for the others.
        let Member {
            name,
            uid: _,
            version: _,
            machine_id: _,
            boot_id: _,
            readiness,
            readiness_since: _,
            unschedulable,
            status,
            record,
            waiting: _,
            control_plane,
            zone: _,
            os_image: _,
        } = member;
        self.text(name.as_str());
        self.number(*status as u8);
        self.number(*readiness as u8);
        self.number(*unschedulable);
        self.number(*control_plane);
        self.record(record.as_deref());
    }

    fn record(&mut self, record: Option<&CordonRecord>) {
        self.some(record, |key, CordonRecord { before, term: Term { lease, term }, drained }| {
            key.number(*before as u8);
            key.text(&lease.0);
            key.term(*term);
            // When that was, no rule asks.
            key.number(drained.is_some());
        });
    }

    fn lease(&mut self, version: Option<&LeaseVersion>) {
        self.number(version == self.world.lock.version.as_ref());
        self.some(version, |key, LeaseVersion { uid, version: _ }| key.text(&uid.0));
    }

    fn lock(&mut self, lock: &Lock) {
        let Lock { state, version, written } = lock;
        self.lease(version.as_ref());
        self.some(written.as_ref(), |key, written| key.text(&format!("{written:?}")));
        self.lock_state(state);
    }

    fn lock_state(&mut self, state: &LockState) {
        // No actor here writes fields of a later version.
        let LockState { last_term, holders, deferrals, freed, passed, slots: _, extra: _ } = state;
        self.term(*last_term);
        for Deferral { node, reason: _, count, since: _, until, detail: _ } in deferrals {
            self.text(node.as_str());
            self.number(u8::try_from(*count).unwrap_or(u8::MAX));
            let left = until.duration_since(self.now.clock).as_mins().clamp(0, i64::from(u16::MAX));
            self.bytes.extend(u16::try_from(left).unwrap().to_le_bytes());
        }
        // Longer than any request gives way. While no slot is free or no node waits, the time does not matter: it will be another one when a
        // slot is free for a node that waits. Which places are lost is with each place.
        let matters = self.exact || (self.is_queue && holders.len() < self.stage.setup.slots);
        self.some(freed.as_ref().filter(|_| matters), |key, freed| {
            key.age(*freed, &[11]);
            key.number(key.arrived.is_some_and(|arrived| arrived < *freed));
        });
        if matters {
            let waiting = self.world.machines.iter().filter_map(|machine| machine.node.as_ref()?.meta.waiting.as_ref());
            for Waiting { since, reason: _ } in waiting {
                self.number(passed.is_some_and(|passed| *since <= passed));
                self.number(freed.is_some_and(|freed| *since < freed));
            }
        }
        self.number(holders.len());
        for holder in holders {
            // Its group, role and machine-id are those of its node.
            // Of the drain only a standstill matters.
            let Holder {
                node,
                uid,
                group: _,
                term,
                since,
                control_plane: _,
                machine: _,
                os_image: _,
                unreported,
                approved,
                checked_in,
                never_checked_in: _,
                missing_since,
                returned,
                asked,
                drain,
                extra: _,
            } = holder;
            let gives_back = self.exact || self.stage.setup.gives_back;
            self.number(*unreported);
            if approved.is_none() {
                self.age(asked.unwrap_or(*since), if gives_back { &[1, 18] } else { &[1] });
                let idle = drain.as_ref().map_or(0, |report| report.idle);
                if self.exact {
                    self.minutes(SignedDuration::from_secs(idle));
                }
                self.number(idle > 0);
            }
            self.some(returned.as_ref(), |key, at| key.age(*at, &[10]));
            let machine = self.stage.names.iter().position(|name| name == node).unwrap();
            self.number(machine);
            self.text(&uid.0);
            self.term(*term);
            self.age(*since, if gives_back { &[1, 2, 5, 30] } else { &[1, 2] });
            self.some(approved.as_ref(), |key, approved| {
                let Approved { at, boot, first: _, unsure } = approved;
                key.number(*unsure);
                key.time(machine, *at);
                if gives_back {
                    key.age(approved.first(), &[60]);
                }
                key.text(boot);
            });
            self.some(checked_in.as_ref(), |key, at| key.age(*at, &[1, 2, 5]));
            self.some(missing_since.as_ref(), |key, at| key.age(*at, &[15]));
        }
    }

    /// Lists whether the request would give way for a shorter time if it read the lock now.
    fn lock_freed(&mut self) {
        let state = &self.world.lock.state;
        let matters = self.is_queue && state.holders.len() < self.stage.setup.slots;
        let arrived = self.arrived;
        self.number(matters && state.freed.is_some_and(|freed| arrived.is_some_and(|arrived| arrived < freed)));
    }

    fn actor(&mut self, actor: &Actor) {
        let Actor { work, machine, observed, heard, drain, marks_since, uncordoned, pods_came, pods_at_first } = actor;
        self.number(*machine);
        self.arrived = match work {
            Work::PreReboot(caller) => Some(caller.arrived),
            _ => None,
        };
        self.work(*machine, work);
        for flag in [*heard, *uncordoned, *pods_came] {
            self.number(flag);
        }
        self.some(drain.as_ref(), |key, term| key.term(*term));
        if self.stage.setup.late && observed.own_write.is_some() {
            self.bytes.extend(marks_since.to_le_bytes());
        }
        if self.stage.setup.mutation.is_some() {
            self.number(*pods_at_first);
        }
        self.observed(*machine, observed);
    }

    fn work(&mut self, machine: usize, work: &Work) {
        match work {
            Work::Holder(_uid) => self.number(0),
            // Its name is that of its machine.
            Work::Orphan(_name, _uid) => self.number(1),
            Work::Waiter(_uid) => self.number(4),
            // A request that waited when a slot was freed gives way for a shorter time: see the lock.
            Work::PreReboot(Caller { node: _, uid: _, id: _, group: _, arrived }) => {
                self.number(2);
                self.lock_freed();
                self.time(machine, *arrived);
            }
            Work::SteadyState(Caller { node: _, uid: _, id: _, group: _, arrived }) => {
                self.number(3);
                self.time(machine, *arrived);
            }
        }
        self.text(&work.uid().0);
    }

    fn observed(&mut self, machine: usize, observed: &Observed) {
        // `uid` is that of the work. Of the own write the rules ask for the record; only the watch needs the version.
        let Observed { uid: _, ticks: _, own_write, term, first, other_hosts, fleet, fleet_cached, lock, meta, node, pods, renamed } =
            observed;
        self.some(own_write.as_ref(), |key, own| key.record(own.record.as_ref()));
        self.some(term.as_ref(), |key, held| key.held_term(machine, held));
        self.some(first.as_ref(), |key, first| key.some(first.as_ref(), |key, held| key.held_term(machine, held)));
        let mut order = Vec::new();
        self.reading(&mut order, lock.as_ref(), |key, lock| key.lock(lock));
        self.reading(&mut order, meta.as_ref(), |key, meta| key.some(meta.as_ref(), |key, meta| key.meta(machine, meta)));
        self.reading(&mut order, node.as_ref(), |key, node| key.some(node.as_ref(), |key, node| key.node(machine, node)));
        for fleet in [fleet, fleet_cached] {
            self.reading(&mut order, fleet.as_ref(), |key, FleetFacts { members, queue }| {
                members.iter().for_each(|member| key.member(member));
                for Place { since, node } in queue {
                    key.text(node.as_str());
                    key.place(*since);
                }
            });
        }
        self.reading(&mut order, pods.as_ref(), |key, pods| key.number(pods.items().len()));
        self.reading(&mut order, other_hosts.as_ref(), |key, other_hosts| key.text(&format!("{other_hosts:?}")));
        // No Node is registered under another name here.
        self.reading(&mut order, renamed.as_ref(), |key, renamed| key.number(renamed.is_some()));
        // The order in which these were seen.
        let mut ranked: Vec<usize> = (0..order.len()).collect();
        ranked.sort_unstable_by_key(|fact| order[*fact]);
        ranked.into_iter().for_each(|fact| self.number(fact));
    }

    fn some<T>(&mut self, value: Option<&T>, part: impl FnOnce(&mut Self, &T)) {
        self.number(value.is_some());
        if let Some(value) = value {
            part(self, value);
        }
    }

    fn reading<T>(&mut self, order: &mut Vec<u64>, observed: Option<&Reading<T>>, part: impl FnOnce(&mut Self, &T)) {
        self.some(observed, |key, Reading { value, tick, at }| {
            order.push(*tick);
            key.number(key.now.instant.saturating_duration_since(*at) > PROOF_AGE_MAX);
            let before = key.bytes.len();
            part(key, value);
            key.number(key.bytes.len() - before);
        });
    }

    fn held_term(&mut self, machine: usize, held: &HeldTerm) {
        let HeldTerm { term, approved, checked_in } = held;
        self.term(*term);
        self.number(*checked_in);
        self.some(approved.as_ref(), |key, at| key.time(machine, *at));
    }

    fn flight(&mut self, flight: &Flight) {
        let Flight { machine, change } = flight;
        self.number(*machine);
        match change {
            Change::Lock { why, next, basis } => {
                self.text(&format!("{why:?}"));
                self.lock_state(next);
                self.lease(basis.as_ref());
            }
            Change::Node { why, patch } => {
                self.number(64 + *why as u8);
                // A write whose version is not the current one is forgotten.
                let NodePatch { name: _, version: _, status, record, waiting, unschedulable } = patch;
                self.number(status.map_or(u8::MAX, |status| status as u8));
                self.some(waiting.as_ref(), |key, Waiting { since, reason }| {
                    key.text(reason);
                    key.place(*since);
                });
                self.record(record.as_ref());
                self.number(unschedulable.map_or(2, u8::from));
            }
        }
    }

    fn term(&mut self, term: u64) {
        if self.gathers {
            self.terms.push(term);
        }
        let by_order = self.terms.binary_search(&term).unwrap_or_default();
        let number = if self.stage.setup.may.left(Event::LeaseDeletion) > 0 { usize::try_from(term).unwrap() } else { by_order };
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

    /// Limits of the rules that have passed since a moment.
    fn age(&mut self, at: Timestamp, minutes: &[i64]) {
        let age = self.now.clock.duration_since(at);
        if self.exact {
            return self.minutes(age);
        }
        self.number(minutes.iter().filter(|limit| age >= SignedDuration::from_mins(**limit)).count());
    }

    /// A time in whole minutes; from an hour on all are equal, because no limit of the rules is longer.
    fn minutes(&mut self, time: SignedDuration) {
        self.number(u8::try_from(time.as_mins().clamp(0, 61)).unwrap());
    }

    fn text(&mut self, text: &str) {
        if !self.gathers {
            self.number(text.len());
            self.bytes.extend(text.as_bytes());
        }
    }

    fn number(&mut self, number: impl TryInto<u8, Error: Debug>) {
        if !self.gathers {
            self.bytes.push(number.try_into().unwrap());
        }
    }
}
