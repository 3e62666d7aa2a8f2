//! Passes complete requests to tiny_http over an abstract Unix socket of this process, and returns its answers.
//!
//! tiny_http takes listeners only, buffers all bytes it receives and ends for good when descriptors run out, so no client
//! connects to it directly.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tiny_http::{HTTPVersion, Header, Response, Server};

use super::head::Received;
use super::turns::{Turn, Turns};
use crate::access::ClientNetwork;
use crate::coordinator::Presence;
use crate::system::guarded::Guarded;
use crate::system::process::exit_after_defect;

/// Header that carries the token.
const HEADER: &str = "Reboot-Manager-Peer";

// Longer than any request is held. Without a limit, a bug in a handler costs a thread for ever.
const ANSWER_MAX: Duration = Duration::from_secs(2 * 3600);

// An answer is a message or a page of metrics.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

// Requests that are passed on at once, for each worker: a worker that ends one finds the next.
const FOR_EACH_WORKER: usize = 2;

// Time between two looks at the client of a request that waits for its turn.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The client of one request.
#[derive(Clone)]
pub struct Client {
    /// Address at the other end of the TCP connection. No header can change it.
    pub peer: SocketAddr,
    /// State of the connection to the client.
    pub presence: Arc<Presence>,
}

/// The tiny_http server of a port, and the clients of its open requests.
pub(super) struct Handoff {
    pub(super) server: Server,
    address: UnixAddress,
    /// Clients of the requests that no worker has taken, by token.
    clients: Guarded<HashMap<String, (Client, Passing)>>,
    turns: Arc<Guarded<Turns<Arc<Waiter>>>>,
}

/// Turn of a request. Its end is the turn of the next one.
pub(super) struct Passing {
    turns: Arc<Guarded<Turns<Arc<Waiter>>>>,
}

/// Thread that waits for the turn of its request.
struct Waiter {
    thread: Thread,
    has_turn: AtomicBool,
}

impl Handoff {
    /// Starts tiny_http behind an abstract socket.
    pub(super) fn open(workers: usize) -> io::Result<Self> {
        // An abstract socket needs no file system, but other processes of the same network namespace can find it. Therefore each
        // request carries a token that they cannot guess.
        let address = UnixAddress::from_abstract_name(format!("reboot-manager-{}", token()?))?;
        let listener = UnixListener::bind_addr(&address)?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let turns = Arc::new(Guarded::new(Turns::new(workers * FOR_EACH_WORKER)));
        Ok(Self { server, address, clients: Guarded::default(), turns })
    }

    /// Passes a request on in its turn, and waits for the answer. Meanwhile watches `socket` for a hang-up of the client. `None`: the client
    /// hung up before the turn of its request.
    pub(super) fn pass(&self, request: &Received, client: &Client, socket: &TcpStream) -> io::Result<Option<Vec<u8>>> {
        let Some(passing) = self.wait_for_turn(ClientNetwork::of(client.peer.ip()), socket) else { return Ok(None) };
        let mut stream = match UnixStream::connect_addr(&self.address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // tiny_http's accept loop has ended, and nothing can start it again.
                log::error!("the HTTP server inside this process has ended ({error}): this process exits, to be restarted");
                exit_after_defect();
            }
            connected => connected?,
        };
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let token = token()?;
        self.clients.lock().insert(token.clone(), (client.clone(), passing));
        let answered = stream
            .write_all(&request.rewritten((HEADER, &token)))
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| wait_for_answer(&stream, client, socket));
        self.clients.lock().remove(&token);
        answered?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(Some(closing(&answer)))
    }

    /// Takes the client of a request, and its turn, which ends with the value. `None`: the request did not come through [`Self::pass`].
    pub(super) fn take(&self, request: &tiny_http::Request) -> Option<(Client, Passing)> {
        let header = request.headers().iter().find(|header| header.field.equiv(HEADER))?;
        self.clients.lock().remove(header.value.as_str())
    }

    /// Waits for the turn of a request; `None`: its client has hung up before.
    fn wait_for_turn(&self, source: ClientNetwork, socket: &TcpStream) -> Option<Passing> {
        let waiter = Arc::new(Waiter { thread: thread::current(), has_turn: AtomicBool::new(false) });
        let turn = self.turns.lock().ask(source, Arc::clone(&waiter));
        if let Turn::Later(number) = turn {
            while !waiter.has_turn.load(Ordering::SeqCst) {
                thread::park_timeout(LOOK_EVERY);
                if has_hung_up(socket) && self.turns.lock().withdraw(source, number) {
                    return None;
                }
            }
        }
        Some(Passing { turns: Arc::clone(&self.turns) })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let next = self.turns.lock().end();
        if let Some(waiter) = next {
            waiter.has_turn.store(true, Ordering::SeqCst);
            waiter.thread.unpark();
        }
    }
}

/// Reports whether the client has closed its side of the connection.
fn has_hung_up(socket: &TcpStream) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut watched, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// Waits until the answer begins, and notices a client that hangs up before.
fn wait_for_answer(stream: &UnixStream, client: &Client, socket: &TcpStream) -> io::Result<()> {
    let time = Timespec::try_from(ANSWER_MAX).map_err(io::Error::other)?;
    loop {
        // A client that closes its side of the connection counts as gone, as in nginx and Go's net/http: an agent that was
        // killed shows in no other way.
        let mut watched = [PollFd::new(stream, PollFlags::IN), PollFd::new(socket, PollFlags::RDHUP)];
        // A hang-up is watched for only once, because afterwards every poll reports it at once.
        let count = if client.presence.is_gone() { 1 } else { 2 };
        match poll(&mut watched[..count], Some(&time)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !watched[1].revents().is_empty() {
            client.presence.hang_up();
            log::debug!(remote:% = client.peer; "the client {} has hung up", client.peer);
        }
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
    }
}

/// Creates an answer.
pub(super) fn response(status: u16, content: &str, body: String) -> Response<io::Cursor<Vec<u8>>> {
    let response = Response::from_string(body).with_status_code(status);
    match Header::from_bytes("Content-Type", content) {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}

/// Returns an answer that needs no handler, as bytes. `is_head`: without the body, for a request with the method HEAD.
pub(super) fn printed<R: Read>(response: Response<R>, is_head: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], is_head, None);
    closing(&bytes)
}

/// Adds `Connection: close`, which tiny_http does not let a handler set.
fn closing(answer: &[u8]) -> Vec<u8> {
    let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") else { return answer.to_vec() };
    let (line, rest) = answer.split_at(end);
    [line, b"\r\nConnection: close", rest].concat()
}

/// Returns bytes that no other process can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| io::Error::other("the kernel gives no random numbers"))?;
    Ok(bytes)
}

fn token() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}
