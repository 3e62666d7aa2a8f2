//! What arrives on the port, in any pieces, and the FleetLock request in it.
//!
//! What is handed on must be read by others as we read it: by httparse, and by the tiny_http that reads it in the program.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::ops::ControlFlow::{Break, Continue};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::LazyLock;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Status};
use reboot_manager::cluster::HexId;
use reboot_manager::fleetlock::{GroupName, Head, Refusal, Reply, parse};
use reboot_manager::http::Sizes;
use reboot_manager::http::head::{Progress, Reader, Received};
use serde::de::IgnoredAny;
use serde_json::Value;
use tiny_http::{Response, Server};

/// Header that is added when a request is handed on.
const ADDED: (&str, &str) = ("Added-By-Us", "value");

/// Headers of one connection, which are not handed on, and the added one, which is ours alone.
const LEFT_OUT: [&str; 9] =
    ["added-by-us", "connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Time after which tiny_http has not accepted a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum length of a message: 80 characters of an unknown caller, each escaped to up to ten, and our own words.
const MESSAGE_MAX: usize = 1000;

/// A request as httparse reads it.
struct Other {
    method: String,
    target: String,
    minor: u8,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    rest: Vec<u8>,
}

/// Reads requests in pieces of several lengths.
pub(crate) fn request(input: &[u8]) {
    let at_once = read(input, input.len().max(1));
    assert_eq!(at_once, read(input, 1), "the pieces matter");
    assert_eq!(at_once, read(input, 7), "the pieces matter");
    match at_once {
        Ok(None) => {}
        Ok(Some(received)) => check_rewritten(input, &received),
        Err(refusal) => {
            assert!(matches!(refusal.kind.status(), 400 | 413), "{refusal:?}");
            assert!(refusal.message.len() < 200, "{refusal:?}");
        }
    }
}

/// Reads with httparse, which must be able to.
fn other(bytes: &[u8]) -> Other {
    let mut headers = [EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(end)) = request.parse(bytes) else { panic!("httparse does not read {:?}", bytes.escape_ascii().to_string()) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    Other {
        method: request.method.expect("a method").to_owned(),
        target: request.path.expect("a target").to_owned(),
        minor: request.version.expect("a version"),
        headers: request.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect(),
        rest: bytes[end..].to_vec(),
    }
}

/// Reads the first request of `input`, which arrives in pieces of `length` bytes; `None`: it is incomplete.
fn read(input: &[u8], length: usize) -> Result<Option<Received>, Refusal> {
    let mut reader = Reader::new(Sizes::default());
    for piece in input.chunks(length) {
        if let Progress::Whole(received) = reader.push(piece)? {
            return Ok(Some(received));
        }
    }
    Ok(None)
}

fn check_rewritten(input: &[u8], received: &Received) {
    let arrived = other(input);
    let body = body(&arrived);
    let rewritten = received.rewritten(ADDED);
    let handed_on = other(&rewritten);

    assert_eq!((&handed_on.method, handed_on.minor), (&arrived.method, arrived.minor));
    assert_eq!(handed_on.target, path(&arrived.target));
    assert!(arrived.minor == 0 || arrived.headers.iter().any(|(name, _)| name == "host"), "HTTP/1.1 needs a host");
    assert_eq!(handed_on.rest, body, "the body");
    let mut headers = vec![(ADDED.0.to_ascii_lowercase(), ADDED.1.to_owned())];
    // Values in other characters are left out, too.
    headers.extend(arrived.headers.into_iter().filter(|(name, value)| !LEFT_OUT.contains(&name.as_str()) && value.is_ascii()));
    headers.push(("connection".to_owned(), "close".to_owned()));
    headers.push(("content-length".to_owned(), body.len().to_string()));
    assert_eq!(handed_on.headers, headers);

    let Ok(Some(again)) = read(&rewritten, rewritten.len()) else {
        // With the added headers a request may exceed our own limits; tiny_http has no limits.
        let head = rewritten.len() - body.len();
        assert!(handed_on.headers.len() > 100 || head > Sizes::default().head, "what is handed on is refused by ourselves");
        return;
    };
    assert_eq!(again.rewritten(ADDED), rewritten, "what is handed on is read otherwise by ourselves");
}

/// Returns path and query of a target, which may be a URL.
fn path(target: &str) -> String {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return target.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    assert!(!authority.is_empty() && !authority.contains('@'), "{target}");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Returns the body that follows the head, as the headers frame it.
fn body(request: &Other) -> Vec<u8> {
    let value = |wanted: &str| request.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    match (value("content-length"), value("transfer-encoding")) {
        (Some(length), None) => request.rest[..length.parse::<usize>().expect("a length")].to_vec(),
        (None, Some(_)) => dechunked(&request.rest),
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => panic!("two ways to find the end were taken"),
    }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let Ok(Status::Complete((head, size))) = httparse::parse_chunk_size(rest) else { panic!("httparse finds no chunk") };
        let size = usize::try_from(size).expect("a size");
        rest = &rest[head..];
        body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n", "the end of a chunk");
        rest = &rest[size + 2..];
        if size == 0 {
            return body;
        }
    }
}

/// Lets tiny_http read over a Unix socket what is handed on, one connection a request.
pub(crate) fn handed_on(input: &[u8]) {
    // Never dropped: tiny_http panics when a server on an abstract socket is dropped.
    static BEHIND: LazyLock<(Server, SocketAddr)> = LazyLock::new(|| {
        let address = SocketAddr::from_abstract_name(format!("reboot-manager-fuzz-{}", std::process::id())).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a socket");
        (Server::from_listener(listener, None).expect("a server"), address)
    });
    if let Ok(Some(received)) = read(input, input.len().max(1)) {
        let (server, address) = &*BEHIND;
        check_tiny_http(server, address, &received.rewritten(ADDED));
    }
}

fn check_tiny_http(server: &Server, address: &SocketAddr, bytes: &[u8]) {
    let expected = other(bytes);
    let mut stream = UnixStream::connect_addr(address).expect("a connection");
    stream.write_all(bytes).expect("all is accepted");
    stream.shutdown(Shutdown::Write).expect("an open connection");
    let Ok(Some(mut request)) = server.recv_timeout(PATIENCE) else {
        panic!("tiny_http does not accept {:?}", bytes.escape_ascii().to_string())
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

/// Reads a FleetLock request: method, target, protocol header and base path on a line each, then the body.
pub(crate) fn fleetlock(input: &[u8]) {
    let mut parts = input.splitn(5, |byte| *byte == b'\n');
    let mut line = || parts.next().map(String::from_utf8_lossy).unwrap_or_default();
    let (method, target, protocol, base) = (line(), line(), line(), line());
    let body = parts.next().unwrap_or_default();
    let protocol = (protocol != "-").then_some(&*protocol);

    match parse(Head { method: &method, target: &target, protocol }, body, &base) {
        Continue(request) => {
            assert_eq!(&*method, "POST");
            // Some clients write a boolean, as True.
            assert_eq!(protocol.map(str::to_ascii_lowercase).as_deref(), Some("true"));
            let path = target.split(['?', '#']).next().unwrap_or_default();
            let mut last = path.rsplit('/').filter(|segment| !segment.is_empty());
            assert_eq!((last.next(), last.next()), (Some(request.endpoint.name()), Some("v1")));
            let slashed = |path: &str| path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/");
            assert!(slashed(path).starts_with(&slashed(&base)), "{path} below {base}");
            serde_json::from_slice::<IgnoredAny>(body).expect("JSON");
            // Half a surrogate is JSON but no text, and may be in a field that is ignored.
            if let Ok(json) = serde_json::from_slice::<Value>(body) {
                let id = json["client_params"]["id"].as_str().map(str::trim).and_then(HexId::parse);
                assert_eq!(id, Some(request.id));
                assert_eq!(json["client_params"]["group"], request.group.to_string());
            }
            assert_eq!(GroupName::parse(&request.group.to_string()), Some(request.group));
        }
        Break(refusal) => {
            let reply = Reply::from(refusal);
            assert!(matches!(reply.kind().status(), 400 | 404 | 405), "{reply:?}");
            // The message goes into journals and logs, which no caller may fill.
            let base = base.chars().count() * 2;
            assert!(reply.value().chars().count() <= MESSAGE_MAX + base, "{} characters: {reply:?}", reply.value().chars().count());
            let json: Value = serde_json::from_str(&reply.json()).expect("JSON");
            assert_eq!(json["value"], reply.value());
        }
    }
}
