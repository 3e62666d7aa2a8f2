//! The ops port: `/healthz` (the process answers), `/readyz` (this replica can serve nodes), `/metrics`.
//!
//! No answer waits for Kubernetes, and only the page of metrics waits for other requests: a probe is answered in the thread of its
//! connection. No node calls this port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::handoff::{printed, response};
use super::head::Received;
use super::{Listener, ListenerLimits, Sizes};
use crate::coordinator::Coordinator;
use crate::metrics::Metrics;

// For scrapes of two Prometheus servers.
const WORKERS: usize = 2;

// Scrapes leave at least a third of the places to probes, also when two addresses scrape in loops.
const SHARE: usize = 1;

const REQUEST_MAX: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Pages for probes and Prometheus.
pub(crate) struct Ops {
    coordinator: Arc<Coordinator>,
    metrics: Arc<Metrics>,
    fleetlock_listens: AtomicBool,
    notes: Box<dyn Fn() -> String + Send + Sync>,
}

impl Ops {
    /// `notes`: lines about what is no reason to be unready and needs a person.
    pub(crate) fn new(
        coordinator: Arc<Coordinator>,
        metrics: Arc<Metrics>,
        notes: impl Fn() -> String + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { coordinator, metrics, fleetlock_listens: AtomicBool::new(false), notes: Box::new(notes) })
    }

    pub(crate) fn listen(self: &Arc<Self>, address: SocketAddr, connections: usize) -> io::Result<Listener> {
        let limits = ListenerLimits { connections, share: SHARE, request: REQUEST_MAX, sizes: Sizes::default(), workers: WORKERS };
        let (at_once, scraped) = (Arc::clone(self), Arc::clone(self));
        let metrics = Arc::clone(&self.metrics);
        let at_once = Box::new(move |request: &Received| at_once.answer_at_once(request));
        Listener::open_with("ops", address, limits, None, metrics, at_once, move |request, _client| scraped.scrape(request))
    }

    /// Records that the FleetLock port is open. Before that, this replica is not ready.
    pub(crate) fn fleetlock_listens(&self) {
        self.fleetlock_listens.store(true, Ordering::Relaxed);
    }

    /// Answers all but a scrape.
    fn answer_at_once(&self, request: &Received) -> Option<Vec<u8>> {
        if let Some(answer) = confirm_health(request) {
            return Some(answer);
        }
        let (status, body) = match request.method_and_path() {
            ("GET" | "HEAD", "/metrics") => return None,
            ("GET" | "HEAD", "/readyz") => match self.ready() {
                Ok(()) => (200, "ok\n".to_owned() + &(self.notes)()),
                Err(missing) => (503, missing + &(self.notes)()),
            },
            ("GET" | "HEAD", _) => (404, "not found; the pages are /healthz, /readyz and /metrics\n".to_owned()),
            _ => (405, "method not allowed; use GET\n".to_owned()),
        };
        Some(printed(response(status, TEXT, body), request.method_and_path().0 == "HEAD"))
    }

    fn scrape(&self, request: tiny_http::Request) {
        let (status, content, body) = match self.metrics.page() {
            Ok(page) => (200, OPEN_METRICS, page),
            Err(error) => (500, TEXT, format!("{error}\n")),
        };
        respond(request, status, content, body);
    }

    /// Returns the reasons why this replica cannot serve nodes, from the results of earlier calls to Kubernetes.
    fn ready(&self) -> Result<(), String> {
        let ready = self.coordinator.ready();
        if self.fleetlock_listens.load(Ordering::Relaxed) {
            return ready;
        }
        let closed = "the FleetLock port is not open yet: there is no certificate yet, see the log\n";
        Err(closed.to_owned() + &ready.err().unwrap_or_default())
    }
}

/// Answers a request that asks only if the process answers: `GET /healthz`, on either port. Returns `None` for any other.
pub(super) fn confirm_health(request: &Received) -> Option<Vec<u8>> {
    let (method, path) = request.method_and_path();
    let is_asked = matches!(method, "GET" | "HEAD") && path == "/healthz";
    is_asked.then(|| printed(response(200, TEXT, "ok\n".to_owned()), method == "HEAD"))
}

fn respond(request: tiny_http::Request, status: u16, content: &str, body: String) {
    if let Err(error) = request.respond(response(status, content, body)) {
        log::debug!("ops: the client did not receive its answer: {error}");
    }
}
