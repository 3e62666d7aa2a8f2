//! One connection: TLS if it is configured, one bounded request under one deadline, one answer, and the end.
//!
//! The deadline runs from `accept` to the last byte of the request. Every read gets the time left until then, so a byte
//! now and then buys no time.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::connections::Connection;
use super::handoff::{Client, Handoff, Peer, printed, response};
use super::head::{Progress, Reader, Received, Sizes, TLS_HANDSHAKE};
use crate::coordinator::Presence;
use crate::fleetlock::{Kind, Reply};
use crate::metrics::{Loss, Metrics};
use crate::system::clock;

/// Time for a client to receive its answer, about 300 bytes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Time for a client that has its answer to close its side. Closing at once, while the client still sends, could destroy
/// the answer before the client has read it (RFC 9112, section 9.6).
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Bytes that are read from such a client and discarded.
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// The part that all connections of a port share.
pub(super) struct Exchange {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) request_max: Duration,
    pub(super) sizes: Sizes,
    pub(super) handoff: Arc<Handoff>,
    pub(super) metrics: Arc<Metrics>,
}

/// A connection that is being served.
struct Served<'a> {
    port: &'a Exchange,
    connection: &'a Connection,
    peer: Peer,
    accepted: Instant,
    deadline: Cell<Instant>,
}

/// A socket whose reads and writes end at a deadline.
struct TimedStream<'a> {
    stream: &'a TcpStream,
    deadline: &'a Cell<Instant>,
}

impl Exchange {
    /// Serves a connection to its end.
    pub(super) fn serve(&self, connection: &Connection, peer: Peer, accepted: Instant) {
        let served = Served { port: self, connection, peer, accepted, deadline: Cell::new(accepted + self.request_max) };
        // Answers are written in one piece.
        let _ = connection.stream().set_nodelay(true);
        if let Err(error) = served.answer() {
            if is_timeout(&error) {
                self.metrics.connection_lost(Loss::TimedOut);
            }
            log::debug!("the connection of {peer} ended: {error}");
        }
        connection.end_answer();
        served.linger();
    }

    /// The answer to bytes that are no request.
    fn refusal(&self, reply: &Reply, begun: Instant) -> Vec<u8> {
        self.metrics.request(None, reply, begun.elapsed());
        printed(response(reply.kind().status(), "application/json", reply.json()))
    }
}

impl Served<'_> {
    fn answer(&self) -> io::Result<()> {
        let mut stream = self.stream();
        let Some(config) = &self.port.tls else { return self.answer_on(&mut stream) };
        match stream.first()? {
            Some(TLS_HANDSHAKE) => self.answer_over_tls(config),
            Some(_) => {
                let message = "this port speaks TLS, and this was plain HTTP: use https:// in base_url".to_owned();
                stream.write_all(&self.port.refusal(&Reply::refusal(Kind::BadRequest, message), self.accepted))
            }
            None => Ok(()),
        }
    }

    fn answer_over_tls(&self, config: &Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        // On the heap: the thread has a small stack.
        let mut stream = Box::new(StreamOwned::new(connection, self.stream()));
        while stream.conn.is_handshaking() {
            let StreamOwned { conn, sock } = &mut *stream;
            conn.complete_io(sock)?;
        }
        self.answer_on(&mut *stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer_on(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let begun = clock::now().instant;
        let answer = match read(stream, self.port.sizes) {
            Ok(Ok(_)) if !self.connection.begin_answer() => return Err(io::Error::other("closed in favor of newer connections")),
            Ok(Ok(request)) => return self.hand_off(stream, &request),
            Ok(Err(reply)) => self.port.refusal(&reply, begun),
            Err(error) if is_timeout(&error) => {
                self.port.metrics.connection_lost(Loss::TimedOut);
                let message = format!("the request was not complete after {} s", self.port.request_max.as_secs());
                self.port.refusal(&Reply::refusal(Kind::BadRequest, message), begun)
            }
            Err(error) => return Err(error),
        };
        self.deliver(stream, &answer)
    }

    /// Answers a complete request, also where the client has closed its own side. A client that may have missed its answer
    /// is logged: a node that was approved reboots or does not, and holds a slot.
    fn hand_off(&self, stream: &mut impl Write, request: &Received) -> io::Result<()> {
        let (peer, presence) = (self.peer, Arc::new(Presence::default()));
        let client = Client { peer, presence };
        let answer = self.port.handoff.pass(request, &client, self.connection.stream())?;
        let delivered = self.deliver(stream, &answer);
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

    fn deliver(&self, stream: &mut impl Write, answer: &[u8]) -> io::Result<()> {
        self.deadline.set(clock::now().instant + ANSWER_MAX);
        stream.write_all(answer)?;
        stream.flush()
    }

    /// Gives the client time to read its answer.
    fn linger(&self) {
        if self.connection.stream().shutdown(Shutdown::Write).is_ok() {
            self.deadline.set(clock::now().instant + LINGER_MAX);
            let _ = io::copy(&mut self.stream().take(LINGER_BYTES_MAX), &mut io::sink());
        }
    }

    fn stream(&self) -> TimedStream<'_> {
        TimedStream { stream: self.connection.stream(), deadline: &self.deadline }
    }
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

/// On Linux the time-out of a socket is a `WouldBlock`.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

impl TimedStream<'_> {
    /// The first byte, which is left to be read again.
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

impl Read for TimedStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for TimedStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
