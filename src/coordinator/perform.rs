//! The loop that performs the steps of the rules and decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use log::{Level, log, warn};

use super::drains::Drains;
use super::error::error_chain;
use super::node_cache::NodeCache;
use super::{Error, Readiness, Stop};
use crate::cluster::{LeaseVersion, Node};
use crate::drain::Ours;
use crate::fleetlock::answers_to;
use crate::kube::{ApiError, Kube};
use crate::lock::{LeasePatch, LockState, patch, read};
use crate::reboot::{Caller, Change, Fact, HeldTerm, Lock, Now, Observed, Outcome, Question, Step, Wait};
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;
use crate::system::{backoff, clock};

/// Maximum number of steps of a request. The longest sequence without a conflict has thirteen.
const STEPS_MAX: usize = 48;

/// Maximum time of a decision. After a longer time, as in a frozen replica, the client may be gone and the facts are old.
const DECISION_MAX: Duration = Duration::from_secs(60);

/// Maximum number of writes with an unknown outcome in one request.
const UNKNOWN_OUTCOMES_MAX: u32 = 3;

/// Maximum pause after a write that failed, or may have failed.
const AFTER_CONFLICT: Duration = Duration::from_millis(80);

/// Result of a decision.
pub(super) enum Decision {
    /// The answer.
    Answer(Outcome),
    /// The request must wait.
    Wait(Box<Waiting>),
}

/// Event for which a request must wait, and the state with which it is decided again.
pub(super) struct Waiting {
    pub(super) wait: Wait,
    pub(super) caller: Caller,
    pub(super) term: Option<HeldTerm>,
}

/// Performs the steps of requests and of the reconciler.
pub(super) struct Performer {
    pub(super) kube: Arc<Kube>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) node_cache: Arc<NodeCache>,
    pub(super) drains: Arc<Drains>,
    pub(super) stop: Arc<Stop>,
    pub(super) ours: Ours,
    /// `--slots`, which each write of the lock shows to the other replicas.
    pub(super) slots: usize,
    /// Warnings about requests that were logged lately.
    pub(super) repeats: Guarded<Repeats>,
}

impl Performer {
    /// Performs the steps of `next` until it answers or waits.
    pub(super) fn perform(
        &self,
        caller: &Caller,
        observed: &mut Observed,
        next: impl Fn(&Observed, Now) -> Step,
    ) -> Result<Decision, Error> {
        let begun = clock::now().instant;
        let mut unknown_outcomes = 0;
        for _ in 0..STEPS_MAX {
            let now = clock::now();
            if now.instant.saturating_duration_since(begun) > DECISION_MAX {
                return Err(Error::Contended);
            }
            match next(observed, now) {
                Step::Answer(outcome) => return Ok(Decision::Answer(outcome)),
                Step::Change(change) => self.change(caller, &change, observed, &mut unknown_outcomes)?,
                Step::Read(question) => self.read(caller, question, observed)?,
                Step::Wait(wait) => {
                    let waiting = Waiting { wait, caller: caller.clone(), term: observed.term.clone() };
                    return Ok(Decision::Wait(Box::new(waiting)));
                }
            }
        }
        Err(Error::Contended)
    }

    /// Reads a fact and records it.
    pub(super) fn read(&self, caller: &Caller, question: Question, observed: &mut Observed) -> Result<(), Error> {
        let at = clock::now().instant;
        let (kube, node) = (&self.kube, &caller.node);
        let fact = match question {
            Question::OtherHosts => Fact::OtherHosts(kube.hosts_besides(node)?),
            Question::Fleet => Fact::Fleet(self.node_cache.facts_since(observed.own_write.as_ref(), kube)?),
            Question::FleetCached => Fact::FleetCached(self.node_cache.cached_facts(kube)?),
            Question::Lock => Fact::Lock(read_lock(kube, &self.readiness)?),
            // For a marked node the rules ask for the whole Node next, so one read gets both.
            Question::Meta if self.node_cache.has_our_annotations(node) => {
                let node = kube.node(node)?;
                observed.record(Fact::Meta(node.as_ref().map(|node| node.meta.clone())), at);
                Fact::Node(node, None)
            }
            Question::Meta => Fact::Meta(kube.node_meta(node)?),
            Question::Node => Fact::Node(kube.node(node)?, None),
            Question::Pods => Fact::Pods(kube.pods_on(node, |pod| self.ours.is(pod))?),
            Question::Renamed => Fact::Renamed(self.renamed(caller, observed)?),
        };
        observed.record(fact, at);
        Ok(())
    }

    /// Writes, and records the result. After a conflict, or if the outcome is unknown, the object is forgotten, so that the next step
    /// reads it again.
    pub(super) fn change(
        &self,
        caller: &Caller,
        change: &Change,
        observed: &mut Observed,
        unknown_outcomes: &mut u32,
    ) -> Result<(), Error> {
        let now = clock::now();
        let result = match change {
            Change::Lock { why, next, basis } => {
                let written = write_lock(&self.kube, next, basis.as_ref(), self.slots);
                written.map(|lock| Fact::Lock(Lock { written: Some(*why), ..lock }))
            }
            Change::Node { why, patch } => {
                let before = self.node_cache.version();
                self.kube.patch_node(patch).map(|node| {
                    self.node_cache.check(before, &node.meta.version);
                    Fact::Node(Some(node), Some(*why))
                })
            }
        };
        match result {
            Ok(fact) => {
                let level = if change.is_routine() { Level::Debug } else { Level::Info };
                log!(level, node:% = caller.node; "node {}: {}", caller.node, change.purpose());
                observed.record(fact, now.instant);
                if let Some(lock) = &observed.lock {
                    self.drains.end_stale(&lock.value.state);
                }
                return Ok(());
            }
            Err(error @ ApiError::NotFound { .. }) if matches!(change, Change::Lock { basis: None, .. }) => return Err(error.into()),
            Err(error) => self.allow_retry(caller, error, unknown_outcomes)?,
        }
        // The other writer may not have finished.
        drop(self.stop.wait(AFTER_CONFLICT.mul_f64(backoff::jitter()), |stop| *stop));
        match change {
            Change::Lock { .. } => observed.forget_lock(),
            Change::Node { .. } => observed.forget_node(),
        }
        Ok(())
    }

    /// Finds the Node with the machine-id of a holder whose own Node is gone, in the view of the fleet.
    fn renamed(&self, caller: &Caller, observed: &Observed) -> Result<Option<Node>, Error> {
        let holder = observed.lock.as_ref().and_then(|lock| lock.value.state.holder(&caller.uid));
        let Some(id) = holder.and_then(|holder| holder.machine) else { return Ok(None) };
        let Some(name) = self.node_cache.find_cached(id) else { return Ok(None) };
        Ok(self.kube.node(&name)?.filter(|node| node.machine_id.is_some_and(|machine| answers_to(machine, id))))
    }

    /// Returns `Ok` if the request may read again and continue after this failed write, else the error.
    fn allow_retry(&self, caller: &Caller, error: ApiError, unknown_outcomes: &mut u32) -> Result<(), Error> {
        match error {
            ApiError::Conflict { .. } | ApiError::NotFound { .. } => Ok(()),
            ApiError::Refused { .. } => Err(error.into()),
            _ if *unknown_outcomes < UNKNOWN_OUTCOMES_MAX => {
                *unknown_outcomes += 1;
                let message = error_chain(&error);
                if self.repeats.lock().due(&message, clock::now().instant).is_some() {
                    warn!(node:% = caller.node; "{message}; reading again");
                }
                Ok(())
            }
            _ => Err(error.into()),
        }
    }
}

/// Writes the lock over the version `basis`; `None`: the Lease does not exist yet. Returns the lock as written, with `slots` of this
/// replica.
pub(super) fn write_lock(kube: &Kube, next: &LockState, basis: Option<&LeaseVersion>, slots: usize) -> Result<Lock, ApiError> {
    let state = LockState { slots: Some(slots), ..next.clone() };
    let LeasePatch(patch) = patch(&state, basis.map(|version| &version.version), clock::now().clock);
    let lease = kube.write_lease(&patch, basis.is_none())?;
    Ok(Lock { state, version: Some(lease.version), written: None })
}

/// Reads the lock from the Lease.
pub(super) fn read_lock(kube: &Kube, readiness: &Readiness) -> Result<Lock, Error> {
    let lease = kube.lease()?;
    readiness.lease_was_read();
    Ok(match lease {
        None => Lock { state: LockState::default(), version: None, written: None },
        Some(lease) => Lock { state: read(&lease)?, version: Some(lease.version), written: None },
    })
}
