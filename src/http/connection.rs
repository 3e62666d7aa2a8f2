//! One connection: TLS if configured, one bounded request under one deadline, one answer, and the end.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::answers::Answered;
use super::connections::Connection;
use super::handoff::{Client, printed, response};
use super::head::{Progress, Reader, Received, Sizes, TLS_HANDSHAKE};
use super::listeners::Port;
use super::places::Begin;
use super::tls_failures;
use crate::coordinator::Presence;
use crate::fleetlock::{Kind, Refusal, Reply};
use crate::metrics::{Loss, TlsFailure};
use crate::system::clock;

// Shorter than the idle limit of proxies and load balancers that cut quiet connections, which is 60 seconds or more.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 3;

// An answer has about 300 bytes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

// Time and bytes for a client that has the answer to close its side.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// A connection that is being served. Reads and writes end at the deadline.
struct Served<'a> {
    port: &'a Port,
    connection: &'a Connection,
    peer: SocketAddr,
    accepted: Instant,
    deadline: Cell<Instant>,
}

/// Serves a connection to its end. The time for the request begins with `accept`, so it includes the TLS handshake.
pub(super) fn serve(port: &Port, connection: &Connection, peer: SocketAddr, accepted: Instant) {
    let served = Served { port, connection, peer, accepted, deadline: Cell::new(accepted + port.limits.request) };
    // Answers are written in one piece, so there is nothing to collect.
    let _ = connection.stream.set_nodelay(true);
    // Without keep-alive probes, a client whose machine is gone would be held for as long as a request may wait.
    if let Err(error) = keep_alive(&connection.stream) {
        log::debug!(remote:% = peer; "no keep-alive for the connection of {peer}: {error}");
    }
    if let Err(error) = served.answer() {
        if is_timeout(&error) {
            port.metrics.connection_lost(Loss::TimedOut);
        }
        log::debug!(remote:% = peer; "the connection of {peer} ended: {error}");
    }
    connection.end_answer();
    served.linger();
}

/// Sends a probe after 30 seconds without data, and ends the connection after three more without an answer: within 60 seconds.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, KEEP_ALIVE_IDLE)?;
    set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    set_tcp_keepcnt(stream, KEEP_ALIVE_PROBES)
}

impl Served<'_> {
    fn answer(&self) -> io::Result<()> {
        let mut stream = self;
        let Some(config) = &self.port.tls else { return self.answer_on(&mut stream) };
        // The byte is only peeked at: a client that speaks plain HTTP gets a readable answer instead of a TLS alert.
        match self.peek()? {
            Some(TLS_HANDSHAKE) => self.answer_over_tls(config),
            Some(first) => {
                self.tls_failed(tls_failures::of_first_byte(first), "no TLS handshake");
                let refusal = Refusal::new(Kind::BadRequest, "this port speaks TLS, and this was plain HTTP: use https:// in base_url");
                stream.write_all(&self.refuse(refusal, self.accepted))
            }
            None => Ok(()),
        }
    }

    fn answer_over_tls(&self, config: &Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        // On the heap, because the stack of the thread is small.
        let mut stream = Box::new(StreamOwned::new(connection, self));
        while stream.conn.is_handshaking() {
            let StreamOwned { conn, sock } = &mut *stream;
            conn.complete_io(sock).inspect_err(|error| self.may_be_tls_failure(error, true))?;
        }
        // A client of TLS 1.3 may refuse the certificate when for the server the handshake is complete.
        self.answer_on(&mut *stream).inspect_err(|error| self.may_be_tls_failure(error, false))?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn may_be_tls_failure(&self, error: &io::Error, is_handshaking: bool) {
        if let Some(failure) = tls_failures::failure(error, is_handshaking)
            && !self.connection.is_closed()
        {
            self.tls_failed(failure, &error.to_string());
        }
    }

    fn tls_failed(&self, failure: TlsFailure, detail: &str) {
        self.port.metrics.tls_failed(failure);
        let line = self.port.tls_failures.lock().record(failure, self.peer, detail, clock::now().instant);
        if let Some(line) = line {
            log::warn!(remote:% = self.peer; "{line}");
        }
    }

    fn answer_on(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let begun = clock::now().instant;
        let refusal = match read(stream, self.port.limits.sizes) {
            Ok(Ok(request)) => {
                let at_once = (self.port.at_once)(&request);
                // A connection whose request is handed off is never closed for a newer one: an approved node must get its answer.
                match (self.connection.begin_answer(at_once.is_some()), at_once) {
                    (Begin::Allowed, Some(answer)) => return self.deliver(stream, &answer),
                    (Begin::Allowed, None) => return self.hand_off(stream, &request, begun),
                    (Begin::Closed, _) => return Err(io::Error::other("closed in favor of newer connections")),
                    (Begin::TooMany, _) => {
                        Refusal::new(Kind::Contended, "too many requests from this address wait for their answers; ask again later")
                    }
                }
            }
            Ok(Err(refusal)) => refusal,
            Err(error) if is_timeout(&error) => {
                self.port.metrics.connection_lost(Loss::TimedOut);
                Refusal::new(Kind::BadRequest, format!("the request was not complete after {} s", self.port.limits.request.as_secs()))
            }
            Err(error) => return Err(error),
        };
        self.deliver(stream, &self.refuse(refusal, begun))
    }

    fn hand_off(&self, stream: &mut impl Write, request: &Received, begun: Instant) -> io::Result<()> {
        let client = Client { peer: self.peer, presence: Arc::new(Presence::default()) };
        let Some(answer) = self.port.handoff.pass(request, &client, &self.connection.stream)? else {
            let refusal = Refusal::new(Kind::BadRequest, "the client closed its side of the connection before its turn");
            return self.deliver(stream, &self.refuse(refusal, begun));
        };
        let delivered = self.deliver(stream, &answer);
        // An approved node that misses its answer keeps its slot and does not reboot, so the log must show it.
        let missed = match &delivered {
            Err(error) => format!("did not reach the client {}: {error}", self.peer),
            Ok(()) if client.presence.is_gone() => {
                format!("may not have reached the client {}, which had closed its side of the connection", self.peer)
            }
            Ok(()) => return delivered,
        };
        match status_and_kind(&answer) {
            Some(name) if self.port.answers.is_loss_due(&name, self.peer, clock::now().instant) => {
                log::warn!(remote:% = self.peer; "the answer {name} {missed}");
            }
            _ => log::debug!(remote:% = self.peer; "an answer {missed}"),
        }
        delivered
    }

    /// Returns the answer to bytes that are not a request.
    fn refuse(&self, refusal: Refusal, begun: Instant) -> Vec<u8> {
        let (reply, now) = (Reply::from(refusal), clock::now().instant);
        let duration = now.saturating_duration_since(begun);
        self.port.metrics.request(None, &reply, duration);
        self.port.answers.log(&Answered::unread(self.peer, duration), &reply, now);
        printed(response(reply.kind().status(), "application/json", reply.json()), false)
    }

    fn deliver(&self, stream: &mut impl Write, answer: &[u8]) -> io::Result<()> {
        self.deadline.set(clock::now().instant + ANSWER_MAX);
        stream.write_all(answer)?;
        stream.flush()
    }

    /// Gives the client time to read the answer.
    fn linger(&self) {
        // Closing at once, while the client still sends, can destroy the answer before the client has read it
        // (RFC 9112, section 9.6).
        if self.connection.stream.shutdown(Shutdown::Write).is_ok() {
            self.deadline.set(clock::now().instant + LINGER_MAX);
            let _ = io::copy(&mut self.take(LINGER_BYTES_MAX), &mut io::sink());
        }
    }

    /// Returns the first byte without consuming it; `None` at the end of the stream.
    fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        self.connection.stream.set_read_timeout(Some(self.left()?))?;
        Ok((self.connection.stream.peek(&mut first)? > 0).then_some(first[0]))
    }

    fn left(&self) -> io::Result<Duration> {
        // One deadline for the whole request: a timeout for each read lets a client that sends a byte a second stay for hours.
        let left = clock::left(self.deadline.get());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// Returns status and kind of an answer of the FleetLock protocol, as `200 approved`.
fn status_and_kind(answer: &[u8]) -> Option<String> {
    let text = str::from_utf8(answer).ok()?;
    let status = text.split(' ').nth(1)?;
    let kind = text.split("\r\n\r\n").nth(1)?.strip_prefix("{\"kind\":\"")?.split('"').next()?;
    Some(format!("{status} {kind}"))
}

/// Reads to the end of the request.
fn read(stream: &mut (impl Read + Write), sizes: Sizes) -> io::Result<Result<Received, Refusal>> {
    let (mut reader, mut buffer) = (Reader::new(sizes), [0; 1024]);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) if reader.has_begun() => {
                return Ok(Err(Refusal::new(Kind::BadRequest, "the request ended before it was complete")));
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
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    // On Linux the timeout of a socket is a `WouldBlock`.
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

impl Read for &Served<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.stream.set_read_timeout(Some(self.left()?))?;
        (&*self.connection.stream).read(buffer)
    }
}

impl Write for &Served<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.stream.set_write_timeout(Some(self.left()?))?;
        (&*self.connection.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
