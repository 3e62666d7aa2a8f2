//! Drains one node: lists its pods and sends the evictions that are due, until no pod is left or its slot is no longer held.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{Level, info, log, warn};

use super::drains::Drains;
use super::error::error_chain;
use super::held::HeldRequests;
use super::perform::{read_lock, write_lock};
use super::{Error, Readiness};
use crate::cluster::{Hosts, NodeName, Pod, Uid};
use crate::drain::{Advance, CallError, DrainPlan, Eviction, EvictionError, Ours, Progress, Schedule, Standstill, classify};
use crate::fleetlock::Kind;
use crate::kube::{ApiError, Kube};
use crate::lock::{BlockedDrain, DrainReport, DrainView, Holder, LastReport, Part, REPORT_EVERY};
use crate::metrics::Metrics;
use crate::reboot::{Caller, Drain, Lock};
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;
use crate::system::{backoff, clock, threads};

/// Maximum time between two lists of the pods of a draining node that is not in a standstill.
const LIST_EVERY: Duration = Duration::from_millis(500);

/// Time for which a list of pods is used after it was read.
const LIST_AGE_MAX: Duration = Duration::from_secs(1);

/// Time between lists while the API server does not answer.
const LIST_EVERY_ON_ERROR: Duration = Duration::from_secs(2);

/// Minimum time between two reads of the nodes that may run our own pods, because a list of nodes is expensive.
const OTHER_HOSTS_AGE_MAX: Duration = Duration::from_secs(30);

/// Minimum time between two reads of the Node, to notice that an administrator uncordoned it.
const NODE_EVERY: Duration = Duration::from_secs(10);

/// Maximum number of pods that came back in the log of one drain. A controller whose pods fail on the cordoned node creates new ones
/// without end.
const CAME_BACK_LOGGED_MAX: usize = 20;

/// Number of different errors and refusals of one drain that are logged in a minute.
const REFUSALS_LOGGED_MAX: usize = 100;

/// Number of evictions in flight. With one at a time, the delays of the API server add up.
const EVICTIONS_AT_ONCE: usize = 4;

/// Dependencies that all drains of this replica share.
pub(super) struct Drainer {
    pub(super) kube: Arc<Kube>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) ours: Ours,
    pub(super) held: Arc<HeldRequests>,
    /// Name of this replica, which no other has.
    pub(super) replica: String,
    /// `--slots`.
    pub(super) slots: usize,
}

/// A running drain.
struct NodeDrain<'a> {
    drainer: &'a Drainer,
    drains: &'a Drains,
    node: &'a NodeName,
    uid: &'a Uid,
    drain: &'a Drain,
    schedule: Guarded<Schedule>,
    standstill: Standstill,
    advance: Advance,
    /// Time of the last read of the Node.
    node_read: Option<Instant>,
    /// Other nodes that may run our own pods, with the time of the read.
    other_hosts: Option<(Instant, Hosts)>,
    /// Pods that came back and were logged.
    logged: BTreeSet<Uid>,
    /// The drain as this replica sees it, since its last report.
    view: DrainView,
    /// The last report of another replica.
    last_report: LastReport,
    has_begun: bool,
    repeats: Guarded<Repeats>,
}

/// Result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// No pod is left, or the node was uncordoned: the request is decided again.
    DecideAgain,
    /// The slot is no longer held under this term.
    TermOver,
}

impl Drainer {
    /// Drains the node of `caller`, whose drain must be listed in `drains`.
    pub(super) fn run(&self, drains: &Drains, caller: &Caller, drain: &Drain) -> End {
        let (node, uid) = (&caller.node, &caller.uid);
        let (schedule, standstill, logged) = (Guarded::default(), Standstill::default(), BTreeSet::new());
        // A request has just seen the cordon; a drain of another replica has no such request.
        let node_read = (drain.plan.left() > 0).then(|| clock::now().instant);
        let (other_hosts, advance, view) = (None, Advance::default(), DrainView::default());
        NodeDrain {
            drainer: self,
            drains,
            node,
            uid,
            drain,
            schedule,
            standstill,
            advance,
            node_read,
            other_hosts,
            logged,
            view,
            last_report: LastReport::default(),
            has_begun: false,
            repeats: Guarded::new(Repeats::new(REFUSALS_LOGGED_MAX)),
        }
        .run()
    }

    fn evict(&self, pod: &Pod) -> Eviction {
        let eviction = match self.kube.evict(&pod.key, &pod.uid) {
            Ok(()) => Eviction::Evicted,
            Err(error) => classify(&pod.key, &eviction_error(pod, &error)),
        };
        self.metrics.eviction(&eviction);
        eviction
    }
}

impl NodeDrain<'_> {
    fn run(&mut self) -> End {
        loop {
            let pause = match self.round() {
                Ok(ControlFlow::Break(end)) => return end,
                Ok(ControlFlow::Continue(rest)) => rest,
                Err(error) => {
                    let is_refused = error.kind() == Kind::KubernetesRefused;
                    let progress = Progress::failed(CallError { is_refused, message: error_chain(&error) });
                    if self.is_new(&progress.to_string()) {
                        warn!(node:% = self.node; "node {} {progress}", self.node);
                    }
                    self.view.blocked = Some(progress.to_string());
                    self.record(progress);
                    self.report_now();
                    LIST_EVERY_ON_ERROR
                }
            };
            if self.pause(pause) {
                return End::TermOver;
            }
        }
    }

    /// Pauses, and reports the drain meanwhile. Returns `true`, at once, if the drain must end.
    fn pause(&mut self, mut pause: Duration) -> bool {
        let part_max = REPORT_EVERY.unsigned_abs();
        loop {
            let part = pause.min(part_max);
            if self.drains.pause(self.uid, self.drain.term, part) {
                return true;
            }
            pause -= part;
            if pause.is_zero() {
                return false;
            }
            self.report_now();
        }
    }

    /// Reads the Lease and reports. An error is noticed by the next round.
    fn report_now(&mut self) {
        let _ = self.held().and_then(|held| held.map_or(Ok(()), |(lock, holder)| self.report(&lock, &holder)));
    }

    /// Lists the pods and sends the evictions that are due. Returns the pause until the next list.
    fn round(&mut self) -> Result<ControlFlow<End, Duration>, Error> {
        // The Lease is read each time, because another replica may have freed the slot.
        let Some((lock, holder)) = self.held()? else { return Ok(ControlFlow::Break(End::TermOver)) };
        let now = clock::now();
        // A drain that continues that of another replica may find its node uncordoned.
        if self.node_read.is_none_or(|read| now.instant.saturating_duration_since(read) >= NODE_EVERY) {
            self.node_read = Some(now.instant);
            if !self.is_cordoned(&lock)? {
                return Ok(ControlFlow::Break(End::DecideAgain));
            }
        }
        let plan = self.plan()?;
        self.log_came_back(&plan);
        if plan.is_empty() {
            info!(node:% = self.node; "node {}: no pod is left to evict", self.node);
            return Ok(ControlFlow::Break(End::DecideAgain));
        }
        self.schedule.lock().forget_gone(&plan);
        self.know_blocked(&holder);
        let leads = self.last_report.part(&holder, &self.drainer.replica, now.instant) == Part::Lead;
        let evicted = leads && self.evict_due(&plan)?;
        let now = clock::now();
        let mut progress = Progress::of(&plan, &self.schedule.lock(), now.clock);
        if !leads {
            progress.elsewhere =
                holder.drain.as_ref().and_then(|report| report.blocked.as_ref()).map(|blocked| (blocked.since, blocked.by.clone()));
        }
        let pause = self.standstill.pause(&plan, evicted, now.instant);
        self.view.moves |= self.advance.moves(&plan, self.drain.since, now.clock);
        self.view.blocked = progress.is_blocked().then(|| progress.to_string());
        self.report(&lock, &holder)?;
        self.record(progress);
        let limit = if leads { self.schedule.lock().rest(&plan, now.instant, LIST_EVERY) } else { LIST_EVERY };
        Ok(ControlFlow::Continue(limit.max(pause)))
    }

    /// Takes over since when another replica has reported the drain as blocked, before the first eviction of this one.
    fn know_blocked(&mut self, holder: &Holder) {
        if !std::mem::replace(&mut self.has_begun, true)
            && let Some(BlockedDrain { since, by }) = holder.drain.as_ref().and_then(|report| report.blocked.as_ref())
        {
            self.schedule = Guarded::new(Schedule::continuing(*since, by));
        }
    }

    /// Reports the drain in the Lease if this replica leads it and it is time. Otherwise records that a request waits here, if one does.
    fn report(&mut self, lock: &Lock, holder: &Holder) -> Result<(), Error> {
        let (Drainer { kube, replica, slots, .. }, now) = (self.drainer, clock::now());
        let (part, now) = (self.last_report.part(holder, replica, now.instant), now.clock);
        self.view.held = self.drainer.held.holds(self.uid);
        let next = match part {
            Part::Lead => {
                let Some(report) = DrainReport::next(holder, replica, &self.view, now) else { return Ok(()) };
                if holder.drain.as_ref().is_none_or(|before| before.replica != *replica) {
                    info!(node:% = self.node; "node {}: this replica continues the drain", self.node);
                }
                lock.state.report(self.uid, report, self.view.held)
            }
            Part::Follow if self.view.held && holder.is_ask_due(now) => lock.state.ask(self.uid, now),
            Part::Follow => return Ok(()),
        };
        match write_lock(kube, &next, lock.version.as_ref(), *slots) {
            Ok(_) => self.view.moves = false,
            // The lock has changed since it was read. The next round reads it again.
            Err(ApiError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Evicts by this plan on several threads, until no eviction is due or the plan is old. Reports whether one was granted.
    fn evict_due(&self, plan: &DrainPlan) -> Result<bool, Error> {
        let listed = clock::now().instant;
        let is_terminating = !plan.terminating.is_empty();
        if !self.schedule.lock().rest(plan, listed, LIST_EVERY).is_zero() {
            return Ok(false);
        }
        let evict = || -> Result<bool, Error> {
            let mut evicted = false;
            while clock::now().instant.saturating_duration_since(listed) < LIST_AGE_MAX {
                // A refused eviction changes nothing, so a blocked drain saves this read. Once pods are terminating, each eviction needs it.
                if !self.drains.is_running(self.uid, self.drain.term) || ((is_terminating || evicted) && self.held()?.is_none()) {
                    break;
                }
                let Some(pod) = self.schedule.lock().begin(plan, clock::now().instant) else { break };
                let eviction = self.drainer.evict(&pod);
                self.log(&pod, &eviction);
                evicted |= eviction == Eviction::Evicted;
                let now = clock::now();
                self.schedule.lock().record(&pod, eviction, now.instant, now.clock, backoff::jitter());
            }
            Ok(evicted)
        };
        let evicted = threads::together("eviction", EVICTIONS_AT_ONCE, threads::STACK_BYTES, evict);
        evicted.into_iter().try_fold(false, |any, evicted| Ok(any | evicted?))
    }

    /// Reads the Lease, and returns the lock and the holder if the slot is still held under the drain's term.
    fn held(&self) -> Result<Option<(Lock, Holder)>, Error> {
        let lock = read_lock(&self.drainer.kube, &self.drainer.readiness)?;
        let is_held = |holder: &&Holder| holder.term == self.drain.term && holder.checked_in.is_none();
        let holder = lock.state.holder(self.uid).filter(is_held).cloned();
        Ok(holder.map(|holder| (lock, holder)))
    }

    /// Reads the Node, and reports whether the node is still cordoned for this drain.
    fn is_cordoned(&self, lock: &Lock) -> Result<bool, Error> {
        let term = lock.term(self.drain.term);
        Ok(self.drainer.kube.node(self.node)?.is_some_and(|node| node.is_cordoned_for(&term)))
    }

    /// Lists the pods and sorts them. The nodes that can run our own pods are read only if no other pods are left.
    fn plan(&mut self) -> Result<DrainPlan, ApiError> {
        let Drainer { kube, ours, .. } = self.drainer;
        let (pods, since) = (kube.pods_on(self.node, |pod| ours.is(pod))?.into_inner(), self.drain.since);
        if !DrainPlan::needs_other_hosts(&pods, ours, since) {
            return Ok(DrainPlan::of(&pods, ours, since, None));
        }
        let now = clock::now().instant;
        let hosts = match self.other_hosts.take() {
            Some((at, hosts)) if now.saturating_duration_since(at) < OTHER_HOSTS_AGE_MAX => (at, hosts),
            _ => (now, kube.hosts_besides(self.node)?),
        };
        let (_, hosts) = self.other_hosts.insert(hosts);
        Ok(DrainPlan::of(&pods, ours, since, Some(hosts)))
    }

    fn record(&self, progress: Progress) {
        self.drains.record(self.uid, self.drain.term, progress);
    }

    fn log_came_back(&mut self, plan: &DrainPlan) {
        for pod in plan.came_back() {
            if self.logged.len() < CAME_BACK_LOGGED_MAX && self.logged.insert(pod.uid.clone()) {
                let why = if pod.tolerates_cordon { "tolerates the cordon" } else { "was bound without the scheduler" };
                info!(node:% = self.node, namespace = pod.key.namespace, pod = pod.key.name; "node {}: pod {} is not evicted: it was created after the slot was taken, and {why}", self.node, pod.key);
            }
        }
    }

    fn log(&self, pod: &Pod, eviction: &Eviction) {
        let (node, pod) = (self.node, &pod.key);
        let level = match eviction {
            Eviction::Evicted => Level::Info,
            Eviction::Refused { .. } if self.is_new(&format!("{pod} {eviction}")) => Level::Warn,
            _ => Level::Debug,
        };
        log!(level, node:% = node, namespace = pod.namespace, pod = pod.name; "node {node}: pod {pod} {eviction}");
    }

    /// Reports whether this drain has not logged `line` in the last minute.
    fn is_new(&self, line: &str) -> bool {
        self.repeats.lock().due(line, clock::now().instant).is_some()
    }
}

fn eviction_error(pod: &Pod, error: &ApiError) -> EvictionError {
    let Some(status) = error.status() else { return EvictionError { message: error_chain(error), ..EvictionError::default() } };
    EvictionError {
        code: status.code,
        message: status.message.clone(),
        causes: status.causes.iter().map(|cause| (cause.reason.clone(), cause.message.clone())).collect(),
        retry_after: status.retry_after_seconds.map(Duration::from_secs),
        not_found: status.is_not_found("pods", &pod.key.name),
    }
}
