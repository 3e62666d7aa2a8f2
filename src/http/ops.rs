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
}

impl Ops {
    pub(crate) fn new(coordinator: Arc<Coordinator>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { coordinator, metrics, fleetlock_listens: AtomicBool::new(false) })
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
        if is_health_check(&request) {
            return confirm_health(request);
        }
        let (status, content, body) = match (request.method(), path(&request)) {
            (Method::Get | Method::Head, "/readyz") => match self.ready() {
                Ok(()) => (200, TEXT, "ok\n".to_owned()),
                Err(missing) => (503, TEXT, missing),
            },
            (Method::Get | Method::Head, "/metrics") => match self.metrics.page() {
                Ok(page) => (200, OPEN_METRICS, page),
                Err(error) => (500, TEXT, format!("{error}\n")),
            },
            (Method::Get | Method::Head, _) => (404, TEXT, "not found; the pages are /healthz, /readyz and /metrics\n".to_owned()),
            _ => (405, TEXT, "method not allowed; use GET\n".to_owned()),
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

/// Reports whether a request asks only if the process answers: `GET /healthz`, on either port.
pub(super) fn is_health_check(request: &tiny_http::Request) -> bool {
    matches!(request.method(), Method::Get | Method::Head) && path(request) == "/healthz"
}

/// Answers a health check.
pub(super) fn confirm_health(request: tiny_http::Request) {
    respond(request, 200, TEXT, "ok\n".to_owned());
}

fn path(request: &tiny_http::Request) -> &str {
    request.url().split('?').next().unwrap_or_default()
}

fn respond(request: tiny_http::Request, status: u16, content: &str, body: String) {
    if let Err(error) = request.respond(response(status, content, body)) {
        log::debug!("ops: the client did not receive its answer: {error}");
    }
}
