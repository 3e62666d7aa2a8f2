//! Parser of one request, from bytes as they arrive: RFC 9112, strictly. No I/O, no clock.
//!
//! A request that two programs can read in two ways is refused, so that nothing can be hidden from one of them: folded
//! lines, bare CR or LF, two lengths, a length beside a transfer coding, chunk extensions and trailers. The request that is
//! passed on is written from the parsed values.

use std::borrow::Cow;

use crate::fleetlock::{Kind, Refusal};

// Browsers send about 20 headers.
const HEADERS_MAX: usize = 100;

// A client may send one after the body of an earlier request (RFC 9112, section 2.2).
const EMPTY_LINES_MAX: usize = 4;

// Eight digits suffice for any limit of the body, and cannot overflow.
const CHUNK_DIGITS_MAX: usize = 8;

/// Headers that may appear only once.
const SINGLE: [&str; 6] = ["authorization", "content-length", "expect", "fleet-lock-protocol", "host", "transfer-encoding"];

/// Headers that concern one connection only and are not passed on.
const CONNECTION: [&str; 8] =
    ["connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// First byte of a TLS handshake.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// Maximum size of a request, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Request line and headers together.
    pub head: usize,
    /// Content of the body, without the framing of chunks.
    pub body: usize,
}

/// Complete request that can be read in one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Progress of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client waits for `100 Continue` before it sends the body.
    Continue,
    /// More bytes are needed.
    More,
    /// The request is complete; bytes after it are ignored.
    Whole(Received),
}

/// Parser of one request.
#[derive(Debug)]
pub struct Reader {
    sizes: Sizes,
    head: Vec<u8>,
    line_start: usize,
    /// Empty lines before the request line, which are skipped.
    empty_lines: usize,
    request: Option<Received>,
    body: Body,
}

/// Part of the body that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    ChunkSize { digits: usize, size: usize },
    ChunkSizeLf { size: usize },
    ChunkData { left: usize },
    ChunkDataCr,
    ChunkDataLf,
    End,
    LastCr,
    LastLf,
    Length { left: usize },
}

impl Default for Sizes {
    fn default() -> Self {
        // Zincati sends a head of about 200 bytes and a body of about 110.
        Self { head: 8 * 1024, body: 8 * 1024 }
    }
}

impl Reader {
    /// Creates a reader for one request.
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes, head: Vec::new(), line_start: 0, empty_lines: 0, request: None, body: Body::End }
    }

    /// Parses the next bytes. After a refusal no more bytes may be pushed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        let mut rest = bytes;
        let mut head_ended = false;
        while self.request.is_none() {
            let Some((byte, after)) = rest.split_first() else { return Ok(Progress::More) };
            rest = after;
            head_ended = self.take_head(*byte)?;
        }
        while self.body != Body::End {
            let Some((byte, after)) = rest.split_first() else {
                return Ok(if head_ended && self.expects_continue() { Progress::Continue } else { Progress::More });
            };
            rest = after;
            self.take_body(*byte)?;
        }
        Ok(self.request.take().map_or(Progress::More, Progress::Whole))
    }

    /// Reports whether any byte has arrived.
    pub(super) fn has_begun(&self) -> bool {
        !self.head.is_empty() || self.empty_lines > 0
    }

    /// Parses one byte of the head; returns `true` after the last.
    fn take_head(&mut self, byte: u8) -> Result<bool, Refusal> {
        let before = self.head.last().copied();
        // The usual mistake in a new setup, so it gets a message instead of "not printable".
        if before.is_none() && byte == TLS_HANDSHAKE {
            return Err(bad("this port speaks plain HTTP, and this was TLS: use http:// in base_url"));
        }
        match (before, byte) {
            (Some(b'\r'), b'\n') => {}
            (Some(b'\r'), _) | (_, b'\n') => return Err(bad("a line of the head does not end with CR and LF")),
            (_, b'\r' | b'\t' | b' '..=b'~') => {}
            // Proxies add values in UTF-8; `parse_head` checks where such bytes are.
            (_, 0x80..) if self.line_start > 0 => {}
            _ => return Err(bad("the head has a byte that is not printable ASCII")),
        }
        if self.head.len() == self.sizes.head {
            return Err(too_large(format!("request line and headers are longer than {} bytes", self.sizes.head)));
        }
        self.head.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        let (start, end) = (self.line_start, self.head.len() - 2);
        if end == 0 && self.empty_lines < EMPTY_LINES_MAX {
            self.empty_lines += 1;
            self.head.clear();
            return Ok(false);
        }
        self.line_start = self.head.len();
        // Bytes that are not HTTP are refused after their first line, without waiting for an empty line.
        if start == 0 {
            request_line(&text(&self.head[..end]))?;
        }
        if start < end {
            return Ok(false);
        }
        let (request, body) = parse_head(&self.head[..start], self.sizes.body)?;
        (self.request, self.body) = (Some(request), body);
        Ok(true)
    }

    fn take_body(&mut self, byte: u8) -> Result<(), Refusal> {
        let Some(request) = &mut self.request else { return Ok(()) };
        if matches!(self.body, Body::ChunkData { .. } | Body::Length { .. }) {
            request.body.push(byte);
        }
        self.body = self.body.next(byte, request.body.len(), self.sizes.body)?;
        Ok(())
    }

    fn expects_continue(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.values("expect").next().is_some())
    }
}

impl Body {
    /// Returns the part after `byte`. `length` is the size of the content so far.
    fn next(self, byte: u8, length: usize, limit: usize) -> Result<Self, Refusal> {
        let next = match (self, byte) {
            (Self::Length { left: 0 | 1 }, _) => Self::End,
            (Self::Length { left }, _) => Self::Length { left: left - 1 },
            (Self::ChunkSize { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < CHUNK_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default() as usize;
                Self::ChunkSize { digits: digits + 1, size: size * 16 + digit }
            }
            (Self::ChunkSize { digits: 1.., size }, b'\r') if length + size > limit => return Err(too_long(limit)),
            (Self::ChunkSize { digits: 1.., size }, b'\r') => Self::ChunkSizeLf { size },
            (Self::ChunkSizeLf { size: 0 }, b'\n') => Self::LastCr,
            (Self::ChunkSizeLf { size }, b'\n') => Self::ChunkData { left: size },
            (Self::ChunkData { left: 0 | 1 }, _) => Self::ChunkDataCr,
            (Self::ChunkData { left }, _) => Self::ChunkData { left: left - 1 },
            (Self::ChunkDataCr, b'\r') => Self::ChunkDataLf,
            (Self::ChunkDataLf, b'\n') => Self::ChunkSize { digits: 0, size: 0 },
            (Self::LastCr, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => Self::End,
            _ => return Err(bad("the chunked body is malformed (extensions and trailers are not accepted)")),
        };
        Ok(next)
    }
}

impl Received {
    /// Writes the request as it is passed on: with a length, one added header, and `Connection: close`. A client's own header
    /// with the name of the added one is left out.
    pub fn rewritten(&self, (name, value): (&str, &str)) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n{name}: {value}\r\n", self.method, self.target, self.version);
        for (field, value) in &self.headers {
            if !CONNECTION.iter().chain([&name]).any(|taken| field.eq_ignore_ascii_case(taken)) {
                text.extend([field, ": ", value, "\r\n"]);
            }
        }
        text.push_str(&format!("Connection: close\r\nContent-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Returns method and path, without the query.
    pub(super) fn method_and_path(&self) -> (&str, &str) {
        (&self.method, self.target.split('?').next().unwrap_or_default())
    }

    /// Reports whether there is a header of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Parses a head without its last, empty line.
fn parse_head(head: &[u8], body_max: usize) -> Result<(Received, Body), Refusal> {
    let head = text(head);
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let (method, target, version) = request_line(lines.next().unwrap_or_default())?;
    let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > HEADERS_MAX {
        return Err(too_large(format!("there are more than {HEADERS_MAX} headers")));
    }
    let mut request = Received { method: method.to_owned(), target: target.into_owned(), version, headers, body: Vec::new() };
    for name in SINGLE {
        if request.values(name).count() > 1 {
            return Err(bad(format!("the header {name} appears twice")));
        }
        if !request.values(name).all(str::is_ascii) {
            return Err(bad(format!("the header {name} has a byte that is not printable ASCII")));
        }
    }
    match request.values("host").next() {
        None if version == "HTTP/1.1" => return Err(bad("the header host is missing, which HTTP/1.1 requires")),
        Some(host) if !is_authority(host) => return Err(bad("the header host is not a host name or address, with or without a port")),
        _ => {}
    }
    // Nothing reads the other headers, and not every reader takes these bytes.
    request.headers.retain(|(_, value)| value.is_ascii());
    if request.values("expect").any(|value| !value.eq_ignore_ascii_case("100-continue")) {
        return Err(bad("the header expect can only be 100-continue"));
    }
    let body = framing(&request, body_max)?;
    Ok((request, body))
}

/// Determines how the end of the body is found.
fn framing(request: &Received, body_max: usize) -> Result<Body, Refusal> {
    let (length, coding) = (request.values("content-length").next(), request.values("transfer-encoding").next());
    match (length, coding) {
        (Some(_), Some(_)) => Err(bad("content-length and transfer-encoding appear together")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && request.version == "HTTP/1.1" => {
            Ok(Body::ChunkSize { digits: 0, size: 0 })
        }
        (None, Some(_)) => Err(bad("the only accepted transfer-encoding is chunked, in HTTP/1.1")),
        (Some(digits), None) if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(bad("content-length is not a number"))
        }
        (Some(digits), None) => match digits.parse() {
            Ok(0) => Ok(Body::End),
            Ok(length) if length <= body_max => Ok(Body::Length { left: length }),
            _ => Err(too_long(body_max)),
        },
        (None, None) => Ok(Body::End),
    }
}

/// Parses a request line. Returns the target as path and query.
fn request_line(line: &str) -> Result<(&str, Cow<'_, str>, &'static str), Refusal> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad("the request line is not: method, path, HTTP/1.1"));
    };
    let version = match version {
        "HTTP/1.0" => "HTTP/1.0",
        "HTTP/1.1" => "HTTP/1.1",
        _ => return Err(bad("only HTTP/1.0 and HTTP/1.1 are supported")),
    };
    match origin_form(target) {
        Some(path) if is_token(method) && target.bytes().all(|byte| byte.is_ascii_graphic()) => Ok((method, path, version)),
        _ => Err(bad("the request line needs a method, and a path that begins with a slash or a URL without a user name")),
    }
}

/// Returns path and query of a target, which is either that, or a URL as a client sends to a proxy (RFC 9112, section 3.2.2). The host
/// of a URL is not compared: this server has one name only, which it does not know.
fn origin_form(target: &str) -> Option<Cow<'_, str>> {
    if target.starts_with('/') {
        return Some(target.into());
    }
    let (scheme, rest) = target.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_url = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (is_url && !authority.is_empty() && is_authority(authority))
        .then(|| if path.starts_with('/') { path.into() } else { format!("/{path}").into() })
}

/// Reports whether a text may be a host with or without a port (RFC 3986, section 3.2), or is empty. A user name is not allowed.
fn is_authority(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
}

fn header(line: &str) -> Result<(String, String), Refusal> {
    if line.starts_with([' ', '\t']) {
        return Err(bad("a header is folded over two lines"));
    }
    let (name, value) = line.split_once(':').ok_or_else(|| bad("a header has no colon"))?;
    if !is_token(name) {
        return Err(bad("a header name has an invalid character (a space before the colon?)"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Returns bytes of the head as text, one character for each byte (ISO 8859-1).
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Kind::BadRequest, message)
}

fn too_long(limit: usize) -> Refusal {
    too_large(format!("the body is longer than {limit} bytes"))
}

fn too_large(message: String) -> Refusal {
    Refusal::new(Kind::TooLarge, message)
}

#[cfg(test)]
mod tests;
