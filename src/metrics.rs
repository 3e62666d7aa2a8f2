//! Metrics of this process, which Prometheus reads from the ops port (OpenMetrics text).
//!
//! [`Metrics`] is one value, handed down; nothing is global. Label values come from closed sets, so the number of series is bounded.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::drain::Eviction;
use crate::fleetlock::{Endpoint, Reply};
use crate::kube::Observation;
use crate::lock::{Capacity, LockState};

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    request_seconds: Family<Labels<1>, Histogram>,
    evictions: Family<Labels<1>, Counter>,
    calls: Family<Labels<3>, Counter>,
    call_seconds: Family<Labels<2>, Histogram>,
    slots: Gauge,
    holders: Gauge,
    credentials: Gauge,
    auth_file_error: Gauge,
    certificate_expiry: Gauge,
    certificate_error: Gauge,
    ca_expiry: Gauge,
    ca_change: Gauge,
    connections_lost: Family<Labels<1>, Counter>,
    tls_failures: Family<Labels<1>, Counter>,
    watch_open: Gauge,
    watch_restarts: Family<Labels<1>, Counter>,
}

/// Label names and values of one series.
type Labels<const N: usize> = [(&'static str, String); N];

/// Reason why a connection failed before a request, on a port with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsFailure {
    CertificateExpired,
    /// The client closed the connection during the handshake.
    Closed,
    /// No version, cipher or signature that both sides support.
    NoSharedParameters,
    NotTls,
    Other,
    PlainHttp,
    TimedOut,
    /// The client did not accept the certificate.
    UnknownCa,
}

/// Reason why a connection was closed early, or not served.
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    /// The request was incomplete when a newer connection needed the place.
    Evicted,
    /// No connection could be closed for it.
    Full,
    NoThread,
    NotAccepted,
    /// The request was not complete, or the answer not received, in time.
    TimedOut,
}

/// Reason why a watch of the nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// The connection was cut; the next watch continues from the last version.
    Cut,
    /// The requested time was over.
    Done,
    /// The API server has forgotten the version to continue from (410).
    Gone,
    /// Events were out of order or cannot be compared.
    Inconsistent,
    /// No connection, or a silent one.
    Lost,
    /// An error of the API server, or an event that cannot be read.
    Refused,
}

impl Metrics {
    /// Counts an answered request; `endpoint` is `None` for any other path.
    pub(crate) fn request(&self, endpoint: Option<Endpoint>, reply: &Reply, duration: Duration) {
        let endpoint = endpoint.map_or("other", Endpoint::name).to_owned();
        let (code, kind) = (reply.kind().status().to_string(), reply.kind().name().to_owned());
        self.requests.get_or_create(&[("endpoint", endpoint.clone()), ("code", code), ("kind", kind)]).inc();
        self.request_seconds.get_or_create(&[("endpoint", endpoint)]).observe(duration.as_secs_f64());
    }

    pub(crate) fn eviction(&self, eviction: &Eviction) {
        let result = match eviction {
            Eviction::Budget { .. } => "budget",
            Eviction::Evicted => "evicted",
            Eviction::Gone { .. } => "gone",
            Eviction::RateLimited { .. } => "rate_limited",
            Eviction::Postponed { .. } | Eviction::Refused { .. } => "refused",
            Eviction::Unclear { .. } => "unclear",
        };
        self.evictions.get_or_create(&[("result", result.to_owned())]).inc();
    }

    pub(crate) fn connection_lost(&self, loss: Loss) {
        let reason = match loss {
            Loss::Evicted => "evicted",
            Loss::Full => "full",
            Loss::NoThread => "no_thread",
            Loss::NotAccepted => "not_accepted",
            Loss::TimedOut => "timed_out",
        };
        self.connections_lost.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    pub(crate) fn tls_failed(&self, failure: TlsFailure) {
        self.tls_failures.get_or_create(&[("reason", failure.name().to_owned())]).inc();
    }

    /// Counts a finished call to Kubernetes.
    pub(crate) fn call(&self, call: &Observation) {
        let (verb, resource) = (call.verb.name().to_owned(), call.resource.to_owned());
        let code = call.code.unwrap_or(0).to_string();
        self.calls.get_or_create(&[("verb", verb.clone()), ("resource", resource.clone()), ("code", code)]).inc();
        self.call_seconds.get_or_create(&[("verb", verb), ("resource", resource)]).observe(call.duration.as_secs_f64());
    }

    pub(crate) fn slots(&self, capacity: Capacity, lock: &LockState) {
        self.slots.set(capacity.slots as i64);
        self.holders.set(lock.holders.len() as i64);
    }

    /// Records the number of credentials in the file; `None`: the file cannot be read.
    pub(crate) fn auth_file(&self, credentials: Option<usize>) {
        self.auth_file_error.set(credentials.is_none().into());
        if let Some(count) = credentials {
            self.credentials.set(count as i64);
        }
    }

    /// Records the end of the certificate that is served.
    pub(crate) fn certificate(&self, not_after: jiff::Timestamp) {
        self.certificate_expiry.set(not_after.as_second());
    }

    /// Records the end of our own CA, and the time from which the next one signs.
    pub(crate) fn authority(&self, not_after: Option<jiff::Timestamp>, change: Option<jiff::Timestamp>) {
        self.ca_expiry.set(not_after.map_or(0, jiff::Timestamp::as_second));
        self.ca_change.set(change.map_or(0, jiff::Timestamp::as_second));
    }

    pub(crate) fn certificate_error(&self, error: bool) {
        self.certificate_error.set(error.into());
    }

    pub(crate) fn watch_opened(&self) {
        self.watch_open.set(1);
    }

    pub(crate) fn watch_ended(&self, end: WatchEnd) {
        let reason = match end {
            WatchEnd::Cut => "cut",
            WatchEnd::Done => "done",
            WatchEnd::Gone => "gone",
            WatchEnd::Inconsistent => "inconsistent",
            WatchEnd::Lost => "lost",
            WatchEnd::Refused => "refused",
        };
        self.watch_open.set(0);
        self.watch_restarts.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    /// Returns the page that Prometheus reads.
    pub(crate) fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry).map(|()| page)
    }
}

impl TlsFailure {
    /// Returns the word in the metric and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CertificateExpired => "certificate_expired",
            Self::Closed => "closed",
            Self::NoSharedParameters => "no_shared_parameters",
            Self::NotTls => "not_tls",
            Self::Other => "other",
            Self::PlainHttp => "plain_http",
            Self::TimedOut => "timed_out",
            Self::UnknownCa => "unknown_ca",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("reboot_manager");
        registry.register("build", "Running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        // The constructors are function pointers, because a field must name their type.
        let request_seconds = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        let call_seconds = Family::new_with_constructor((|| Histogram::new(CALL_SECONDS)) as fn() -> Histogram);
        let certificate_expiry = Gauge::default();
        let (ca_expiry, ca_change) = (Gauge::default(), Gauge::default());
        let expiry = "Expiry of the served certificate, Unix time; 0 without TLS";
        let [ca, change] = ["Expiry of our own CA, Unix time; 0 without one", "Start of the next CA, Unix time; 0 without one"];
        registry.register_with_unit("request_duration", "Time to the answer", Unit::Seconds, request_seconds.clone());
        registry.register_with_unit("kubernetes_call_duration", "Time of a call", Unit::Seconds, call_seconds.clone());
        registry.register_with_unit("certificate_expiry_timestamp", expiry, Unit::Seconds, certificate_expiry.clone());
        registry.register_with_unit("ca_expiry_timestamp", ca, Unit::Seconds, ca_expiry.clone());
        registry.register_with_unit("ca_change_timestamp", change, Unit::Seconds, ca_change.clone());
        Self {
            requests: added(&mut registry, "requests", "FleetLock requests answered"),
            request_seconds,
            evictions: added(&mut registry, "evictions", "Eviction requests, by result"),
            calls: added(&mut registry, "kubernetes_calls", "Attempts of calls to the Kubernetes API; code 0: no answer"),
            call_seconds,
            slots: added(&mut registry, "slots", "Nodes that may reboot at once"),
            holders: added(&mut registry, "holders", "Nodes that hold a slot"),
            credentials: added(&mut registry, "credentials", "Credentials in force"),
            auth_file_error: added(&mut registry, "auth_file_error", "1 while --auth-file cannot be read"),
            certificate_expiry,
            certificate_error: added(&mut registry, "certificate_error", "1 while the certificate needs a person"),
            ca_expiry,
            ca_change,
            connections_lost: added(&mut registry, "connections_lost", "Connections closed early or not served, by reason"),
            tls_failures: added(&mut registry, "tls_failures", "TLS connections that failed before a request, by reason"),
            watch_open: added(&mut registry, "watch_open", "1 while the watch of all nodes is open"),
            watch_restarts: added(&mut registry, "watch_restarts", "Watches of all nodes that ended, by reason"),
            registry,
        }
    }
}

/// Registers a metric and returns it.
fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

// From a cached read to a request that is held while a node drains.
const REQUEST_SECONDS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

// Upper bounds of one call to Kubernetes.
const CALL_SECONDS: [f64; 8] = [0.002, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleetlock::Kind;

    #[test]
    fn the_page_shows_each_family_with_its_labels() {
        let metrics = Metrics::default();
        metrics.request(Some(Endpoint::PreReboot), &Reply::refusal(Kind::SlotsTaken, String::new()), Duration::from_millis(3));
        metrics.eviction(&Eviction::Evicted);
        metrics.slots(Capacity { slots: 2 }, &LockState::default());
        metrics.auth_file(Some(3));
        metrics.auth_file(None);
        metrics.connection_lost(Loss::TimedOut);
        metrics.tls_failed(TlsFailure::UnknownCa);
        metrics.watch_opened();
        metrics.watch_ended(WatchEnd::Gone);
        let page = metrics.page().unwrap();
        for line in [
            "reboot_manager_requests_total{endpoint=\"pre-reboot\",code=\"404\",kind=\"slots_taken\"} 1",
            "reboot_manager_request_duration_seconds_bucket{le=\"0.005\",endpoint=\"pre-reboot\"} 1",
            "reboot_manager_evictions_total{result=\"evicted\"} 1",
            "reboot_manager_connections_lost_total{reason=\"timed_out\"} 1",
            "reboot_manager_tls_failures_total{reason=\"unknown_ca\"} 1",
            "reboot_manager_watch_open 0",
            "reboot_manager_watch_restarts_total{reason=\"gone\"} 1",
            "reboot_manager_slots 2",
            "reboot_manager_holders 0",
            "reboot_manager_credentials 3",
            "reboot_manager_auth_file_error 1",
            concat!("reboot_manager_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}
