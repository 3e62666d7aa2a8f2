//! Performs what `reboot` decides: asks for the next step, performs it through `kube`, and records the result.
//!
//! No decision about slots, cordons or pods is made here; this module has the threads, the clock and the waiting. Locks are taken in
//! the order `drains`, `held`.

mod authorize;
mod drains;
mod error;
mod held;
mod node_cache;
mod node_drain;
mod node_watch;
mod perform;
mod presence;
mod readiness;
mod reconciler;
mod request;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Origin, VerifySource};
use crate::cluster::HexId;
use crate::fleetlock::{Endpoint, Reply, Request};
use crate::kube::Kube;
use crate::metrics::Metrics;
use crate::reboot::Rules;
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;
use crate::system::threads;

use error::Error;
use held::HeldRequests;
use node_cache::NodeCache;
use node_drain::Drainer;
use node_watch::NodeWatch;
use perform::Performer;
pub use presence::Presence;
pub use readiness::Readiness;
use reconciler::Reconciler;
use request::Requests;

/// Sends the answer to the client. If a responder is dropped without an answer, which is a bug, tiny_http sends 500.
pub type Responder = Box<dyn FnOnce(Reply) + Send>;

/// Number of different warnings about requests that are logged in a minute: of failed writes, and with `--verify-source=log`.
const WARNINGS_MAX: usize = 1000;

/// Settings of the coordinator.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time for which a pre-reboot request is held open while its node drains or waits for a slot.
    pub pre_reboot_wait: Duration,
    /// Slots and our own pods.
    pub rules: Rules,
    /// Treatment of a request that does not come from the node that it names.
    pub verify_source: VerifySource,
    /// Worker threads that answer requests. At most half of them may wait for a list.
    pub workers: usize,
    /// Maximum number of requests held open that wait for a slot.
    pub slot_waits: usize,
}

/// `true` once this replica stops. Threads wait for it between two rounds of their work.
type Stop = Guarded<bool>;

/// Answers requests, and reconciles.
pub struct Coordinator {
    requests: Arc<Requests>,
    readiness: Arc<Readiness>,
    stop: Arc<Stop>,
}

impl Coordinator {
    /// Starts the background threads: the watch of the nodes, the reconciler, and the deadlines of held requests.
    pub fn start(kube: Arc<Kube>, limits: Limits, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> io::Result<Self> {
        let Limits { pre_reboot_wait, rules, verify_source, workers, slot_waits } = limits;
        let (drains, stop, node_cache) = (Arc::default(), Arc::<Stop>::default(), Arc::new(NodeCache::new(workers / 2)));
        let node_watch = NodeWatch {
            kube: Arc::clone(&kube),
            metrics: Arc::clone(&metrics),
            node_cache: Arc::clone(&node_cache),
            stop: Arc::clone(&stop),
        };
        let performer = Arc::new(Performer {
            kube: Arc::clone(&kube),
            readiness: Arc::clone(&readiness),
            node_cache: Arc::clone(&node_cache),
            drains: Arc::clone(&drains),
            stop: Arc::clone(&stop),
            ours: rules.ours.clone(),
            slots: rules.capacity.slots,
            repeats: Guarded::new(Repeats::new(WARNINGS_MAX)),
        });
        let held = Arc::new(HeldRequests::new(slot_waits));
        let drainer = Drainer {
            kube: Arc::clone(&kube),
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            ours: rules.ours.clone(),
            held: Arc::clone(&held),
            replica: rules.replica.clone(),
            slots: rules.capacity.slots,
        };
        let (capacity, times) = (rules.capacity, rules.times);
        let requests = Arc::new(Requests {
            kube,
            node_cache,
            performer: Arc::clone(&performer),
            drainer,
            drains,
            held,
            rules,
            verify_source,
            pre_reboot_wait,
            stop: Arc::clone(&stop),
            last_reports: Guarded::default(),
        });
        let reconciler = Reconciler {
            requests: Arc::clone(&requests),
            performer,
            metrics,
            capacity,
            times,
            kept: Guarded::default(),
            other_slots: Guarded::default(),
            repeats: Guarded::default(),
        };
        let (answering, serving) = (Arc::clone(&requests), Arc::clone(&requests));
        threads::start("watch", move || node_watch.run())?;
        threads::start("reconciler", move || reconciler.run())?;
        threads::start("deadlines", move || answering.answer_at_deadlines())?;
        threads::start("queue", move || serving.serve_queue())?;
        Ok(Self { requests, readiness, stop })
    }

    /// Answers a request at once, or holds it (`held`). A check-in counts even if its client hangs up.
    pub fn answer(&self, request: &Request, origin: &Origin, presence: Arc<Presence>, responder: Responder) {
        match request.endpoint {
            Endpoint::PreReboot => self.requests.pre_reboot(request, origin, presence, responder),
            Endpoint::SteadyState => responder(self.requests.steady_state(request, origin)),
        }
    }

    /// Returns the name of the node with this id, for the log, from the view of the fleet alone.
    pub fn node_name(&self, id: HexId) -> Option<String> {
        self.requests.node_cache.find_cached(id).map(|node| node.0)
    }

    /// Answers every held request with 404 `shutting_down` and ends the drains after their current call.
    pub fn stop(&self) {
        *self.stop.lock() = true;
        self.stop.wake();
        self.requests.stop();
    }

    /// Returns `Ok` if this replica can serve nodes, else a message with one line for each reason. Only known results are read, so this
    /// never waits.
    pub fn ready(&self) -> Result<(), String> {
        self.readiness.result()
    }
}

#[cfg(test)]
mod tests;
