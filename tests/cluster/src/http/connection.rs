//! One connection: requests in, replies out, until one side closes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Handler, Reply, Request, Response, Stream};

trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

pub(super) fn serve(stream: TcpStream, id: u64, tls: Option<Arc<ServerConfig>>, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut wire, certified): (Box<dyn Wire>, bool) = match tls {
        None => (Box::new(stream), false),
        Some(config) => {
            let mut tls = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
            tls.conn.complete_io(&mut tls.sock)?;
            let certified = tls.conn.peer_certificates().is_some();
            (Box::new(tls), certified)
        }
    };
    let mut buffer = Vec::new();
    while let Some(request) = next_request(&mut *wire, &mut buffer)? {
        let request = Request { connection: id, certified, ..request };
        let close = request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        match handler(&request) {
            Reply::Cut => return Ok(()),
            Reply::CutAfter(bytes) => {
                wire.write_all(&bytes)?;
                return wire.flush();
            }
            Reply::Raw(bytes) => {
                wire.write_all(&bytes)?;
                wire.flush()?;
            }
            Reply::Send(response) => send(&mut *wire, &request, &response)?,
            Reply::Stream(response, stream) => {
                if !send_stream(&mut *wire, &response, stream)? {
                    return Ok(());
                }
            }
        }
        if close {
            return Ok(());
        }
    }
    Ok(())
}

enum Framing {
    Chunked,
    Length(usize),
}

fn next_request(wire: &mut dyn Wire, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let (mut request, head) = loop {
        if let Some(found) = parse_head(buffer)? {
            break found;
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(malformed("a request head beyond the limit"));
        }
        if !fill(wire, buffer)? {
            return Ok(None);
        }
    };
    buffer.drain(..head);
    if request.header("Expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        wire.flush()?;
    }
    request.body = match framing(&request)? {
        Framing::Chunked => chunked_body(wire, buffer)?,
        Framing::Length(length) => take(wire, buffer, length)?,
    };
    Ok(Some(request))
}

fn parse_head(buffer: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer).map_err(malformed)? else { return Ok(None) };
    let headers = head.headers.iter().map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())).collect();
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    Ok(Some((
        Request { method: text(head.method), target: text(head.path), headers, body: Vec::new(), connection: 0, certified: false },
        length,
    )))
}

fn framing(request: &Request) -> io::Result<Framing> {
    if request.header("Transfer-Encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        return Ok(Framing::Chunked);
    }
    let length = request.header("Content-Length").map(str::parse).transpose().map_err(malformed)?;
    Ok(Framing::Length(length.unwrap_or(0)))
}

fn chunked_body(wire: &mut dyn Wire, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (start, size) = loop {
            match httparse::parse_chunk_size(buffer).map_err(|_| malformed("a chunk size"))? {
                httparse::Status::Complete(found) => break found,
                httparse::Status::Partial => more(wire, buffer)?,
            }
        };
        buffer.drain(..start);
        let chunk = take(wire, buffer, usize::try_from(size).map_err(malformed)?)?;
        take(wire, buffer, 2)?;
        if chunk.is_empty() {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

fn take(wire: &mut dyn Wire, buffer: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while buffer.len() < length {
        more(wire, buffer)?;
    }
    let rest = buffer.split_off(length);
    Ok(std::mem::replace(buffer, rest))
}

fn more(wire: &mut dyn Wire, buffer: &mut Vec<u8>) -> io::Result<()> {
    if fill(wire, buffer)? { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn fill(wire: &mut dyn Wire, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match wire.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                buffer.extend_from_slice(&chunk[..length]);
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn head(response: &Response) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", response.status, phrase(response.status)).into_bytes();
    for (name, value) in &response.headers {
        out.extend(format!("{name}: {value}\r\n").bytes());
    }
    out
}

/// Reports whether the body was sent to its end.
fn send_stream(wire: &mut dyn Wire, response: &Response, stream: Stream) -> io::Result<bool> {
    let mut out = head(response);
    out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    wire.write_all(&out)?;
    wire.flush()?;
    let in_order = (stream.0)(&mut |bytes| {
        if bytes.is_empty() {
            // An empty chunk ends the body.
            return Ok(());
        }
        wire.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        wire.write_all(bytes)?;
        wire.write_all(b"\r\n")?;
        wire.flush()
    })?;
    if in_order {
        wire.write_all(b"0\r\n\r\n")?;
        wire.flush()?;
    }
    Ok(in_order)
}

fn send(wire: &mut dyn Wire, request: &Request, response: &Response) -> io::Result<()> {
    let mut out = head(response);
    if response.chunked {
        out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in response.body.chunks(CHUNK) {
            out.extend(format!("{:x}\r\n", chunk.len()).bytes());
            out.extend(chunk);
            out.extend(b"\r\n");
        }
        out.extend(b"0\r\n\r\n");
    } else {
        out.extend(format!("Content-Length: {}\r\n\r\n", response.body.len()).bytes());
        if request.method != "HEAD" {
            out.extend(&response.body);
        }
    }
    wire.write_all(&out)?;
    wire.flush()
}

fn phrase(status: u16) -> &'static str {
    match status {
        200..300 => "OK",
        400..500 => "Refused",
        _ => "Failed",
    }
}

fn malformed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Bytes of a request head; an API server allows about as much.
const HEAD_LIMIT: usize = 64 * 1024;
const HEADERS_LIMIT: usize = 64;
/// Small enough that a list comes in many chunks.
const CHUNK: usize = 4 * 1024;
