//! The FleetLock port: a request's bytes to the coordinator, its reply to the client.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustls::ServerConfig;
use tiny_http::Server;

use super::{listen, response, serve};
use crate::coordinator::Coordinator;
use crate::fleetlock::{BODY_BYTES_MAX, Endpoint, Head, Malformed, Reply, check, endpoint, parse};
use crate::metrics::Metrics;

/// The header that every FleetLock request carries.
const PROTOCOL: &str = "fleet-lock-protocol";

/// The port that nodes call.
pub struct FleetLock {
    server: Arc<Server>,
    workers: Vec<JoinHandle<()>>,
}

/// What every request needs.
struct Context {
    coordinator: Arc<Coordinator>,
    metrics: Arc<Metrics>,
    base: String,
}

impl FleetLock {
    /// Listens on `address` and serves with `workers` threads below the path `base`, over TLS when `tls` is given.
    pub fn start(
        address: SocketAddr,
        workers: usize,
        base: &str,
        tls: Option<Arc<ServerConfig>>,
        coordinator: Arc<Coordinator>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        if let Some(_config) = tls {
            // Plain HTTP instead would be what nobody asked for.
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this build cannot serve TLS"));
        }
        let server = listen(address)?;
        let context = Context { coordinator, metrics, base: base.to_owned() };
        let workers = serve(&server, "fleetlock", workers, move |request| context.handle(request))?;
        Ok(Self { server, workers })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.server.server_addr().to_string()
    }

    /// Takes no further request; each worker ends after the one it has.
    pub fn stop(&self) {
        self.workers.iter().for_each(|_worker| self.server.unblock());
    }

    /// Whether every worker has ended.
    pub fn is_idle(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }
}

impl Context {
    #[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
    fn handle(&self, mut request: tiny_http::Request) {
        let begun = Instant::now();
        let path = endpoint(request.url(), &self.base);
        let parsed = read(&mut request, &self.base);
        let metrics = Arc::clone(&self.metrics);
        let respond = move |reply: Reply| {
            metrics.request(path, &reply, begun.elapsed());
            send(request, path, &reply);
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

fn send(request: tiny_http::Request, path: Option<Endpoint>, reply: &Reply) {
    let (kind, peer) = (reply.kind(), request.remote_addr().map(ToString::to_string).unwrap_or_default());
    log::info!("{} from {peer}: {} {}: {}", path.map_or("request", Endpoint::name), kind.status(), kind.name(), reply.value());
    if let Err(error) = request.respond(response(kind.status(), "application/json", reply.json())) {
        log::debug!("the client {peer} was gone before its answer: {error}");
    }
}
