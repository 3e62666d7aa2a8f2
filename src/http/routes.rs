//! The FleetLock port: a request's bytes to the coordinator, its reply to the client.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use super::{Door, DoorLimits, Peer, now, response};
use crate::coordinator::Coordinator;
use crate::fleetlock::{BODY_BYTES_MAX, Endpoint, Head, Malformed, Reply, check, endpoint, parse};
use crate::metrics::Metrics;

/// The header that every FleetLock request carries.
const PROTOCOL: &str = "fleet-lock-protocol";

/// The port that nodes call.
pub struct FleetLock {
    door: Door,
}

/// What every request needs.
struct Context {
    coordinator: Arc<Coordinator>,
    metrics: Arc<Metrics>,
    base: String,
}

impl FleetLock {
    /// Listens on `address`, with TLS if there is a configuration for it, and serves below the path `base`.
    pub fn start(
        address: SocketAddr,
        limits: DoorLimits,
        tls: Option<Arc<ServerConfig>>,
        base: &str,
        coordinator: Arc<Coordinator>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let context = Context { coordinator, metrics: Arc::clone(&metrics), base: base.to_owned() };
        let door = Door::open("fleetlock", address, limits, tls, metrics, move |request, peer| context.handle(request, peer))?;
        Ok(Self { door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Accepts no further connection; those that are open are served.
    pub fn stop(&self) {
        self.door.close();
    }

    /// Whether no connection is open.
    pub fn is_idle(&self) -> bool {
        self.door.is_empty()
    }
}

impl Context {
    fn handle(&self, mut request: tiny_http::Request, peer: Peer) {
        let begun = now();
        let path = endpoint(request.url(), &self.base);
        let parsed = read(&mut request, &self.base);
        let metrics = Arc::clone(&self.metrics);
        let respond = move |reply: Reply| {
            metrics.request(path, &reply, begun.elapsed());
            send(request, peer, path, &reply);
        };
        match parsed {
            Ok(parsed) => self.coordinator.answer(&parsed, Box::new(respond)),
            Err(malformed) => respond(malformed.into()),
        }
    }
}

/// Reads at most as much body as is allowed.
fn read(request: &mut tiny_http::Request, base: &str) -> Result<crate::fleetlock::Request, Malformed> {
    let (method, target) = (request.method().to_string(), request.url().to_owned());
    let protocol = request.headers().iter().find(|header| header.field.equiv(PROTOCOL)).map(|header| header.value.to_string());
    let head = Head { method: &method, target: &target, protocol: protocol.as_deref() };
    if request.body_length().is_some_and(|length| length > BODY_BYTES_MAX) {
        return check(head, base).and_then(|_endpoint| Err(Malformed::too_large()));
    }
    let mut body = Vec::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    request.as_reader().take(limit).read_to_end(&mut body).map_err(|error| Malformed::bad(format!("the body ended early: {error}")))?;
    parse(head, &body, base)
}

fn send(request: tiny_http::Request, peer: Peer, path: Option<Endpoint>, reply: &Reply) {
    let kind = reply.kind();
    log::info!("{} from {peer}: {} {}: {}", path.map_or("request", Endpoint::name), kind.status(), kind.name(), reply.value());
    if let Err(error) = request.respond(response(kind.status(), "application/json", reply.json())) {
        log::debug!("the client {peer} was gone before its answer: {error}");
    }
}
