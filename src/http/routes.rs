//! The FleetLock port: passes requests to the coordinator and replies to the clients.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use rustls::ServerConfig;
use tiny_http::{Header, Method};

use super::answers::{Answered, Answers};
use super::handoff::response;
use super::head::Received;
use super::ops::confirm_health;
use super::{AuthFile, Client, Listener, ListenerLimits};
use crate::access::{CHALLENGE, Origin, Permit, presented};
use crate::coordinator::Coordinator;
use crate::fleetlock::{Head, Kind, Refusal, Reply, Request, endpoint, parse};
use crate::metrics::Metrics;
use crate::system::clock;

// Header that every FleetLock request must have.
const PROTOCOL: &str = "fleet-lock-protocol";

/// Handler of FleetLock requests.
pub(crate) struct Routes {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) metrics: Arc<Metrics>,
    /// Path with which each path must begin.
    pub(crate) base: String,
    /// Credentials; `None`: every caller may act for every node.
    pub(crate) auth_file: Option<Arc<AuthFile>>,
    pub(crate) answers: Arc<Answers>,
}

impl Routes {
    pub(crate) fn listen(self, address: SocketAddr, limits: ListenerLimits, tls: Option<Arc<ServerConfig>>) -> io::Result<Listener> {
        let metrics = Arc::clone(&self.metrics);
        let handle = move |request, client| self.handle(request, client);
        Listener::open_with("fleetlock", address, limits, tls, metrics, Box::new(health_check), handle)
    }

    fn handle(&self, mut request: tiny_http::Request, client: Client) {
        let begun = clock::now().instant;
        let Client { peer, presence } = client;
        let (path, is_probe) = (endpoint(request.url(), &self.base), is_probe(&request));
        // Authentication comes first, so a client without a credential learns nothing else. `user` is kept for the log of any refusal.
        let (user, read) = match self.permit(&request) {
            Continue(permit) => (permit.user().map(str::to_owned), read(&mut request, &self.base).map_continue(|parsed| (parsed, permit))),
            Break(refusal) => (None, Break(refusal)),
        };
        let caller = match &read {
            Continue((parsed, _)) => Some((parsed.id, parsed.group.to_string())),
            Break(_) => None,
        };
        let (metrics, answers, coordinator) = (Arc::clone(&self.metrics), Arc::clone(&self.answers), Arc::clone(&self.coordinator));
        let respond = move |reply: Reply| {
            let now = clock::now().instant;
            let duration = now.saturating_duration_since(begun);
            metrics.request(path, &reply, duration);
            let (id, group) = caller.unzip();
            let node = id.and_then(|id| coordinator.node_name(id));
            let (user, group, node) = (user.as_deref(), group.as_deref(), node.as_deref());
            answers.log(&Answered { endpoint: path, remote: peer, user, group, node, is_probe, duration }, &reply, now);
            send(request, peer, &reply);
        };
        let admitted = match read {
            Continue(read) => admit(read, peer),
            Break(refusal) => Break(refusal),
        };
        match admitted {
            Continue((parsed, origin)) => self.coordinator.answer(&parsed, &origin, presence, Box::new(respond)),
            Break(refusal) => respond(refusal.into()),
        }
    }

    fn permit(&self, request: &tiny_http::Request) -> ControlFlow<Refusal, Permit> {
        let Some(auth_file) = &self.auth_file else { return Continue(Permit::Anyone) };
        let headers = request.headers().iter().filter(|header| header.field.equiv("authorization"));
        presented(&auth_file.current(), headers.map(|header| header.value.as_str())).map_continue(Permit::Credential)
    }
}

/// Checks the permission for the group: the last decision that does not need Kubernetes.
fn admit((parsed, permit): (Request, Permit), peer: SocketAddr) -> ControlFlow<Refusal, (Request, Origin)> {
    match permit.group_refusal(&parsed.group) {
        Some(refusal) => Break(refusal),
        None => Continue((parsed, Origin { permit, peer: peer.ip() })),
    }
}

fn protocol(request: &tiny_http::Request) -> Option<&str> {
    request.headers().iter().find(|header| header.field.equiv(PROTOCOL)).map(|header| header.value.as_str())
}

fn read(request: &mut tiny_http::Request, base: &str) -> ControlFlow<Refusal, Request> {
    let (method, target) = (request.method().to_string(), request.url().to_owned());
    let protocol = protocol(request).map(str::to_owned);
    let head = Head { method: &method, target: &target, protocol: protocol.as_deref() };
    // The listener passes on complete requests only, so the body is here already and within its limit.
    let mut body = Vec::new();
    match request.as_reader().read_to_end(&mut body) {
        Ok(_) => parse(head, &body, base),
        Err(error) => Break(Refusal::new(Kind::BadRequest, format!("the body ended early: {error}"))),
    }
}

/// Answers a health check. The request of an agent is none, wherever a redirect has led it: it must not get a 200 here.
fn health_check(request: &Received) -> Option<Vec<u8>> {
    if request.has(PROTOCOL) { None } else { confirm_health(request) }
}

/// Reports whether a request looks like a probe of a load balancer, which needs no path of FleetLock: `GET /`.
fn is_probe(request: &tiny_http::Request) -> bool {
    matches!(request.method(), Method::Get | Method::Head) && request.url() == "/" && protocol(request).is_none()
}

fn send(request: tiny_http::Request, peer: SocketAddr, reply: &Reply) {
    let kind = reply.kind();
    let mut response = response(kind.status(), "application/json", reply.json());
    if kind == Kind::Unauthorized
        && let Ok(challenge) = Header::from_bytes("WWW-Authenticate", CHALLENGE)
    {
        response.add_header(challenge);
    }
    if let Err(error) = request.respond(response) {
        log::debug!(remote:% = peer; "the client {peer} did not receive its answer: {error}");
    }
}
