//! The ops port: `/healthz` (the process answers), `/readyz` (this replica can serve nodes), `/metrics`.
//!
//! No answer waits for Kubernetes. No node calls this port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tiny_http::Method;

use super::handoff::response;
use super::{Listener, ListenerLimits, Sizes};
use crate::coordinator::Coordinator;
use crate::metrics::Metrics;

// A probe must not wait behind a slow scrape.
const WORKERS: usize = 2;

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
        let limits = ListenerLimits { connections, request: REQUEST_MAX, sizes: Sizes::default(), workers: WORKERS };
        let this = Arc::clone(self);
        Listener::open("ops", address, limits, None, Arc::clone(&self.metrics), move |request, _client| this.handle(request))
    }

    /// Records that the FleetLock port is open. Before that, this replica is not ready.
    pub(crate) fn fleetlock_listens(&self) {
        self.fleetlock_listens.store(true, Ordering::Relaxed);
    }

    fn handle(&self, request: tiny_http::Request) {
        let path = request.url().split('?').next().unwrap_or_default();
        let (status, content, body) = match (request.method(), path) {
            (Method::Get | Method::Head, "/healthz") => (200, TEXT, "ok\n".to_owned()),
            (Method::Get | Method::Head, "/readyz") => match self.ready() {
                Ok(()) => (200, TEXT, "ok\n".to_owned() + &(self.notes)()),
                Err(missing) => (503, TEXT, missing + &(self.notes)()),
            },
            (Method::Get | Method::Head, "/metrics") => match self.metrics.page() {
                Ok(page) => (200, OPEN_METRICS, page),
                Err(error) => (500, TEXT, format!("{error}\n")),
            },
            (Method::Get | Method::Head, _) => (404, TEXT, "not found; the pages are /healthz, /readyz and /metrics\n".to_owned()),
            _ => (405, TEXT, "method not allowed; use GET\n".to_owned()),
        };
        if let Err(error) = request.respond(response(status, content, body)) {
            log::debug!("ops: the client did not receive its answer: {error}");
        }
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
