//! What is counted, as Prometheus reads it from the ops port (OpenMetrics text).
//!
//! One value, handed down; nothing is global. Label values come from closed sets, so the number of series is bounded.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::drain::Eviction;
use crate::fleetlock::{Endpoint, Reply};
use crate::kube::Observation;
use crate::lock::{Capacity, LockState};

/// Upper bounds in seconds: from a cached read to a request that is held while a node drains.
const REQUEST_SECONDS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

/// Upper bounds in seconds of one call to Kubernetes.
const CALL_SECONDS: [f64; 8] = [0.002, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0];

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
    connections: Family<Labels<1>, Counter>,
    watch_open: Gauge,
    watch_restarts: Family<Labels<1>, Counter>,
}

/// How a connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It dawdled over its request when another needed its place.
    Evicted,
    /// All places were taken by requests that wait for their answers.
    Full,
    /// No thread could be started for it.
    NoThread,
    /// `accept` failed.
    NotAccepted,
    /// Its request was not complete, or its answer not taken, in time.
    TimedOut,
}

/// Why a watch of the nodes was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// The connection was cut, and the watch continues from its last version.
    Cut,
    /// Its events did not follow on each other.
    Disorder,
    /// It had run its time.
    Done,
    /// What came next was no longer kept (410).
    Gone,
    /// The connection could not be made or continued, or brought nothing for too long.
    Lost,
    /// It could not begin, or was not understood.
    Refused,
}

/// Label names and values of one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels<const N: usize>([(&'static str, String); N]);

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("reboot_manager");
        let requests = Family::default();
        let request_seconds = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        let evictions = Family::default();
        let calls = Family::default();
        let call_seconds = Family::new_with_constructor((|| Histogram::new(CALL_SECONDS)) as fn() -> Histogram);
        let connections = Family::default();
        let (slots, holders) = (Gauge::default(), Gauge::default());
        let (credentials, auth_file_error) = (Gauge::default(), Gauge::default());
        let (certificate_expiry, certificate_error) = (Gauge::default(), Gauge::default());
        registry.register("requests", "FleetLock requests answered", requests.clone());
        registry.register_with_unit("request_duration", "Time to the answer", Unit::Seconds, request_seconds.clone());
        registry.register("evictions", "Evictions asked for, by what became of them", evictions.clone());
        registry.register("kubernetes_calls", "Calls to the Kubernetes API; code 0 is no answer", calls.clone());
        registry.register_with_unit("kubernetes_call_duration", "Time of a call", Unit::Seconds, call_seconds.clone());
        registry.register("slots", "Nodes that may be out at once", slots.clone());
        registry.register("holders", "Nodes that hold a slot", holders.clone());
        registry.register("credentials", "Credentials in force", credentials.clone());
        let unusable = "1 while --auth-file cannot be read; the credentials read before stay in force";
        registry.register("auth_file_error", unusable, auth_file_error.clone());
        let expiry = "When the served certificate ends, since 1970; 0 without TLS";
        registry.register_with_unit("certificate_expiry_timestamp", expiry, Unit::Seconds, certificate_expiry.clone());
        registry.register("certificate_error", "1 while the certificate cannot be renewed", certificate_error.clone());
        registry.register("connections_lost", "Connections that came to nothing, by reason", connections.clone());
        let open = "1 while all nodes are watched; else lists are read in place of the watch";
        let (watch_open, watch_restarts) = (Gauge::default(), Family::default());
        registry.register("watch_open", open, watch_open.clone());
        registry.register("watch_restarts", "Watches of the nodes that were over, by reason", watch_restarts.clone());
        registry.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            registry,
            requests,
            request_seconds,
            evictions,
            calls,
            call_seconds,
            slots,
            holders,
            credentials,
            auth_file_error,
            certificate_expiry,
            certificate_error,
            connections,
            watch_open,
            watch_restarts,
        }
    }

    /// A request was answered. `endpoint` is `None` when its path was neither.
    pub fn request(&self, endpoint: Option<Endpoint>, reply: &Reply, duration: Duration) {
        let endpoint = endpoint.map_or("other", Endpoint::name);
        let (code, kind) = (reply.kind().status().to_string(), reply.kind().name().to_owned());
        self.requests.get_or_create(&Labels([("endpoint", endpoint.to_owned()), ("code", code), ("kind", kind)])).inc();
        self.request_seconds.get_or_create(&Labels([("endpoint", endpoint.to_owned())])).observe(duration.as_secs_f64());
    }

    /// An eviction was answered.
    pub fn eviction(&self, eviction: &Eviction) {
        let result = match eviction {
            Eviction::Budget { .. } => "budget",
            Eviction::Evicted => "evicted",
            Eviction::Gone { .. } => "gone",
            Eviction::RateLimited { .. } => "rate_limited",
            Eviction::Refused { .. } => "refused",
            Eviction::Unclear { .. } => "unclear",
        };
        self.evictions.get_or_create(&Labels([("result", result.to_owned())])).inc();
    }

    /// A connection came to nothing.
    pub fn connection_lost(&self, loss: Loss) {
        let reason = match loss {
            Loss::Evicted => "evicted",
            Loss::Full => "full",
            Loss::NoThread => "no_thread",
            Loss::NotAccepted => "not_accepted",
            Loss::TimedOut => "timed_out",
        };
        self.connections.get_or_create(&Labels([("reason", reason.to_owned())])).inc();
    }

    /// A call to Kubernetes ended.
    pub fn call(&self, seen: &Observation) {
        let (verb, resource) = (seen.verb.name().to_owned(), seen.resource.to_owned());
        let code = seen.code.unwrap_or(0).to_string();
        self.calls.get_or_create(&Labels([("verb", verb.clone()), ("resource", resource.clone()), ("code", code)])).inc();
        self.call_seconds.get_or_create(&Labels([("verb", verb), ("resource", resource)])).observe(seen.duration.as_secs_f64());
    }

    /// The lock was read.
    pub fn slots(&self, capacity: Capacity, lock: &LockState) {
        self.slots.set(i64::try_from(capacity.slots).unwrap_or(i64::MAX));
        self.holders.set(i64::try_from(lock.holders.len()).unwrap_or(i64::MAX));
    }

    /// The file with the credentials was read: how many it lists; `None`: it cannot be used.
    pub fn auth_file(&self, listed: Option<usize>) {
        self.auth_file_error.set(i64::from(listed.is_none()));
        if let Some(count) = listed {
            self.credentials.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The certificate that ends then is served, and all is well with it.
    pub fn certificate(&self, not_after: jiff::Timestamp) {
        self.certificate_expiry.set(not_after.as_second());
        self.certificate_error(false);
    }

    /// Whether the certificate that is served is not the one that should be.
    pub fn certificate_error(&self, error: bool) {
        self.certificate_error.set(i64::from(error));
    }

    /// The nodes are watched.
    pub fn watch_opened(&self) {
        self.watch_open.set(1);
    }

    /// They are not any more, or could not be.
    pub fn watch_ended(&self, end: WatchEnd) {
        let reason = match end {
            WatchEnd::Cut => "cut",
            WatchEnd::Disorder => "disorder",
            WatchEnd::Done => "done",
            WatchEnd::Gone => "gone",
            WatchEnd::Lost => "lost",
            WatchEnd::Refused => "refused",
        };
        self.watch_open.set(0);
        self.watch_restarts.get_or_create(&Labels([("reason", reason.to_owned())])).inc();
    }

    /// The page.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry).map(|()| page)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, value) in &self.0 {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleetlock::Kind;

    #[test]
    fn the_page_names_every_family() {
        let metrics = Metrics::new();
        metrics.request(Some(Endpoint::PreReboot), &Reply::refusal(Kind::SlotsTaken, String::new()), Duration::from_millis(3));
        metrics.eviction(&Eviction::Evicted);
        metrics.slots(Capacity { slots: 2 }, &LockState::default());
        metrics.auth_file(Some(3));
        metrics.auth_file(None);
        metrics.connection_lost(Loss::TimedOut);
        metrics.watch_opened();
        metrics.watch_ended(WatchEnd::Gone);
        let page = metrics.page().unwrap();
        for line in [
            "reboot_manager_requests_total{endpoint=\"pre-reboot\",code=\"404\",kind=\"slots_taken\"} 1",
            "reboot_manager_request_duration_seconds_bucket{le=\"0.005\",endpoint=\"pre-reboot\"} 1",
            "reboot_manager_evictions_total{result=\"evicted\"} 1",
            "reboot_manager_connections_lost_total{reason=\"timed_out\"} 1",
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
