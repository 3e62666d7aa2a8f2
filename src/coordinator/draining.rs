//! Drains: one thread a node, until it is empty or the slot it is done for is not held any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::trouble::told;
use super::{Asking, Coordinator, Trouble};
use crate::cluster::{NodeName, Pod, Uid};
use crate::drain::{AT_ONCE, DrainPlan, Eviction, Pace, Progress, Said, meaning};
use crate::fleetlock::{Kind, Reply};
use crate::kube::ApiError;
use crate::reboot::{Caller, Drain, Observed};
use crate::system::guarded::Guarded;
use crate::system::{backoff, clock, threads};

/// How often the pods of a draining node are listed at least. A node that is empty is noticed within this.
const LIST_EVERY: Duration = Duration::from_millis(500);

/// A list older than this says little about which pods there are: no more evictions are asked for by it.
const LIST_AGE_MAX: Duration = Duration::from_secs(1);

/// The same once nothing has moved for [`STANDSTILL`] lists: no eviction granted, no pod terminating.
const LIST_EVERY_IN_STANDSTILL: Duration = Duration::from_secs(3);

/// After 15 seconds without movement somebody has to see to a budget or a webhook, or a pod elsewhere takes long to start.
const STANDSTILL: u32 = 30;

/// The same while Kubernetes does not answer.
const LIST_EVERY_IN_TROUBLE: Duration = Duration::from_secs(2);

/// Whether another node can run our own pods is asked at most this often: it takes a list of nodes.
const ELSEWHERE_AGE_MAX: Duration = Duration::from_secs(30);

/// Every so many lists the Node is read, to notice that somebody uncordoned it.
const LISTS_A_NODE: u32 = 8;

/// At most this many pods that came back are logged in one drain: a controller whose pods fail on the cordoned node makes more without end.
const CAME_BACK_LOGGED_MAX: usize = 20;

/// What the threads share: drains under way and requests held open. One lock for both, so that no request begins to
/// wait for a drain that has just ended.
#[derive(Default)]
pub(super) struct State {
    pub(super) running: HashMap<Uid, Running>,
    pub(super) parked: Vec<Asking>,
    pub(super) stopping: bool,
}

/// A drain under way.
pub(super) struct Running {
    term: u64,
    void: bool,
    pub(super) progress: Progress,
}

/// What a drain keeps from one look to the next.
#[derive(Default)]
struct SoFar {
    pace: Guarded<Pace>,
    lists: u32,
    /// Lists since anything has moved.
    standing: u32,
    elsewhere: Option<(Instant, bool)>,
    /// The pods that came back and were logged.
    logged: BTreeSet<Uid>,
}

/// What one look at a draining node came to.
enum Round {
    /// The drain is over.
    End(End),
    /// Pods are left; the next look comes after this.
    GoesOn(Duration),
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// No pod is left, or the node has to be looked at again: the held requests go on.
    AskAgain,
    /// The slot is not held under this tenure any more.
    Void,
}

impl SoFar {
    fn log_came_back(&mut self, node: &NodeName, plan: &DrainPlan) {
        for pod in plan.came_back() {
            if self.logged.len() < CAME_BACK_LOGGED_MAX && self.logged.insert(pod.uid.clone()) {
                let why = if pod.tolerates_cordon { "tolerates the cordon" } else { "was bound without the scheduler" };
                info!("node {node}: pod {} stays: it {why} and was created after it", pod.key);
            }
        }
    }
}

impl Coordinator {
    /// Starts the drain unless it is running under the same tenure.
    pub(super) fn ensure_drain(self: &Arc<Self>, state: &mut State, caller: &Caller, drain: &Drain) {
        if state.running.get(&caller.uid).is_some_and(|running| running.term == drain.term && !running.void) {
            return;
        }
        let progress = Pace::default().progress(&drain.plan);
        state.running.insert(caller.uid.clone(), Running { term: drain.term, void: false, progress });
        let (caller, drain) = (caller.clone(), drain.clone());
        info!("node {}: draining, {} pods have to go", caller.node, drain.plan.left());
        let (name, uid) = (caller.node.clone(), caller.uid.clone());
        if let Err(error) = self.spawn("drain", move |this| this.drain(&caller, &drain)) {
            warn!("node {name}: no thread for its drain ({error}); it is tried again with the next request");
            state.running.remove(&uid);
        }
    }

    /// Ends the drain of the node just looked at when its slot is not held under the drain's tenure any more.
    pub(super) fn end_void_drain(&self, seen: &Observed) {
        let Some(lock) = &seen.lock else { return };
        for (uid, running) in &mut self.state.lock().running {
            let holder = lock.value.state.holder(uid);
            let held = holder.is_some_and(|holder| holder.term >= running.term && holder.checked_in.is_none());
            if !held && lock.value.state.last_term >= running.term {
                running.void = true;
            }
        }
        self.state.wake();
    }

    fn drain(self: &Arc<Self>, caller: &Caller, drain: &Drain) {
        let mut so_far = SoFar::default();
        loop {
            let every = match self.drain_once(caller, drain, &mut so_far) {
                Ok(Round::End(end)) => return self.end_drain(caller, drain, end),
                Ok(Round::GoesOn(_)) if so_far.standing > STANDSTILL => LIST_EVERY_IN_STANDSTILL,
                Ok(Round::GoesOn(rest)) => rest,
                Err(trouble) => {
                    let clause = format!("cannot be drained now: {}", told(&trouble));
                    warn!("node {} {clause}", caller.node);
                    self.report(caller, drain, Progress { clause, blocked: true });
                    LIST_EVERY_IN_TROUBLE
                }
            };
            if self.wait_while_valid(caller, drain, every) {
                return self.end_drain(caller, drain, End::Void);
            }
        }
    }

    /// One look at the node, and the evictions that are due.
    fn drain_once(&self, caller: &Caller, drain: &Drain, so_far: &mut SoFar) -> Result<Round, Trouble> {
        if !self.holds_slot(caller, drain)? {
            return Ok(Round::End(End::Void));
        }
        so_far.lists += 1;
        if so_far.lists.is_multiple_of(LISTS_A_NODE) {
            let (lock, node) = (self.lock()?, self.kube.node(&caller.node)?);
            if !node.is_some_and(|node| node.is_cordoned_for(&lock.term(drain.term))) {
                return Ok(Round::End(End::AskAgain));
            }
        }
        let plan = self.plan(&caller.node, drain, &mut so_far.elsewhere)?;
        so_far.log_came_back(&caller.node, &plan);
        if plan.is_empty() {
            info!("node {}: empty", caller.node);
            return Ok(Round::End(End::AskAgain));
        }
        so_far.pace.lock().forget_gone(&plan);
        let moving = self.evict_what_is_due(caller, drain, &plan, &so_far.pace)?;
        so_far.standing = if moving { 0 } else { so_far.standing + 1 };
        let pace = so_far.pace.lock();
        self.report(caller, drain, pace.progress(&plan));
        Ok(Round::GoesOn(pace.rest(&plan, clock::now().instant, LIST_EVERY)))
    }

    /// Evicts by this plan, several hands side by side, until nothing is due or the plan is old. Whether anything moves.
    fn evict_what_is_due(&self, caller: &Caller, drain: &Drain, plan: &DrainPlan, pace: &Guarded<Pace>) -> Result<bool, Trouble> {
        let listed = clock::now().instant;
        if !pace.lock().rest(plan, listed, LIST_EVERY).is_zero() {
            return Ok(!plan.ending.is_empty());
        }
        let hand = || -> Result<bool, Trouble> {
            let mut moving = !plan.ending.is_empty();
            while clock::now().instant.saturating_duration_since(listed) < LIST_AGE_MAX {
                if self.is_void(caller, drain) || (moving && !self.holds_slot(caller, drain)?) {
                    break;
                }
                let Some(pod) = pace.lock().begin(plan, clock::now().instant) else { break };
                let eviction = self.evict(&pod);
                tell(&caller.node, &pod, &eviction);
                moving |= eviction == Eviction::Evicted;
                let now = clock::now();
                pace.lock().record(&pod, eviction, now.instant, now.clock, backoff::jitter());
            }
            Ok(moving)
        };
        let moving = threads::together("eviction", AT_ONCE, threads::STACK_BYTES, hand);
        moving.into_iter().try_fold(false, |any, moving| Ok(any | moving?))
    }

    /// Whether the slot is still held under the drain's tenure, by the Lease as it is now.
    fn holds_slot(&self, caller: &Caller, drain: &Drain) -> Result<bool, Trouble> {
        let lock = self.lock()?;
        let holder = lock.state.holder(&caller.uid);
        Ok(holder.is_some_and(|holder| holder.term == drain.term && holder.checked_in.is_none()))
    }

    /// What has to go. Only when nothing but our own pods is left does it matter whether another node can run those.
    fn plan(&self, node: &NodeName, drain: &Drain, elsewhere: &mut Option<(Instant, bool)>) -> Result<DrainPlan, ApiError> {
        let (pods, ours) = (self.kube.pods_on(node)?.into_inner(), &self.limits.rules.ours);
        if !DrainPlan::asks_elsewhere(&pods, ours, drain.since) {
            return Ok(DrainPlan::of(&pods, ours, drain.since, true));
        }
        let now = clock::now().instant;
        let able = match *elsewhere {
            Some((at, able)) if now.saturating_duration_since(at) < ELSEWHERE_AGE_MAX => able,
            _ => elsewhere.insert((now, self.kube.another_node_can_run_us(node)?)).1,
        };
        Ok(DrainPlan::of(&pods, ours, drain.since, able))
    }

    fn evict(&self, pod: &Pod) -> Eviction {
        let eviction = match self.kube.evict(&pod.key, &pod.uid) {
            Ok(()) => Eviction::Evicted,
            Err(error) => meaning(&pod.key, &said(pod, &error)),
        };
        self.metrics.eviction(&eviction);
        eviction
    }

    fn report(&self, caller: &Caller, drain: &Drain, progress: Progress) {
        if let Some(running) = self.state.lock().running.get_mut(&caller.uid).filter(|running| running.term == drain.term) {
            running.progress = progress;
        }
    }

    fn is_void(&self, caller: &Caller, drain: &Drain) -> bool {
        is_void(&self.state.lock(), caller, drain)
    }

    /// Waits; true when the drain has become void meanwhile.
    fn wait_while_valid(&self, caller: &Caller, drain: &Drain, limit: Duration) -> bool {
        let state = self.state.wait(limit, |state| is_void(state, caller, drain));
        is_void(&state, caller, drain)
    }

    /// Takes the drain off the list and, in the same moment, the requests that waited for it; then answers those.
    fn end_drain(self: &Arc<Self>, caller: &Caller, drain: &Drain, end: End) {
        let (waiting, stopping) = {
            let mut state = self.state.lock();
            if state.running.get(&caller.uid).is_some_and(|running| running.term == drain.term) {
                state.running.remove(&caller.uid);
            }
            let mine = |asking: &mut Asking| {
                asking.caller.uid == caller.uid && asking.tenure.as_ref().is_none_or(|tenure| tenure.term <= drain.term)
            };
            let waiting: Vec<Asking> = state.parked.extract_if(.., mine).collect();
            (waiting, state.stopping)
        };
        for asking in waiting {
            if end == End::AskAgain && !stopping {
                self.resume(asking);
            } else {
                let sentence = format!("the drain of node {} was ended: it has checked in, or its slot was freed", caller.node);
                (asking.responder)(Reply::refusal(Kind::Superseded, sentence));
            }
        }
    }
}

fn is_void(state: &State, caller: &Caller, drain: &Drain) -> bool {
    let running = state.running.get(&caller.uid);
    state.stopping || running.is_none_or(|running| running.term != drain.term || running.void)
}

fn said(pod: &Pod, error: &ApiError) -> Said {
    let Some(status) = error.status() else { return Said { message: told(error), ..Said::default() } };
    Said {
        code: status.code,
        message: status.message.clone(),
        causes: status.causes.iter().map(|cause| (cause.reason.clone(), cause.message.clone())).collect(),
        retry_after: status.retry_after_seconds.map(Duration::from_secs),
        not_found: status.is_not_found("pods", &pod.key.name),
    }
}

fn tell(node: &NodeName, pod: &Pod, eviction: &Eviction) {
    match eviction {
        Eviction::Evicted => info!("node {node}: pod {} is evicted", pod.key),
        Eviction::Refused { why } => warn!("node {node}: pod {} stays: {why}", pod.key),
        other => log::debug!("node {node}: pod {}: {other:?}", pod.key),
    }
}
