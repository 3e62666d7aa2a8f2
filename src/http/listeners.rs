//! A port: accepts connections and gives each a thread with a small stack. Failures of `accept` or of a thread never end it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ServerConfig;

use super::answers::Answers;
use super::connection;
use super::connections::Connections;
use super::handoff::{Client, Handoff};
use super::head::{Received, Sizes};
use super::tls_failures::TlsFailures;
use super::workers::Workers;
use crate::metrics::{Loss, Metrics};
use crate::system::backoff::Backoff;
use crate::system::guarded::Guarded;
use crate::system::{clock, threads};

// Suffices for a TLS handshake as a server, also in a build without optimisation. Hundreds of connections may be open.
const CONNECTION_STACK_BYTES: usize = 128 * 1024;

// Connections that may wait for `accept`. With the 128 of `std`, hundreds of clients in a loop let the kernel drop the connection of another
// one, which its client notices a second later.
const BACKLOG: i32 = 4096;

// Pauses after a failed `accept`.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) };

const WAKE_MAX: Duration = Duration::from_secs(1);

/// Limits of a port.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of connections of one address that wait for their answers, for each connection that does not.
    pub share: usize,
    /// Maximum time from `accept` to the last byte of the request.
    pub request: Duration,
    /// Maximum size of a request.
    pub sizes: Sizes,
    /// Maximum number of threads that answer requests.
    pub workers: usize,
}

/// An open port.
pub struct Listener {
    address: SocketAddr,
    port: Arc<Port>,
}

/// State that all connections of a port share.
pub(super) struct Port {
    name: String,
    connections: Arc<Connections>,
    pub(super) handoff: Arc<Handoff>,
    pub(super) limits: ListenerLimits,
    pub(super) metrics: Arc<Metrics>,
    /// Log of the answers to bytes that are not a request.
    pub(super) answers: Answers,
    stopping: AtomicBool,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) tls_failures: Guarded<TlsFailures>,
    pub(super) at_once: AtOnce,
}

/// Function that answers a request in the thread of its connection, or returns `None`. It must not wait for anything.
pub(super) type AtOnce = Box<dyn Fn(&Received) -> Option<Vec<u8>> + Send + Sync>;

impl Listener {
    /// Listens on `address` and answers requests with `handle`. `name` becomes the name of the threads.
    pub fn open(
        name: &str,
        address: SocketAddr,
        limits: ListenerLimits,
        tls: Option<Arc<ServerConfig>>,
        metrics: Arc<Metrics>,
        handle: impl Fn(tiny_http::Request, Client) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::open_with(name, address, limits, tls, metrics, Box::new(|_request| None), handle)
    }

    /// Opens a port as [`Self::open`] does, where some requests are answered at once and never wait for another one.
    pub(super) fn open_with(
        name: &str,
        address: SocketAddr,
        limits: ListenerLimits,
        tls: Option<Arc<ServerConfig>>,
        metrics: Arc<Metrics>,
        at_once: AtOnce,
        handle: impl Fn(tiny_http::Request, Client) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = listen(address)?;
        let handoff = Arc::new(Handoff::open(limits.workers)?);
        Workers::start(name, limits.workers, Arc::clone(&handoff), handle)?;
        let connections = Arc::new(Connections::new(limits.connections, limits.share, Arc::clone(&metrics)));
        let (name, stopping, tls_failures) = (name.to_owned(), AtomicBool::new(false), Guarded::default());
        let answers = Answers::default();
        let port = Arc::new(Port { name, connections, handoff, limits, metrics, answers, stopping, tls, tls_failures, at_once });
        let (address, accepting) = (listener.local_addr()?, Arc::clone(&port));
        threads::start_small(&format!("{}-accept", port.name), CONNECTION_STACK_BYTES, move || accepting.accept(&listener))?;
        Ok(Self { address, port })
    }

    /// Returns the address, with the port that the system has chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port. Open connections, and those that wait to be accepted, are still served.
    pub fn close(&self) {
        self.port.stopping.store(true, Ordering::SeqCst);
        let addresses: &[IpAddr] = match self.address.ip() {
            ip if !ip.is_unspecified() => &[ip],
            _ => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        // No call ends a blocked `accept`, but a connection does.
        let wake = |ip: &IpAddr| TcpStream::connect_timeout(&SocketAddr::new(*ip, self.address.port()), WAKE_MAX).is_ok();
        if !addresses.iter().any(wake) {
            log::warn!("{} cannot be closed before the process ends", self.address);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.port.connections.is_empty()
    }
}

impl Port {
    /// Accepts connections until the port is closed.
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        let mut failures = 0;
        let mut closing = false;
        loop {
            // The backlog is still served: without this, its clients see a reset.
            if !closing && self.stopping.load(Ordering::SeqCst) {
                closing = listener.set_nonblocking(true).is_ok();
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    failures = 0;
                    // An IPv4 client of an IPv6 socket is shown with its IPv4 address.
                    self.serve(stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()));
                }
                Err(error) if closing && error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // EMFILE, ENFILE, ENOBUFS, ECONNABORTED and errors of the network are all temporary.
                Err(error) => {
                    log::warn!("{}: no connection can be accepted: {error}", self.name);
                    self.metrics.connection_lost(Loss::NotAccepted);
                    failures += 1;
                    self.connections.make_room(BACKOFF.pause(failures, 1.0));
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let accepted = clock::now().instant;
        let Some(connection) = self.connections.add(stream, peer) else {
            log::debug!("{}: too many connections, {peer} is refused", self.name);
            return;
        };
        let this = Arc::clone(self);
        let serve = move || connection::serve(&this, &connection, peer, accepted);
        if let Err(error) = threads::start_small(&self.name, CONNECTION_STACK_BYTES, serve) {
            log::warn!("{}: no thread for {peer}: {error}", self.name);
            self.metrics.connection_lost(Loss::NoThread);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    // Without IPv6 in the kernel, the default `[::]` means `0.0.0.0`.
    let listener = TcpListener::bind(address).or_else(|error| match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_also| error),
        _ => Err(error),
    })?;
    // On a socket that listens already, this changes the backlog only.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}
