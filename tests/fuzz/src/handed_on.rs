//! What is handed on, read by the tiny_http that reads it in the program: over a Unix socket, one connection a request.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::OnceLock;
use std::time::Duration;

use tiny_http::{Response, Server};

use crate::request::{ADDED, other, whole};

struct Behind {
    server: Server,
    address: SocketAddr,
}

pub(crate) fn run(input: &[u8]) {
    // Never dropped: tiny_http panics when one is that listens on an abstract socket.
    static BEHIND: OnceLock<Behind> = OnceLock::new();
    if let Some(received) = whole(input) {
        BEHIND.get_or_init(Behind::start).check(&received.rewritten(ADDED));
    }
}

impl Behind {
    fn start() -> Self {
        let name = format!("reboot-manager-fuzz-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a socket");
        Self { server: Server::from_listener(listener, None).expect("a server"), address }
    }

    /// tiny_http and httparse must read the same.
    fn check(&self, bytes: &[u8]) {
        let expected = other(bytes);
        let mut stream = UnixStream::connect_addr(&self.address).expect("a connection");
        stream.write_all(bytes).expect("it takes all");
        stream.shutdown(Shutdown::Write).expect("it stays open");
        let Ok(Some(mut request)) = self.server.recv_timeout(PATIENCE) else {
            panic!("tiny_http does not take {:?}", bytes.escape_ascii().to_string())
        };
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body).expect("a body");
        assert_eq!(body, expected.rest, "the body");
        assert_eq!((request.method().to_string(), request.url()), (expected.method, expected.target.as_str()));
        let header = |header: &tiny_http::Header| (header.field.as_str().as_str().to_ascii_lowercase(), header.value.as_str().to_owned());
        assert_eq!(request.headers().iter().map(header).collect::<Vec<_>>(), expected.headers);

        request.respond(Response::empty(404)).expect("an answer");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1."), "{:?}", answer.escape_ascii().to_string());
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
