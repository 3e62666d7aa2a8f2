//! Performs what `reboot` decides: asks for the next step, does it through `kube`, folds in what it saw.
//!
//! It decides nothing about slots, cordons or pods itself; it owns the threads, the clock and the waiting.

mod admit;
mod draining;
mod housekeeper;
mod node_cache;
mod node_watch;
mod perform;
mod presence;
mod readiness;
mod trouble;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::info;

use crate::access::{Origin, VerifySource};
use crate::fleetlock::{Endpoint, Found, Kind, NodeRef, Reply, Request};
use crate::kube::Kube;
use crate::metrics::Metrics;
use crate::reboot::{Caller, Drain, Fact, Observed, Outcome, Refusal, Rules, Settled, Tenure, pre_reboot, steady_state};
use crate::system::guarded::Guarded;
use crate::system::{clock, threads};

use admit::{Admitted, Looked};
use draining::State;
use node_cache::NodeCache;
use perform::{Decided, Waiting};
pub use presence::Presence;
pub use readiness::Readiness;
use trouble::Trouble;

/// Gives an answer to the client. Dropped unused it must answer 500: that would be a bug.
pub type Responder = Box<dyn FnOnce(Reply) + Send>;

/// What holds for this process.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a pre-reboot request is held open while its node drains.
    pub pre_reboot_wait: Duration,
    /// Slots and our own pods.
    pub rules: Rules,
    /// What becomes of a request that does not come from the node it speaks for.
    pub verify_source: VerifySource,
    /// Worker threads that answer requests; some of them are kept free of waiting.
    pub workers: usize,
}

/// One replica's share of the work.
pub struct Coordinator {
    kube: Arc<Kube>,
    limits: Limits,
    metrics: Arc<Metrics>,
    node_cache: NodeCache,
    readiness: Arc<Readiness>,
    state: Guarded<State>,
}

/// A pre-reboot request on its way through, also while it is held open.
struct Asking {
    caller: Caller,
    tenure: Option<Tenure>,
    deadline: Instant,
    presence: Arc<Presence>,
    responder: Responder,
}

impl Asking {
    /// Answers that another request of the same node is held.
    fn yield_to_newer(self) {
        let sentence = format!("a newer request of node {} has taken the place of this one: only the newest is held", self.caller.node);
        (self.responder)(Reply::refusal(Kind::Superseded, sentence));
    }

    /// Answers that this replica is stopping.
    fn send_elsewhere(self) {
        let sentence = format!("this replica is stopping; node {} keeps its slot and asks again", self.caller.node);
        (self.responder)(Reply::refusal(Kind::ShuttingDown, sentence));
    }
}

impl Coordinator {
    /// Nothing is read or started yet.
    pub fn new(kube: Arc<Kube>, limits: Limits, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Arc<Self> {
        let node_cache = NodeCache::new(limits.workers / 2);
        Arc::new(Self { kube, limits, metrics, node_cache, readiness, state: Guarded::new(State::default()) })
    }

    /// Starts the background threads: the watch of the nodes, housekeeping, and the deadlines of held requests. The rights are
    /// asked for at once, too.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        self.ask_for_rights();
        self.spawn("watch", |this| this.follow_nodes())?;
        self.spawn("housekeeper", |this| this.keep_house())?;
        self.spawn("deadlines", |this| this.watch_deadlines())
    }

    /// Answers a request, now or when its node has drained. A check-in counts also when its client hangs up.
    pub fn answer(self: &Arc<Self>, request: &Request, origin: &Origin, presence: Arc<Presence>, responder: Responder) {
        match request.endpoint {
            Endpoint::PreReboot => self.pre_reboot(request, origin, presence, responder),
            Endpoint::SteadyState => responder(self.steady_state(request, origin)),
        }
    }

    /// Answers every held request with 404 `shutting_down` and ends the drains after their current call.
    pub fn stop(&self) {
        let parked = {
            let mut state = self.state.lock();
            state.stopping = true;
            std::mem::take(&mut state.parked)
        };
        self.state.wake();
        parked.into_iter().for_each(Asking::send_elsewhere);
    }

    /// `Ok` when this replica can serve nodes; else a sentence a line about what is in the way. Nothing is waited for.
    pub fn ready(&self) -> Result<(), String> {
        self.readiness.result()
    }

    fn steady_state(self: &Arc<Self>, request: &Request, origin: &Origin) -> Reply {
        let decide = |caller: &Caller, looked: Option<Box<Looked>>| {
            let mut seen = Observed::nothing(caller.uid.clone(), None);
            if let Some(looked) = looked {
                let Looked { node, at } = *looked;
                seen.fold(Fact::Mark(Some(node.mark.clone())), at);
                seen.fold(Fact::Node(Some(node), None), at);
            }
            self.decide(caller, &mut seen, |seen, now| steady_state::next(caller, seen, now))
        };
        match self.identified(request, origin, decide) {
            Ok(Decided::Answer(Outcome::Refused(refusal))) if refusal.kind == Kind::UnknownNode => {
                Outcome::Settled(Settled::Unknown(request.id)).into()
            }
            Ok(Decided::Answer(outcome)) => outcome.into(),
            Ok(Decided::Drain(_)) => Trouble::Contended.into(),
            Err(trouble) => trouble.into(),
        }
    }

    fn pre_reboot(self: &Arc<Self>, request: &Request, origin: &Origin, presence: Arc<Presence>, responder: Responder) {
        let deadline = clock::now().instant + self.limits.pre_reboot_wait;
        let decided = self.identified(request, origin, |caller, looked| self.decide_pre_reboot(caller, None, looked, &presence));
        match decided {
            Ok(Decided::Drain(waiting)) => {
                let Waiting { drain, caller, tenure } = *waiting;
                self.wait_for_drain(Asking { caller, tenure, deadline, presence, responder }, &drain);
            }
            Ok(Decided::Answer(outcome)) => responder(outcome.into()),
            Err(trouble) => responder(trouble.into()),
        }
    }

    /// Goes on with a request whose node has drained.
    fn resume(self: &Arc<Self>, mut asking: Asking) {
        match self.decide_pre_reboot(&asking.caller, asking.tenure.clone(), None, &asking.presence) {
            Ok(Decided::Drain(waiting)) => {
                asking.tenure = waiting.tenure;
                self.wait_for_drain(asking, &waiting.drain);
            }
            Ok(Decided::Answer(outcome)) => (asking.responder)(outcome.into()),
            Err(trouble) => (asking.responder)(trouble.into()),
        }
    }

    fn decide_pre_reboot(
        &self,
        caller: &Caller,
        tenure: Option<Tenure>,
        looked: Option<Box<Looked>>,
        presence: &Presence,
    ) -> Result<Decided, Trouble> {
        let mut seen = Observed::nothing(caller.uid.clone(), tenure);
        if let Some(looked) = looked {
            let Looked { node, at } = *looked;
            seen.fold(Fact::Node(Some(node), None), at);
        }
        self.decide(caller, &mut seen, |seen, now| presence.permits(pre_reboot::next(caller, seen, &self.limits.rules, now), &caller.node))
    }

    /// Finds the caller, sees whether the request may speak for it, and decides. When the node turns out to be another
    /// than the directory says, the directory is read again and all of this done once more.
    fn identified(
        &self,
        request: &Request,
        origin: &Origin,
        decide: impl Fn(&Caller, Option<Box<Looked>>) -> Result<Decided, Trouble>,
    ) -> Result<Decided, Trouble> {
        let arrived = clock::now().clock;
        let id = request.id;
        let mut found = self.node_cache.find(id, &self.kube)?;
        for last in [false, true] {
            let node @ NodeRef { name, uid } = &match found {
                Found::Nobody => return Ok(Decided::Answer(Refusal::unknown(id))),
                Found::Many(names) => return Ok(Decided::Answer(Refusal::duplicate(id, &names))),
                Found::Node(node) => node,
            };
            let caller = Caller { node: name.clone(), uid: uid.clone(), id, group: request.group.clone(), arrived };
            let decided = match self.admit(&caller, origin)? {
                Admitted::No(outcome) => Decided::Answer(outcome),
                Admitted::Yes(looked) => decide(&caller, looked)?,
            };
            let unknown = matches!(&decided, Decided::Answer(Outcome::Refused(refusal)) if refusal.kind == Kind::UnknownNode);
            if !unknown || last {
                return Ok(decided);
            }
            found = self.node_cache.find_again(id, node, &self.kube)?;
        }
        Ok(Decided::Answer(Refusal::unknown(id)))
    }

    /// Sees to it that the node is being drained, and holds the request open until it is, or until its deadline. Of each node
    /// one request is held, the newest: so the requests of one node cannot take all places of the port.
    fn wait_for_drain(self: &Arc<Self>, asking: Asking, drain: &Drain) {
        let presence = Arc::clone(&asking.presence);
        let (overtaken, stopped) = {
            let mut state = self.state.lock();
            if state.stopping {
                (None, Some(asking))
            } else {
                self.ensure_drain(&mut state, &asking.caller, drain);
                (state.hold(asking), None)
            }
        };
        self.state.wake();
        if let Some(overtaken) = overtaken {
            overtaken.yield_to_newer();
        }
        self.drop_when_gone(&presence);
        if let Some(asking) = stopped {
            asking.send_elsewhere();
        }
    }

    fn spawn(self: &Arc<Self>, name: &str, work: impl Fn(Arc<Self>) + Send + 'static) -> std::io::Result<()> {
        let this = Arc::clone(self);
        threads::start(name, move || work(this))
    }

    /// Says a change that matters to the people who run the nodes.
    fn tell(&self, node: &crate::cluster::NodeName, purpose: &str) {
        info!("node {node}: {purpose}");
    }
}
