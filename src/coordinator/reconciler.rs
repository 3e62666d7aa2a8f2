//! The thread that performs `reboot::reconcile`: for holders every few seconds, for all marked nodes every few minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log::{Level, debug, info, log, warn};

use super::Error;
use super::error::error_chain;
use super::perform::{Performer, read_lock};
use super::request::Requests;
use crate::cluster::{HexId, Member, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::lock::{Capacity, Holder, KeepReason, LockState, Place, Times};
use crate::metrics::Metrics;
use crate::reboot::reconcile::{self, Step};
use crate::reboot::{Caller, Lock, Now, Observed};
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;
use crate::system::{backoff, clock, threads};

/// Time between two checks of the holders, which read the Lease and one Node for each holder.
const HOLDERS_EVERY: Duration = Duration::from_secs(10);

/// Number of rounds between two searches for marked nodes without a slot. Without a watch, a search may read a list.
const ROUNDS_A_SCAN: u32 = 30;

/// Steps for one node in one round.
const STEPS_MAX: usize = 12;

/// Finishes what a crash or an administrator has interrupted, if no request does.
pub(super) struct Reconciler {
    pub(super) requests: Arc<Requests>,
    pub(super) performer: Arc<Performer>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) capacity: Capacity,
    pub(super) times: Times,
    /// Reason for which each holder kept its slot when it was logged last.
    pub(super) kept: Guarded<HashMap<Uid, KeepReason>>,
    /// Another replica's `--slots`, if it differs and was logged.
    pub(super) other_slots: Guarded<Option<usize>>,
    pub(super) repeats: Guarded<Repeats>,
}

impl Reconciler {
    /// Runs until the process stops. The first round searches at once, because a former replica may have crashed.
    pub(super) fn run(&self) {
        let Performer { kube, readiness, stop, .. } = &*self.performer;
        for round in 0u32.. {
            readiness.check_rights(kube);
            if let Err(error) = threads::on_fresh_stack(|| self.round(round)) {
                let message = format!("reconcile failed, will retry: {}", error_chain(&error));
                if self.is_new(&message) {
                    warn!("{message}");
                }
            }
            if *stop.wait(HOLDERS_EVERY.mul_f64(0.8 + 0.4 * backoff::jitter()), |stop| *stop) {
                return;
            }
        }
    }

    fn round(&self, round: u32) -> Result<(), Error> {
        let lock = self.holders()?;
        let is_scan = round.is_multiple_of(ROUNDS_A_SCAN);
        self.namespace(lock.version.is_some(), is_scan);
        if is_scan { self.orphans(&lock.state) } else { Ok(()) }
    }

    /// Checks that the namespace exists, if there is no Lease yet: in each search, and in each round until it is known to exist.
    fn namespace(&self, has_lease: bool, is_scan: bool) {
        let Performer { kube, readiness, .. } = &*self.performer;
        if readiness.has_namespace() && (has_lease || !is_scan) {
            return;
        }
        match if has_lease { Ok(true) } else { kube.has_namespace() } {
            Ok(exists) => readiness.namespace_was_checked(kube.namespace(), exists),
            // Not every webhook takes a dry run, and a missing right is reported by the check of the rights: tried again at the next search.
            Err(error) => {
                debug!("the namespace is not checked: {}", error_chain(&error));
                readiness.namespace_was_checked(kube.namespace(), true);
            }
        }
    }

    /// Reconciles the holders. Returns the lock as it was read before.
    fn holders(&self) -> Result<Lock, Error> {
        let Performer { kube, readiness, .. } = &*self.performer;
        let lock = read_lock(kube, readiness).inspect_err(|error| readiness.lease_was_not_read(error))?;
        self.metrics.slots(self.capacity, &lock.state);
        self.compare_slots(&lock.state);
        self.kept.lock().retain(|uid, _| lock.state.holder(uid).is_some());
        self.requests.forget_reports(&lock.state);
        for holder in &lock.state.holders {
            let (node, uid) = (&holder.node, &holder.uid);
            match self.node(node, uid, |observed, now| reconcile::holder(uid, observed, &self.times, now.clock)) {
                Some(why) => {
                    self.log_kept(holder, why);
                    if matches!(why, KeepReason::Draining | KeepReason::Blocked) {
                        self.requests.take_over(holder);
                    }
                }
                // If the slot was given back before its node was back in service, annotation and cordon are removed now.
                None => _ = self.node(node, uid, |observed, now| reconcile::orphan(node, uid, observed, now.clock)),
            }
        }
        Ok(lock)
    }

    /// Logs once if another replica runs with another `--slots`, as during a rolling update.
    fn compare_slots(&self, lock: &LockState) {
        let (own, other) = (self.capacity.slots, lock.slots.filter(|slots| *slots != self.capacity.slots));
        let mut logged = self.other_slots.lock();
        if let Some(other) = other.filter(|other| *logged != Some(*other)) {
            warn!("this replica runs with --slots {own}, and another one with --slots {other}; use one number for all");
        }
        *logged = other;
    }

    /// Logs why a holder keeps its slot, if the reason has changed.
    fn log_kept(&self, holder: &Holder, why: KeepReason) {
        if self.kept.lock().insert(holder.uid.clone(), why) == Some(why) {
            return;
        }
        let level = if why == KeepReason::ApprovedForLong { Level::Warn } else { Level::Info };
        let state = holder.state(&self.times, why == KeepReason::RebootedNotReady);
        log!(level, node:% = holder.node, group:% = holder.group; "node {} keeps its slot: it {why} ({state})", holder.node);
    }

    fn orphans(&self, lock: &LockState) -> Result<(), Error> {
        let Performer { kube, node_cache, .. } = &*self.performer;
        let facts = node_cache.cached_facts(kube)?;
        let now = clock::now().clock;
        for Place { since, node } in facts.queue {
            if lock.is_abandoned(since, self.capacity.room(&lock.holders), now) {
                _ = self.node(&node, &Uid::default(), |observed, now| reconcile::waiter(observed, self.capacity, now.clock));
            }
        }
        for member in facts.members.into_iter().filter(Member::has_our_annotations) {
            let (name, uid) = (&member.name, Uid(member.uid.to_string()));
            if member.record.is_none() {
                info!(node:% = name; "node {name} is marked Rebooting by hand or by another manager; it counts as unavailable");
                continue;
            }
            _ = self.node(name, &uid, |observed, now| reconcile::orphan(name, &uid, observed, now.clock));
        }
        Ok(())
    }

    /// Performs `next`, and logs an error. Returns the reason if a slot is kept.
    fn node(&self, node: &NodeName, uid: &Uid, next: impl Fn(&Observed, Now) -> Step) -> Option<KeepReason> {
        self.steps(node, uid, next).unwrap_or_else(|error| {
            let message = format!("cannot reconcile node {node}: {}", error_chain(&error));
            if self.is_new(&message) {
                warn!(node:% = node; "{message}");
            }
            None
        })
    }

    /// Reports whether `line` has not been logged in the last minute.
    fn is_new(&self, line: &str) -> bool {
        self.repeats.lock().due(line, clock::now().instant).is_some()
    }

    /// Performs `next` until nothing is left to do. Returns the reason if a slot is kept.
    fn steps(&self, node: &NodeName, uid: &Uid, next: impl Fn(&Observed, Now) -> Step) -> Result<Option<KeepReason>, Error> {
        let Some(group) = GroupName::parse("reconcile") else { return Ok(None) };
        let caller = Caller { node: node.clone(), uid: uid.clone(), id: HexId([0; 16]), group, arrived: clock::now().clock };
        let mut observed = Observed::new(uid.clone(), None);
        let mut unknown_outcomes = 0;
        for _ in 0..STEPS_MAX {
            match next(&observed, clock::now()) {
                Step::Change(change) => self.performer.change(&caller, &change, &mut observed, &mut unknown_outcomes)?,
                Step::Done(why) => return Ok(why),
                Step::Read(question) => self.performer.read(&caller, question, &mut observed)?,
            }
        }
        Ok(None)
    }
}
