//! A request from start to end: find its node, check its permission, decide, and hold the request while the node drains.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drains::Drains;
use super::held::{HeldRequest, HeldRequests};
use super::node_cache::NodeCache;
use super::node_drain::{Drainer, End};
use super::perform::{Decision, Performer, Waiting};
use super::{Error, Presence, Responder, authorize};
use crate::access::{Origin, VerifySource};
use crate::fleetlock::{Found, Reply, Request};
use crate::kube::Kube;
use crate::reboot::{Caller, Drain, Observed, Outcome, Rules, Settled, Wait, pre_reboot, steady_state};
use crate::system::{clock, threads};

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
}

impl Requests {
    pub(super) fn steady_state(&self, request: &Request, origin: &Origin) -> Reply {
        let decision = self.decide_for_caller(request, origin, |caller, observed| {
            self.performer.decide(caller, observed, |observed, now| steady_state::next(caller, observed, now))
        });
        match decision {
            Ok(Decision::Answer(Outcome::UnknownNode(id))) => Outcome::Settled(Settled::Unknown(id)).into(),
            Ok(Decision::Answer(outcome)) => outcome.into(),
            Ok(Decision::Wait(_)) => Error::Contended.into(),
            Err(error) => error.into(),
        }
    }

    pub(super) fn pre_reboot(self: &Arc<Self>, request: &Request, origin: &Origin, presence: Arc<Presence>, responder: Responder) {
        let deadline = clock::now().instant + self.pre_reboot_wait;
        let decision = self.decide_for_caller(request, origin, |caller, observed| self.decide_pre_reboot(caller, observed, &presence));
        self.answer_or_hold(decision, deadline, presence, responder);
    }

    /// Decides a held request again.
    fn resume(self: &Arc<Self>, request: HeldRequest) {
        let HeldRequest { caller, term, deadline, presence, responder } = request;
        let mut observed = Observed::new(caller.uid.clone(), term);
        let decision = self.decide_pre_reboot(&caller, &mut observed, &presence);
        self.answer_or_hold(decision, deadline, presence, responder);
    }

    /// Answers a pre-reboot request, or holds it.
    fn answer_or_hold(
        self: &Arc<Self>,
        decision: Result<Decision, Error>,
        deadline: Instant,
        presence: Arc<Presence>,
        responder: Responder,
    ) {
        match decision {
            Ok(Decision::Answer(outcome)) => responder(outcome.into()),
            Ok(Decision::Wait(waiting)) => {
                let Waiting { wait: Wait::Drain(drain), caller, term } = *waiting;
                self.hold(HeldRequest { caller, term, deadline, presence, responder }, &drain);
            }
            Err(error) => responder(error.into()),
        }
    }

    fn decide_pre_reboot(&self, caller: &Caller, observed: &mut Observed, presence: &Presence) -> Result<Decision, Error> {
        self.performer.decide(caller, observed, |observed, now| {
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
            let decision = match authorize::refusal(&self.kube, self.verify_source, &caller, origin, &mut observed)? {
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

    /// Holds a request until its node is drained, and starts the drain if it is not running.
    fn hold(self: &Arc<Self>, request: HeldRequest, drain: &Drain) {
        let (caller, presence) = (request.caller.clone(), Arc::clone(&request.presence));
        let start = || {
            let (this, caller, drain) = (Arc::clone(self), caller.clone(), drain.clone());
            threads::start("drain", move || this.drain(&caller, &drain))
        };
        let answered = self.drains.while_running(&caller, drain, start, || self.held.hold(request));
        self.held.drop_at_hang_up(&presence);
        if let Some((request, reply)) = answered {
            (request.responder)(reply);
        }
    }

    /// Answers each held request at its deadline with the progress of the drain. Runs until the process stops.
    pub(super) fn answer_at_deadlines(&self) {
        self.held.answer_at_deadlines(|caller| Outcome::draining(&caller.node, self.drains.progress(&caller.uid).as_ref()).into());
    }

    /// Answers the held requests and ends the drains.
    pub(super) fn stop(&self) {
        for (request, reply) in self.drains.stop(|| self.held.close()) {
            (request.responder)(reply);
        }
    }

    /// Drains a node, then continues with the request that is held for it.
    fn drain(self: &Arc<Self>, caller: &Caller, drain: &Drain) {
        let end = self.drainer.run(&self.drains, caller, drain);
        let held = self.drains.end(&caller.uid, drain.term, || self.held.take(&caller.uid, drain.term));
        match (held, end) {
            (None, _) => {}
            (Some(request), End::DecideAgain) => self.resume(request),
            (Some(request), End::TermOver) => (request.responder)(Outcome::drain_ended(&caller.node).into()),
        }
    }
}
