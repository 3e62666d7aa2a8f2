//! A request from start to end: find its node, check its permission, decide, and hold the request while the node drains or waits for a
//! slot.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use super::drains::Drains;
use super::error::error_chain;
use super::held::{Deadlines, HeldClient, HeldRequest, HeldRequests};
use super::node_cache::NodeCache;
use super::node_drain::{Drainer, End};
use super::perform::{Decision, Performer, Waiting, read_lock, write_lock};
use super::{Error, Presence, Responder, Stop, authorize};
use crate::access::{ClientNetwork, Origin, VerifySource};
use crate::cluster::Uid;
use crate::drain::DrainPlan;
use crate::fleetlock::{Found, Reply, Request};
use crate::kube::{ApiError, Kube};
use crate::lock::{Holder, LastReport, LockState, Part};
use crate::reboot::{Caller, Drain, Observed, Outcome, Rules, Settled, Wait, pre_reboot, steady_state};
use crate::system::guarded::Guarded;
use crate::system::{backoff, clock, threads};

/// Time between two reads of the Lease while requests wait for a slot. With the second for which a request gives way, a free slot is
/// taken within two seconds.
const LEASE_EVERY: Duration = Duration::from_millis(700);

/// Maximum time for the last calls to Kubernetes when this replica stops.
const STOPPING_MAX: Duration = Duration::from_secs(5);

/// Number of attempts to write the Lease when this replica stops.
const HAND_OVER_ATTEMPTS: u32 = 3;

/// A longer wait for a slot ends after 60 to 80 % of its time, at random. So not all nodes ask again at the same time, and a node that gets
/// its slot late is not answered in the middle of its drain.
const SPREAD_FROM: Duration = Duration::from_secs(120);
const SPREAD: [f64; 2] = [0.6, 0.8];

/// Share of its time for which the request whose turn is next waits. `scripts/rollout` shows the gain.
const NEXT: f64 = 0.9;

/// Answers requests.
pub(super) struct Requests {
    pub(super) kube: Arc<Kube>,
    pub(super) node_cache: Arc<NodeCache>,
    pub(super) performer: Arc<Performer>,
    pub(super) drainer: Drainer,
    pub(super) drains: Arc<Drains>,
    pub(super) held: Arc<HeldRequests>,
    pub(super) rules: Rules,
    pub(super) verify_source: VerifySource,
    pub(super) pre_reboot_wait: Duration,
    pub(super) stop: Arc<Stop>,
    /// The last report of another replica for each holder, to notice that it has stopped.
    pub(super) last_reports: Guarded<HashMap<Uid, LastReport>>,
}

impl Requests {
    pub(super) fn steady_state(&self, request: &Request, origin: &Origin) -> Reply {
        let decision = self.decide_for_caller(request, origin, |caller, observed| {
            self.performer.perform(caller, observed, |observed, now| steady_state::next(caller, observed, &self.rules.times, now))
        });
        match decision {
            // Zincati looks for no update until its check-in gets 200, also on a machine that has not joined the cluster yet.
            Ok(Decision::Answer(Outcome::UnknownNode(id))) => Outcome::Settled(Settled::Unknown(id)).into(),
            Ok(Decision::Answer(outcome)) => outcome.into(),
            Ok(Decision::Wait(_)) => Error::Contended.into(),
            Err(error) => error.into(),
        }
    }

    pub(super) fn pre_reboot(self: &Arc<Self>, request: &Request, origin: &Origin, presence: Arc<Presence>, responder: Responder) {
        let (now, wait) = (clock::now().instant, self.pre_reboot_wait);
        let share = SPREAD[0] + (SPREAD[1] - SPREAD[0]) * backoff::jitter();
        let after = |share| now + if wait < SPREAD_FROM { wait } else { wait.mul_f64(share) };
        let deadlines = Deadlines { drain: now + wait, slot: after(share), next: after(NEXT) };
        let decision = self.decide_for_caller(request, origin, |caller, observed| self.decide_pre_reboot(caller, observed, &presence));
        self.answer_or_hold(decision, deadlines, HeldClient { network: ClientNetwork::of(origin.peer), presence, responder });
    }

    /// Decides a held request again.
    fn resume(self: &Arc<Self>, request: HeldRequest) {
        let HeldRequest { caller, term, slot: _, deadlines, client } = request;
        let mut observed = Observed::new(caller.uid.clone(), term);
        let decision = self.decide_pre_reboot(&caller, &mut observed, &client.presence);
        self.answer_or_hold(decision, deadlines, client);
    }

    /// Answers a pre-reboot request, or holds it.
    fn answer_or_hold(self: &Arc<Self>, decision: Result<Decision, Error>, deadlines: Deadlines, client: HeldClient) {
        match decision {
            Ok(Decision::Answer(outcome)) => (client.responder)(outcome.into()),
            Ok(Decision::Wait(waiting)) => {
                let Waiting { wait, caller, term } = *waiting;
                match wait {
                    Wait::Drain(drain) => self.hold(HeldRequest { caller, term, slot: None, deadlines, client }, &drain),
                    Wait::Slot(slot) if deadlines.slot <= clock::now().instant => (client.responder)(slot.refusal.into()),
                    Wait::Slot(slot) => self.hold_for_slot(HeldRequest { caller, term, slot: Some(slot), deadlines, client }),
                }
            }
            Err(error) => (client.responder)(error.into()),
        }
    }

    fn decide_pre_reboot(&self, caller: &Caller, observed: &mut Observed, presence: &Presence) -> Result<Decision, Error> {
        self.performer.perform(caller, observed, |observed, now| {
            presence.cancel_if_gone(pre_reboot::next(caller, observed, &self.rules, now), &caller.node)
        })
    }

    /// Finds the node of the request, checks the permission, and decides. If the view of the fleet had an outdated node, all of this is
    /// done once more with a newer view.
    fn decide_for_caller(
        &self,
        request: &Request,
        origin: &Origin,
        decide: impl Fn(&Caller, &mut Observed) -> Result<Decision, Error>,
    ) -> Result<Decision, Error> {
        // `steady_state` refuses a check-in that arrived before an approval, so the time is taken before any read.
        let arrived = clock::now().clock;
        let id = request.id;
        let mut found = self.node_cache.find(id, &self.kube)?;
        for last in [false, true] {
            let node = match found {
                Found::NoNode => return Ok(Decision::Answer(Outcome::UnknownNode(id))),
                Found::Many(names) => return Ok(Decision::Answer(Outcome::duplicate(id, &names))),
                Found::Node(node) => node,
            };
            let caller = Caller { node: node.name.clone(), uid: node.uid.clone(), id, group: request.group.clone(), arrived };
            let mut observed = Observed::new(caller.uid.clone(), None);
            let decision = match authorize::refusal(self, &caller, origin, &mut observed)? {
                Some(refused) => Decision::Answer(refused),
                None => decide(&caller, &mut observed)?,
            };
            // A Node that is unknown twice was deleted, or is being replaced right now. The node asks again in any case.
            if last || !matches!(decision, Decision::Answer(Outcome::UnknownNode(_))) {
                return Ok(decision);
            }
            found = self.node_cache.find_again(id, &node, &self.kube)?;
        }
        Ok(Decision::Answer(Outcome::UnknownNode(id)))
    }

    /// Continues the drain of `holder` if the replica that ran it has stopped.
    pub(super) fn take_over(self: &Arc<Self>, holder: &Holder) {
        let leads = {
            let mut reports = self.last_reports.lock();
            let last = reports.entry(holder.uid.clone()).or_default();
            last.part(holder, &self.rules.replica, clock::now().instant) == Part::Lead
        };
        if !leads || self.drains.is_known(&holder.uid, holder.term) {
            return;
        }
        let Some(id) = holder.machine else { return };
        let Holder { node, uid, group, term, since, .. } = holder;
        let caller = Caller { node: node.clone(), uid: uid.clone(), id, group: group.clone(), arrived: *since };
        let drain = Drain { term: *term, since: *since, plan: DrainPlan::default() };
        self.drains.while_running(&caller, &drain, || self.start_drain(&caller, &drain), || {});
    }

    /// Forgets the reports for nodes that hold no slot in `lock`.
    pub(super) fn forget_reports(&self, lock: &LockState) {
        self.last_reports.lock().retain(|uid, _| lock.holder(uid).is_some());
    }

    fn start_drain(self: &Arc<Self>, caller: &Caller, drain: &Drain) -> io::Result<()> {
        let (this, caller, drain) = (Arc::clone(self), caller.clone(), drain.clone());
        threads::start("drain", move || this.drain(&caller, &drain))
    }

    /// Holds a request until its node is drained, and starts the drain if it is not running.
    fn hold(self: &Arc<Self>, request: HeldRequest, drain: &Drain) {
        let (caller, presence) = (request.caller.clone(), Arc::clone(&request.client.presence));
        let answered = self.drains.while_running(&caller, drain, || self.start_drain(&caller, drain), || self.held.hold(request));
        self.held.drop_at_hang_up(&presence);
        answer(answered);
    }

    /// Holds a request until a slot is free.
    fn hold_for_slot(&self, request: HeldRequest) {
        let presence = Arc::clone(&request.client.presence);
        let answered = self.held.hold(request);
        self.held.drop_at_hang_up(&presence);
        answer(answered);
    }

    /// Decides held requests again once a slot is free, beginning with the node that has waited longest. Runs until the process stops.
    pub(super) fn serve_queue(self: &Arc<Self>) {
        while self.held.wait_for_slot_waits() {
            threads::on_fresh_stack(|| self.offer_free_slots());
            if *self.stop.wait(LEASE_EVERY.mul_f64(0.8 + 0.2 * backoff::jitter()), |stop| *stop) {
                return;
            }
        }
    }

    /// Decides those held requests again whose time is over, or for which there may be a slot.
    fn offer_free_slots(self: &Arc<Self>) {
        // One after the other, so that each that is not decided in time is answered with what is known.
        while let Some(request) = self.held.take_overdue() {
            self.resume(request);
        }
        match read_lock(&self.kube, &self.performer.readiness) {
            Ok(lock) => {
                let room = self.rules.capacity.room(&lock.state.holders);
                self.held.take_for_slots(room).into_iter().for_each(|request| self.resume(request));
            }
            Err(error) => debug!("cannot read the Lease while nodes wait for a slot, will retry: {}", error_chain(&error)),
        }
    }

    /// Answers each held request at its deadline with the progress of the drain, or the reason of its wait. Runs until the process stops.
    pub(super) fn answer_at_deadlines(&self) {
        self.held.answer_at_deadlines(|HeldRequest { caller, slot, .. }| match slot {
            Some(slot) => slot.refusal.clone().into(),
            None => Outcome::draining(&caller.node, self.drains.progress(&caller.uid).as_ref()).into(),
        });
    }

    /// Answers the held requests, ends the drains, and hands them over to the other replicas. Waits for Kubernetes for a limited time.
    pub(super) fn stop(self: &Arc<Self>) {
        let (waiting, drained): (Vec<_>, Vec<_>) =
            self.drains.stop(|| self.held.close()).into_iter().partition(|(request, _)| request.slot.is_some());
        answer(waiting);
        let (this, last) = (Arc::clone(self), Arc::new(Guarded::new(LastCalls { requests: drained, is_done: false })));
        let calls = Arc::clone(&last);
        let started = threads::start("stopping", move || this.last_calls(&calls));
        if let Err(error) = started {
            debug!("no thread to hand over the drains of this replica: {error}");
            last.lock().is_done = true;
        }
        let requests = std::mem::take(&mut last.wait(STOPPING_MAX, |last| last.is_done).requests);
        answer(requests);
    }

    /// Decides the requests that were held for drains a last time, and hands the drains over.
    fn last_calls(&self, last: &Guarded<LastCalls>) {
        loop {
            let Some((request, reply)) = last.lock().requests.pop() else { break };
            self.answer_if_approved(request, reply);
        }
        if let Err(error) = self.hand_over() {
            debug!("cannot hand over the drains of this replica: {}", error_chain(&error));
        }
        last.lock().is_done = true;
        last.wake();
    }

    /// Decides a last time for a request that was held for a drain. If nothing is left on its node but the pod of this process, which is
    /// terminating, the node is approved. Otherwise the answer is `reply`.
    fn answer_if_approved(&self, request: HeldRequest, reply: Reply) {
        let HeldRequest { caller, term, client, .. } = request;
        let mut observed = Observed::new(caller.uid.clone(), term);
        let reply = match self.decide_pre_reboot(&caller, &mut observed, &client.presence) {
            Ok(Decision::Answer(outcome @ Outcome::Approved(..))) => outcome.into(),
            _ => reply,
        };
        (client.responder)(reply);
    }

    fn hand_over(&self) -> Result<(), Error> {
        for _ in 0..HAND_OVER_ATTEMPTS {
            let lock = read_lock(&self.kube, &self.performer.readiness)?;
            let Some(next) = lock.state.hand_over(&self.rules.replica) else { return Ok(()) };
            match write_lock(&self.kube, &next, lock.version.as_ref(), self.rules.capacity.slots) {
                Err(ApiError::Conflict { .. }) => {}
                result => return result.map(drop).map_err(Error::from),
            }
        }
        Ok(())
    }

    /// Drains a node, then continues with the request that is held for it.
    fn drain(self: &Arc<Self>, caller: &Caller, drain: &Drain) {
        let end = self.drainer.run(&self.drains, caller, drain);
        let held = self.drains.end(&caller.uid, drain.term, || self.held.take(&caller.uid, drain.term));
        match (held, end) {
            (None, _) => {}
            (Some(request), End::DecideAgain) => self.resume(request),
            (Some(request), End::TermOver) => (request.client.responder)(Outcome::drain_ended(&caller.node).into()),
        }
    }
}

/// Last calls to Kubernetes of a replica that stops.
struct LastCalls {
    /// Requests that are not decided yet, each with its answer if there is no time left.
    requests: Vec<(HeldRequest, Reply)>,
    is_done: bool,
}

/// Answers requests that are not held.
fn answer(answered: Vec<(HeldRequest, Reply)>) {
    for (request, reply) in answered {
        (request.client.responder)(reply);
    }
}
