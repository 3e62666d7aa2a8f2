//! The FleetLock port: a request's bytes to the coordinator, its reply to the client.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustls::ServerConfig;
use tiny_http::{Header, Server};

use super::{AuthFile, listen, response, serve};
use crate::access::{CHALLENGE, Denied, Origin, Permit, presented};
use crate::coordinator::Coordinator;
use crate::fleetlock::{BODY_BYTES_MAX, Endpoint, Head, Kind, Malformed, Reply, check, endpoint, parse};
use crate::metrics::Metrics;

/// The header that every FleetLock request carries.
const PROTOCOL: &str = "fleet-lock-protocol";

/// The header with the credential.
const AUTHORIZATION: &str = "authorization";

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
    auth_file: Option<Arc<AuthFile>>,
}

impl FleetLock {
    /// Listens on `address` and serves with `workers` threads below the path `base`, over TLS when `tls` is given.
    /// `auth_file` says who may call; `None`: everybody.
    pub fn start(
        address: SocketAddr,
        workers: usize,
        base: &str,
        auth_file: Option<Arc<AuthFile>>,
        tls: Option<Arc<ServerConfig>>,
        coordinator: Arc<Coordinator>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        if let Some(_config) = tls {
            // Plain HTTP instead would be what nobody asked for.
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this build cannot serve TLS"));
        }
        let server = listen(address)?;
        let context = Context { coordinator, metrics, base: base.to_owned(), auth_file };
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
        let permit = self.permit(&request);
        let user = permit.as_ref().ok().and_then(Permit::user).map(str::to_owned);
        let admitted = permit.map_err(Reply::from).and_then(|permit| self.admit(&mut request, permit));
        let metrics = Arc::clone(&self.metrics);
        let respond = move |reply: Reply| {
            metrics.request(path, &reply, begun.elapsed());
            send(request, path, user.as_deref(), &reply);
        };
        match admitted {
            Ok((parsed, origin)) => self.coordinator.answer(&parsed, &origin, Box::new(respond)),
            Err(reply) => respond(reply),
        }
    }

    /// Who calls. It comes first of all, so a stranger learns nothing but that.
    fn permit(&self, request: &tiny_http::Request) -> Result<Permit, Denied> {
        let Some(auth_file) = &self.auth_file else { return Ok(Permit::Anyone) };
        let headers = request.headers().iter().filter(|header| header.field.equiv(AUTHORIZATION));
        presented(&auth_file.current(), headers.map(|header| header.value.as_str())).map(Permit::Holder)
    }

    /// What is asked, and whether this caller may ask it for that group: all that can be judged without Kubernetes.
    fn admit(&self, request: &mut tiny_http::Request, permit: Permit) -> Result<(crate::fleetlock::Request, Origin), Reply> {
        let parsed = read(request, &self.base)?;
        permit.covers_group(&parsed.group)?;
        let peer = request.remote_addr().map(SocketAddr::ip);
        Ok((parsed, Origin { permit, peer }))
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

fn send(request: tiny_http::Request, path: Option<Endpoint>, user: Option<&str>, reply: &Reply) {
    let (kind, peer) = (reply.kind(), request.remote_addr().map(ToString::to_string).unwrap_or_default());
    let caller = user.map_or_else(|| peer.clone(), |user| format!("{user:?} at {peer}"));
    log::info!("{} from {caller}: {} {}: {}", path.map_or("request", Endpoint::name), kind.status(), kind.name(), reply.value());
    let mut response = response(kind.status(), "application/json", reply.json());
    if kind == Kind::Unauthorized
        && let Ok(challenge) = Header::from_bytes("WWW-Authenticate", CHALLENGE)
    {
        response.add_header(challenge);
    }
    if let Err(error) = request.respond(response) {
        log::debug!("the client {peer} was gone before its answer: {error}");
    }
}
