//! One connection: requests in, replies out, until one side closes.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Handler, Reply, Request, Response, WriteBody};

trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

pub(super) fn serve(stream: TcpStream, id: u64, tls: Option<Arc<ServerConfig>>, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (wire, certified): (Box<dyn Wire>, bool) = match tls {
        None => (Box::new(stream), false),
        Some(config) => {
            let mut tls = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
            tls.conn.complete_io(&mut tls.sock)?;
            let certified = tls.conn.peer_certificates().is_some();
            (Box::new(tls), certified)
        }
    };
    let mut wire = BufReader::new(wire);
    while let Some(request) = next_request(&mut wire)? {
        let request = Request { connection: id, certified, ..request };
        let out = wire.get_mut();
        match handler(&request) {
            Reply::Cut => return Ok(()),
            Reply::CutAfter(bytes) => return write(out, &bytes),
            Reply::Raw(bytes) => write(out, &bytes)?,
            Reply::Send(response) => send(out, &request, &response)?,
            Reply::Stream(response, stream) => {
                if !send_stream(out, &response, stream)? {
                    return Ok(());
                }
            }
        }
        if request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a request; `None` if the client has closed the connection.
fn next_request(wire: &mut BufReader<Box<dyn Wire>>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if wire.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    let mut request = parse_head(&head)?;
    if request.header("Expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        write(wire.get_mut(), b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = if request.header("Transfer-Encoding").is_some() {
        chunked_body(wire)?
    } else {
        let length = request.header("Content-Length").map(str::parse).transpose().map_err(malformed)?;
        exactly(wire, length.unwrap_or(0))?
    };
    Ok(Some(request))
}

fn parse_head(bytes: &[u8]) -> io::Result<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut head = httparse::Request::new(&mut headers);
    head.parse(bytes).map_err(malformed)?;
    let headers = head.headers.iter().map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())).collect();
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    Ok(Request { method: text(head.method), target: text(head.path), headers, body: Vec::new(), connection: 0, certified: false })
}

fn chunked_body(wire: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(malformed)?;
        // A line break follows the bytes, and the empty chunk at the end.
        let chunk = exactly(wire, size + 2)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend(&chunk[..size]);
    }
}

fn exactly(wire: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    wire.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(wire: &mut dyn Wire, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes)?;
    wire.flush()
}

/// Returns the head of an answer, with the field that frames its body.
fn head(response: &Response, framing: &str) -> Vec<u8> {
    let phrase = if response.status < 300 { "OK" } else { "Refused" };
    let fields: String = response.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {} {phrase}\r\n{fields}{framing}\r\n\r\n", response.status).into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reports whether the body was sent to its end.
fn send_stream(wire: &mut dyn Wire, response: &Response, stream: Box<WriteBody>) -> io::Result<bool> {
    write(wire, &head(response, CHUNKED))?;
    // An empty chunk ends the body.
    let complete = stream(&mut |bytes| if bytes.is_empty() { Ok(()) } else { write(wire, &chunk(bytes)) })?;
    if complete {
        write(wire, &chunk(b""))?;
    }
    Ok(complete)
}

fn send(wire: &mut dyn Wire, request: &Request, response: &Response) -> io::Result<()> {
    let mut out;
    if response.chunked {
        out = head(response, CHUNKED);
        response.body.chunks(CHUNK).for_each(|part| out.extend(chunk(part)));
        out.extend(chunk(b""));
    } else {
        out = head(response, &format!("Content-Length: {}", response.body.len()));
        if request.method != "HEAD" {
            out.extend(&response.body);
        }
    }
    write(wire, &out)
}

fn malformed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

const HEADERS_LIMIT: usize = 64;

const CHUNKED: &str = "Transfer-Encoding: chunked";

/// Small enough that a list comes in many chunks.
const CHUNK: usize = 4 * 1024;
