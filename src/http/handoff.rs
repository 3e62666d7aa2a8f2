//! Passes complete requests to tiny_http over an abstract Unix socket of this process, and returns its answers.
//!
//! tiny_http takes listeners only, buffers all it is sent and ends for good when descriptors run out; so no client ever
//! connects to it. An abstract socket needs no file system, but other processes of the same network namespace can find it.
//! Therefore each request carries a token that no other process can guess, by which its client is found.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tiny_http::{HTTPVersion, Header, Response, Server};

use super::head::Received;
use crate::coordinator::Presence;
use crate::system::guarded::Guarded;

/// The header that carries the token. A client's own header of this name is never handed on.
const HEADER: &str = "Reboot-Manager-Peer";

/// Longer than any request is held, so that no thread is lost for ever.
const ANSWER_MAX: Duration = Duration::from_secs(2 * 3600);

/// An answer is a message, or a page of metrics.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The address of the client at the other end of the TCP connection. No header can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The client of one request.
#[derive(Clone)]
pub struct Client {
    /// Address of the client.
    pub peer: Peer,
    /// Whether the client is still connected.
    pub presence: Arc<Presence>,
}

/// The connection to tiny_http.
pub(super) struct Handoff {
    pub(super) server: Server,
    address: UnixAddress,
    /// The clients of the requests that are on their way, by their tokens.
    clients: Guarded<HashMap<String, Client>>,
}

impl Peer {
    /// The address; an IPv4 address is one even where it arrived on an IPv6 socket.
    pub fn ip(self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SocketAddr::new(self.ip(), self.0.port()).fmt(f)
    }
}

impl Handoff {
    /// Starts tiny_http behind a socket with a random name.
    pub(super) fn open() -> io::Result<Self> {
        let address = UnixAddress::from_abstract_name(format!("reboot-manager-{}", token()?))?;
        let listener = UnixListener::bind_addr(&address)?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        Ok(Self { server, address, clients: Guarded::default() })
    }

    /// Waits for the answer to a request, and watches `socket` meanwhile for a hang-up of the client.
    pub(super) fn pass(&self, request: &Received, client: &Client, socket: &TcpStream) -> io::Result<Vec<u8>> {
        let mut stream = match UnixStream::connect_addr(&self.address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // tiny_http's accept loop has ended, and nothing can start it again.
                log::error!("the HTTP server inside this process is gone ({error}): this process ends, to be restarted");
                std::process::abort();
            }
            connected => connected?,
        };
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let token = token()?;
        self.clients.lock().insert(token.clone(), client.clone());
        let answered = stream
            .write_all(&request.rewritten((HEADER, &token)))
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| wait_for_answer(&stream, client, socket));
        self.clients.lock().remove(&token);
        answered?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(closing(&answer))
    }

    /// The client of a request; `None` when it did not come through [`Self::pass`].
    pub(super) fn client(&self, request: &tiny_http::Request) -> Option<Client> {
        let header = request.headers().iter().find(|header| header.field.equiv(HEADER))?;
        self.clients.lock().get(header.value.as_str()).cloned()
    }
}

/// Waits until the answer begins. A client that closes its side of the connection first has hung up, as nginx and Go's
/// net/http have it; nothing else would show that an agent was ended.
fn wait_for_answer(stream: &UnixStream, client: &Client, socket: &TcpStream) -> io::Result<()> {
    let time = Timespec::try_from(ANSWER_MAX).map_err(io::Error::other)?;
    loop {
        let mut watched = [PollFd::new(stream, PollFlags::IN), PollFd::new(socket, PollFlags::RDHUP)];
        // A hang-up is watched for once: afterwards it would wake this thread again and again.
        let count = if client.presence.is_gone() { 1 } else { 2 };
        match poll(&mut watched[..count], Some(&time)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !watched[1].revents().is_empty() {
            client.presence.hang_up();
            log::debug!("the client {} has hung up", client.peer);
        }
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
    }
}

/// An answer with a body of one type.
pub(super) fn response(status: u16, content: &str, body: String) -> Response<io::Cursor<Vec<u8>>> {
    let response = Response::from_string(body).with_status_code(status);
    match Header::from_bytes("Content-Type", content) {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}

/// An answer that needs no handler, as bytes.
pub(super) fn printed<R: Read>(response: Response<R>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], false, None);
    closing(&bytes)
}

/// Adds `Connection: close`, a header that tiny_http does not let a handler set.
fn closing(answer: &[u8]) -> Vec<u8> {
    let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") else { return answer.to_vec() };
    let (line, rest) = answer.split_at(end);
    [line, b"\r\nConnection: close", rest].concat()
}

/// Bytes that no other process can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| io::Error::other("the kernel gives no random numbers"))?;
    Ok(bytes)
}

fn token() -> io::Result<String> {
    Ok(random::<16>()?.map(|byte| format!("{byte:02x}")).concat())
}
