//! The FleetLock port: passes requests to the coordinator and replies to the clients.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use rustls::ServerConfig;
use tiny_http::Header;

use super::handoff::response;
use super::{AuthFile, Client, Listener, ListenerLimits};
use crate::access::{CHALLENGE, Origin, Permit, presented};
use crate::coordinator::Coordinator;
use crate::fleetlock::{Endpoint, Head, Kind, Refusal, Reply, Request, endpoint, parse};
use crate::metrics::Metrics;
use crate::system::clock;

// Header that every FleetLock request must have.
const PROTOCOL: &str = "fleet-lock-protocol";

/// Handler of FleetLock requests.
pub(crate) struct Routes {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) metrics: Arc<Metrics>,
    /// Path below which the protocol is served.
    pub(crate) base: String,
    /// Credentials; `None`: every caller may act for every node.
    pub(crate) auth_file: Option<Arc<AuthFile>>,
}

impl Routes {
    pub(crate) fn listen(self, address: SocketAddr, limits: ListenerLimits, tls: Option<Arc<ServerConfig>>) -> io::Result<Listener> {
        let metrics = Arc::clone(&self.metrics);
        Listener::open("fleetlock", address, limits, tls, metrics, move |request, client| self.handle(request, client))
    }

    fn handle(&self, mut request: tiny_http::Request, client: Client) {
        let begun = clock::now().instant;
        let Client { peer, presence } = client;
        let path = endpoint(request.url(), &self.base);
        // Authentication comes first, so a client without a credential learns nothing else. `user` is kept for the log of any refusal.
        let (user, admitted) = match self.permit(&request) {
            Continue(permit) => (permit.user().map(str::to_owned), self.admit(&mut request, peer, permit)),
            Break(refusal) => (None, Break(refusal)),
        };
        let metrics = Arc::clone(&self.metrics);
        let respond = move |reply: Reply| {
            metrics.request(path, &reply, begun.elapsed());
            send(request, peer, path, user.as_deref(), &reply);
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

    /// Parses the request and checks the permission for its group: all decisions that do not need Kubernetes.
    fn admit(&self, request: &mut tiny_http::Request, peer: SocketAddr, permit: Permit) -> ControlFlow<Refusal, (Request, Origin)> {
        let parsed = read(request, &self.base)?;
        match permit.group_refusal(&parsed.group) {
            Some(refusal) => Break(refusal),
            None => Continue((parsed, Origin { permit, peer: peer.ip() })),
        }
    }
}

fn read(request: &mut tiny_http::Request, base: &str) -> ControlFlow<Refusal, Request> {
    let (method, target) = (request.method().to_string(), request.url().to_owned());
    let protocol = request.headers().iter().find(|header| header.field.equiv(PROTOCOL)).map(|header| header.value.to_string());
    let head = Head { method: &method, target: &target, protocol: protocol.as_deref() };
    // The listener passes on complete requests only, so the body is here already and within its limit.
    let mut body = Vec::new();
    match request.as_reader().read_to_end(&mut body) {
        Ok(_) => parse(head, &body, base),
        Err(error) => Break(Refusal::new(Kind::BadRequest, format!("the body ended early: {error}"))),
    }
}

fn send(request: tiny_http::Request, peer: SocketAddr, path: Option<Endpoint>, user: Option<&str>, reply: &Reply) {
    let kind = reply.kind();
    let caller = user.map_or_else(|| peer.to_string(), |user| format!("{user:?} at {peer}"));
    log::info!("{} from {caller}: {} {}: {}", path.map_or("request", Endpoint::name), kind.status(), kind.name(), reply.value());
    let mut response = response(kind.status(), "application/json", reply.json());
    if kind == Kind::Unauthorized
        && let Ok(challenge) = Header::from_bytes("WWW-Authenticate", CHALLENGE)
    {
        response.add_header(challenge);
    }
    if let Err(error) = request.respond(response) {
        log::debug!("the client {peer} did not receive its answer: {error}");
    }
}
