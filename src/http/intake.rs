//! One connection: TLS if it is configured, one bounded request under one deadline, one answer, and the end.
//!
//! The deadline runs from `accept` to the last byte of the request. Every read gets what is left of it, so it does not
//! help to send a byte now and then.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::guests::Guest;
use super::handoff::{Client, Handoff, Peer, printed};
use super::head::{Progress, Reader, Received, Sizes, TLS_HANDSHAKE};
use super::response;
use crate::coordinator::Presence;
use crate::fleetlock::{Kind, Reply};
use crate::metrics::{Loss, Metrics};
use crate::system::clock;

/// How long a client may take to receive its answer, about 300 bytes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long a client that has its answer may take to hang up. Ending at once, while it still sends, would take the
/// answer out of its hands (RFC 9112, section 9.6).
const HANG_UP_MAX: Duration = Duration::from_secs(1);

/// What is read from such a client and thrown away.
const HANG_UP_BYTES_MAX: usize = 256 * 1024;

/// What all connections of a port share.
pub(super) struct Intake {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) request_max: Duration,
    pub(super) sizes: Sizes,
    pub(super) handoff: Arc<Handoff>,
    pub(super) metrics: Arc<Metrics>,
}

/// A socket whose reads and writes end at a deadline.
struct Wire<'a> {
    stream: &'a TcpStream,
    deadline: &'a Cell<Instant>,
}

impl Intake {
    /// Serves a connection to its end.
    pub(super) fn receive(&self, guest: &Guest, peer: Peer, accepted: Instant) {
        let Some(stream) = guest.stream() else { return };
        let deadline = Cell::new(accepted + self.request_max);
        let mut wire = Wire { stream, deadline: &deadline };
        // Answers are written in one piece.
        let _ = stream.set_nodelay(true);
        let ended = match &self.tls {
            None => self.converse(&mut wire, guest, peer, &deadline),
            Some(config) => match wire.first() {
                Ok(Some(TLS_HANDSHAKE)) => self.secured(config, wire, guest, peer),
                Ok(Some(_)) => {
                    let sentence = "this port speaks TLS, and this was plain HTTP: use https:// in base_url".to_owned();
                    wire.write_all(&self.refused(&Reply::refusal(Kind::BadRequest, sentence), accepted))
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = ended {
            if is_timeout(&error) {
                self.metrics.connection_lost(Loss::TimedOut);
            }
            log::debug!("the connection of {peer} ended: {error}");
        }
        guest.lingers();
        hang_up(stream, &deadline);
    }

    fn secured(&self, config: &Arc<ServerConfig>, wire: Wire<'_>, guest: &Guest, peer: Peer) -> io::Result<()> {
        let deadline = wire.deadline;
        // On the heap: the thread has a small stack.
        let mut stream = Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?, wire));
        while stream.conn.is_handshaking() {
            let StreamOwned { conn, sock } = &mut *stream;
            conn.complete_io(sock)?;
        }
        self.converse(&mut *stream, guest, peer, deadline)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    /// Request and answer.
    fn converse(&self, stream: &mut (impl Read + Write), guest: &Guest, peer: Peer, deadline: &Cell<Instant>) -> io::Result<()> {
        let begun = clock::now().instant;
        let answer = match read(stream, self.sizes) {
            Ok(Ok(request)) => {
                if !guest.waits() {
                    return Err(io::Error::other("others needed the place"));
                }
                return self.answered(stream, guest, peer, &request, deadline);
            }
            Ok(Err(reply)) => self.refused(&reply, begun),
            Err(error) if is_timeout(&error) => {
                self.metrics.connection_lost(Loss::TimedOut);
                let sentence = format!("the request was not complete after {} s", self.request_max.as_secs());
                self.refused(&Reply::refusal(Kind::BadRequest, sentence), begun)
            }
            Err(error) => return Err(error),
        };
        deliver(stream, &answer, deadline)
    }

    /// The answer to a complete request, delivered also to a client that has closed only its own side. A client that may
    /// have missed its answer is logged: a node that was approved reboots or does not, and its slot is taken.
    fn answered(
        &self,
        stream: &mut (impl Read + Write),
        guest: &Guest,
        peer: Peer,
        request: &Received,
        deadline: &Cell<Instant>,
    ) -> io::Result<()> {
        let Some(socket) = guest.stream() else { return Ok(()) };
        let client = Client { peer, presence: Arc::new(Presence::default()) };
        let answer = self.handoff.pass(request, &client, socket)?;
        let delivered = deliver(stream, &answer, deadline);
        let missed = match &delivered {
            Err(error) => format!("did not reach the client {peer}: {error}"),
            Ok(()) if client.presence.is_gone() => {
                format!("may not have reached the client {peer}, which had closed its side of the connection")
            }
            Ok(()) => return delivered,
        };
        match named(&answer) {
            Some(name) => log::warn!("the answer {name} {missed}"),
            None => log::debug!("an answer {missed}"),
        }
        delivered
    }

    /// The answer to what is no request.
    fn refused(&self, reply: &Reply, begun: Instant) -> Vec<u8> {
        self.metrics.request(None, reply, begun.elapsed());
        printed(response(reply.kind().status(), "application/json", reply.json()))
    }
}

fn deliver(stream: &mut impl Write, answer: &[u8], deadline: &Cell<Instant>) -> io::Result<()> {
    deadline.set(clock::now().instant + ANSWER_MAX);
    stream.write_all(answer)?;
    stream.flush()
}

/// Status and kind of an answer of the FleetLock protocol, as `200 approved`.
fn named(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let status = text.split(' ').nth(1)?;
    let kind = text.split("\r\n\r\n").nth(1)?.strip_prefix("{\"kind\":\"")?.split('"').next()?;
    Some(format!("{status} {kind}"))
}

/// Reads to the end of the request. The inner error is the answer.
fn read(stream: &mut (impl Read + Write), sizes: Sizes) -> io::Result<Result<Received, Reply>> {
    let (mut reader, mut buffer) = (Reader::new(sizes), [0; 1024]);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) if reader.has_begun() => {
                return Ok(Err(Reply::refusal(Kind::BadRequest, "the request ended before it was complete".to_owned())));
            }
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match reader.push(&buffer[..count]) {
            Ok(Progress::More) => {}
            Ok(Progress::Continue) => {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                stream.flush()?;
            }
            Ok(Progress::Whole(request)) => return Ok(Ok(request)),
            Err(reply) => return Ok(Err(reply)),
        }
    }
}

/// Lets the client take its answer, then ends.
fn hang_up(stream: &TcpStream, deadline: &Cell<Instant>) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    deadline.set(clock::now().instant + HANG_UP_MAX);
    let (mut wire, mut buffer, mut seen) = (Wire { stream, deadline }, [0; 1024], 0);
    while seen < HANG_UP_BYTES_MAX {
        match wire.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => seen += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Linux says `WouldBlock` when a socket's time-out is over.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

impl Wire<'_> {
    /// The first byte, which stays to be read.
    fn first(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        self.stream.set_read_timeout(Some(self.left()?))?;
        Ok((self.stream.peek(&mut first)? > 0).then_some(first[0]))
    }

    fn left(&self) -> io::Result<Duration> {
        let left = clock::left(self.deadline.get());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
