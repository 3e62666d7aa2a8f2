//! The reader of requests: what arrives on the port, in any pieces. What is handed on must be read by others as we read
//! it; httparse is the other reader.

use httparse::{EMPTY_HEADER, Status};
use reboot_manager::fleetlock::Refusal;
use reboot_manager::http::Sizes;
use reboot_manager::http::head::{Progress, Reader, Received};

/// The header that is added when a request is handed on.
pub(crate) const ADDED: (&str, &str) = ("Added-By-Us", "value");

/// Headers of one connection, which are not handed on; the added one is ours alone.
const LEFT_OUT: [&str; 9] =
    ["added-by-us", "connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// What became of an input.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    More,
    Refused(Refusal),
    Whole(Received),
}

/// A request as httparse reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) minor: u8,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) rest: Vec<u8>,
}

pub(crate) fn run(input: &[u8]) {
    let at_once = read(input.chunks(input.len().max(1)));
    assert_eq!(at_once, read(input.chunks(1)), "the pieces matter");
    assert_eq!(at_once, read(input.chunks(7)), "the pieces matter");
    match at_once {
        Outcome::More => {}
        Outcome::Refused(refusal) => {
            assert!(matches!(refusal.kind.status(), 400 | 413), "{refusal:?}");
            assert!(refusal.message.len() < 200, "{refusal:?}");
        }
        Outcome::Whole(received) => is_read_alike(input, &received),
    }
}

/// The request that `input` begins with, if there is a whole one.
pub(crate) fn whole(input: &[u8]) -> Option<Received> {
    match read(input.chunks(input.len().max(1))) {
        Outcome::Whole(received) => Some(received),
        Outcome::More | Outcome::Refused(_) => None,
    }
}

/// Reads with httparse, which must be able to.
pub(crate) fn other(bytes: &[u8]) -> Other {
    let mut headers = [EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(end)) = request.parse(bytes) else { panic!("httparse does not read {:?}", bytes.escape_ascii().to_string()) };
    let text = |bytes: &[u8]| String::from_utf8(bytes.trim_ascii().to_vec()).expect("ASCII");
    Other {
        method: request.method.expect("a method").to_owned(),
        target: request.path.expect("a target").to_owned(),
        minor: request.version.expect("a version"),
        headers: request.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect(),
        rest: bytes[end..].to_vec(),
    }
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = Reader::new(Sizes::default());
    for piece in pieces {
        match reader.push(piece) {
            Ok(Progress::Continue | Progress::More) => {}
            Ok(Progress::Whole(received)) => return Outcome::Whole(received),
            Err(refusal) => return Outcome::Refused(refusal),
        }
    }
    Outcome::More
}

fn is_read_alike(input: &[u8], received: &Received) {
    let arrived = other(input);
    let body = body(&arrived);
    let rewritten = received.rewritten(ADDED);
    let handed_on = other(&rewritten);

    assert_eq!((&handed_on.method, &handed_on.target, handed_on.minor), (&arrived.method, &arrived.target, arrived.minor));
    assert_eq!(handed_on.rest, body, "the body");
    let mut headers = vec![(ADDED.0.to_ascii_lowercase(), ADDED.1.to_owned())];
    headers.extend(arrived.headers.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())));
    headers.push(("connection".to_owned(), "close".to_owned()));
    headers.push(("content-length".to_owned(), body.len().to_string()));
    assert_eq!(handed_on.headers, headers);

    let Some(again) = whole(&rewritten) else {
        // With the headers that we add it may be more than we would take ourselves; tiny_http has no such limit.
        let head = rewritten.len() - body.len();
        assert!(handed_on.headers.len() > 100 || head > Sizes::default().head, "what is handed on is refused by ourselves");
        return;
    };
    assert_eq!(again.rewritten(ADDED), rewritten, "what is handed on is read otherwise by ourselves");
}

/// The body that follows the head, as its headers frame it.
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
