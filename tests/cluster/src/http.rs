//! A small HTTP/1.1 server for tests, one thread a connection, that can also misbehave on purpose: answer nothing, or half.
//!
//! It reads what a client of a Kubernetes API server sends (keep-alive, Content-Length and chunked bodies) and nothing more: no
//! pipelining of several requests before the first answer, no trailers, no upgrade. <https://www.rfc-editor.org/rfc/rfc9112>

mod connection;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;

/// Request of a client.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Number of the connection, counted from 0.
    pub connection: u64,
    /// True if the client presented a TLS certificate.
    pub certified: bool,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    pub fn raw_query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns the decoded value of the first query parameter of this name.
    pub fn query(&self, name: &str) -> Option<String> {
        self.raw_query()
            .split('&')
            .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
    }

    /// Returns the request line and the header fields.
    pub fn head(&self) -> String {
        let fields = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("{} {} HTTP/1.1\r\n{}", self.method, self.target, fields.collect::<String>())
    }

    /// Returns the first header field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    /// Header fields other than Content-Length and Transfer-Encoding.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the body is sent in chunks.
    pub chunked: bool,
}

impl Response {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, body.to_string())
    }

    /// Makes an answer whose body is the text of a JSON value.
    pub(crate) fn text(status: u16, body: String) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.into_bytes(), chunked: false }
    }
}

/// Sends bytes of a body at once; fails once the client has closed the connection.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Writes a body. `true` ends the body, `false` cuts the connection.
pub type WriteBody = dyn FnOnce(&mut Sink<'_>) -> io::Result<bool> + Send;

/// Reaction to a request.
pub enum Reply {
    /// Close the connection without an answer.
    Cut,
    /// Send these raw bytes, then close the connection.
    CutAfter(Vec<u8>),
    /// Send these raw bytes, then wait for the next request.
    Raw(Vec<u8>),
    Send(Response),
    /// Send the head of this answer, then the stream as the body.
    Stream(Response, Box<WriteBody>),
}

/// Answers requests; called by many threads at once.
pub type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Server whose listener and connections are closed on drop.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start(tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls, handler)
    }

    /// Starts a server on this address, for a server that restarts.
    pub fn start_at(address: SocketAddr, tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { handler, tls, stopping: AtomicBool::new(false), open: Mutex::default() });
        let acceptor = thread::Builder::new().name("test http".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // `accept` blocks; one more connection wakes it so that it ends.
        let woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).is_ok();
        if let (true, Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
        for stream in self.shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Server that records its requests and answers each by a script.
pub struct Scripted {
    server: Server,
    received: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Starts a server on a port of 127.0.0.1. `script` answers the n-th request, counted from 0.
    pub fn start(tls: Option<Arc<ServerConfig>>, script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let received = Arc::<Mutex<Vec<Request>>>::default();
        let record = Arc::clone(&received);
        let handler = move |request: &Request| {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            let number = record.len();
            record.push(request.clone());
            drop(record);
            script(number, request)
        };
        Self { server: Server::start(tls, Arc::new(handler)).expect("a port of 127.0.0.1"), received }
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the URL of the server, without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the requests so far.
    pub fn received(&self) -> Vec<Request> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Shared {
    handler: Arc<Handler>,
    tls: Option<Arc<ServerConfig>>,
    stopping: AtomicBool,
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard that closes a connection however its thread ends.
struct Registered {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(stream) = self.shared.open().remove(&self.id) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (id, stream) in (0..).zip(listener.incoming()) {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        shared.open().insert(id, copy);
        let registered = Registered { id, shared: Arc::clone(shared) };
        let spawned = thread::Builder::new().name("test http connection".into()).spawn(move || {
            let _ = connection::serve(stream, id, registered.shared.tls.clone(), &*registered.shared.handler);
        });
        drop(spawned);
    }
}

/// Percent-decodes a query value; `+` is a space.
fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits after %"));
        bytes.extend(rest.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn one_connection_carries_many_requests_in_both_framings() {
        let echo = |request: &Request| {
            let body = String::from_utf8_lossy(&request.body);
            let body = serde_json::json!({"path": request.path(), "q": request.query("q"), "body": body});
            Reply::Send(Response { chunked: request.path() == "/chunked", ..Response::json(200, &body) })
        };
        let server = Server::start(None, Arc::new(echo)).unwrap();
        let requests = b"POST /a?q=x%2Fy+z HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n\
            GET /chunked HTTP/1.1\r\nConnection: close\r\n\r\n";
        for piece in [1, 7, requests.len()] {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            requests.chunks(piece).for_each(|part| stream.write_all(part).unwrap());
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.contains(r#"{"body":"abc","path":"/a","q":"x/y z"}"#), "{text}");
            assert!(text.contains(r#"{"body":"def","path":"/b","q":null}"#), "{text}");
            assert!(text.ends_with("{\"body\":\"\",\"path\":\"/chunked\",\"q\":null}\r\n0\r\n\r\n"), "{text}");
        }
    }
}
