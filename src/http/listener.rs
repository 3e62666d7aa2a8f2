//! A port: accepts connections and gives each a thread with a small stack, whatever arrives and whatever runs out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ServerConfig;

use super::crew::Crew;
use super::guests::Guests;
use super::handoff::{Client, Handoff, Peer};
use super::head::Sizes;
use super::intake::Intake;
use crate::metrics::{Loss, Metrics};
use crate::system::backoff::Backoff;
use crate::system::{clock, threads};

/// Enough for a TLS handshake as a server, in a build without optimisation too.
const GUEST_STACK_BYTES: usize = 128 * 1024;

/// Pauses after an `accept` that failed.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) };

/// How long it may take to wake the accept loop.
const KNOCK_MAX: Duration = Duration::from_secs(1);

/// What a port takes.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// Connections that are open at once.
    pub connections: usize,
    /// From `accept` to the last byte of the request.
    pub request: Duration,
    /// How large a request may be.
    pub sizes: Sizes,
    /// Threads that answer requests.
    pub workers: usize,
}

/// An open port.
pub struct Door {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    guests: Arc<Guests>,
    intake: Intake,
    stopping: AtomicBool,
}

impl Door {
    /// Listens on `address`; `handle` answers requests. Threads get `name`.
    pub fn open(
        name: &str,
        address: SocketAddr,
        limits: DoorLimits,
        tls: Option<Arc<ServerConfig>>,
        metrics: Arc<Metrics>,
        handle: impl Fn(tiny_http::Request, Client) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = listen(address)?;
        let handoff = Arc::new(Handoff::open()?);
        Crew::hire(name, limits.workers, Arc::clone(&handoff), handle)?;
        let guests = Arc::new(Guests::new(limits.connections, Arc::clone(&metrics)));
        let intake = Intake { tls, request_max: limits.request, sizes: limits.sizes, handoff, metrics };
        let shared = Arc::new(Shared { name: name.to_owned(), guests, intake, stopping: AtomicBool::new(false) });
        let (address, accepting) = (listener.local_addr()?, Arc::clone(&shared));
        threads::start_small(&format!("{name}-door"), GUEST_STACK_BYTES, move || accepting.accept(&listener))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets in who is at the door already and nobody after them. Those who are in are served.
    pub fn close(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let ways: &[IpAddr] = match self.address.ip() {
            ip if !ip.is_unspecified() => &[ip],
            _ => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        // A knock wakes the accept loop; it finds the flag.
        let knock = |ip: &IpAddr| TcpStream::connect_timeout(&SocketAddr::new(*ip, self.address.port()), KNOCK_MAX).is_ok();
        if !ways.iter().any(knock) {
            log::warn!("{} cannot be closed before the process ends", self.address);
        }
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.shared.guests.is_empty()
    }
}

impl Shared {
    /// Runs until the door is closed.
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        let mut failures = 0;
        let mut closing = false;
        loop {
            if !closing && self.stopping.load(Ordering::SeqCst) {
                closing = listener.set_nonblocking(true).is_ok();
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    failures = 0;
                    self.admit(stream, Peer(peer));
                }
                Err(error) if closing && error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // EMFILE, ENFILE, ENOBUFS, ECONNABORTED and whatever else the network says: none of them lasts.
                Err(error) => {
                    log::warn!("{}: no connection can be accepted: {error}", self.name);
                    self.intake.metrics.connection_lost(Loss::NotAccepted);
                    failures += 1;
                    self.guests.make_room(BACKOFF.pause(failures, 1.0));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: Peer) {
        let accepted = clock::now().instant;
        let Some(guest) = self.guests.admit(stream) else {
            log::debug!("{}: no place for {peer}", self.name);
            return;
        };
        let this = Arc::clone(self);
        if let Err(error) = threads::start_small(&self.name, GUEST_STACK_BYTES, move || this.intake.receive(&guest, peer, accepted)) {
            log::warn!("{}: no thread for {peer}: {error}", self.name);
            self.intake.metrics.connection_lost(Loss::NoThread);
        }
    }
}

/// Where the kernel has no IPv6, the unspecified address of IPv6 means that of IPv4.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).or_else(|error| match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_also| error),
        _ => Err(error),
    })
}
