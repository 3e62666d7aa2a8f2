//! The server as a raw client sees it.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::api::Api;
use crate::certificate;

fn echo() -> Arc<Handler> {
    Arc::new(|request| match request.path() {
        "/cut" => Reply::Cut,
        "/half" => Reply::CutAfter(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_vec()),
        path => {
            let body = serde_json::json!({"path": path, "q": request.query("q"), "body": String::from_utf8_lossy(&request.body)});
            Reply::Send(Response { chunked: path == "/chunked", ..Response::json(200, &body) })
        }
    })
}

/// Sends these bytes in pieces of `piece` and returns all that comes back.
fn exchange(server: &Server, bytes: &[u8], piece: usize) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    for part in bytes.chunks(piece) {
        stream.write_all(part).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn one_connection_carries_many_requests_in_both_framings() {
    let server = Server::start(None, echo()).unwrap();
    let requests = b"POST /a?q=x%2Fy+z HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n\
        GET /chunked HTTP/1.1\r\nConnection: close\r\n\r\n";
    for piece in [1, 7, requests.len()] {
        let text = exchange(&server, requests, piece);
        assert!(text.contains(r#"{"body":"abc","path":"/a","q":"x/y z"}"#), "{text}");
        assert!(text.contains(r#"{"body":"def","path":"/b","q":null}"#), "{text}");
        assert!(text.ends_with("{\"body\":\"\",\"path\":\"/chunked\",\"q\":null}\r\n0\r\n\r\n"), "{text}");
    }
}

#[test]
fn answer_may_be_absent_or_incomplete() {
    let server = Server::start(None, echo()).unwrap();
    assert_eq!(exchange(&server, b"GET /cut HTTP/1.1\r\n\r\n", 100), "");
    assert!(exchange(&server, b"GET /half HTTP/1.1\r\n\r\n", 100).ends_with("\r\n\r\nab"));
}

#[test]
fn dropped_server_closes_its_connections_and_frees_its_port() {
    let server = Server::start(None, echo()).unwrap();
    let address = server.address();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /a HTTP/1.1\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    drop(server);
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest);
    assert!(TcpStream::connect(address).is_err());
    let again = Server::start_at(address, None, echo()).unwrap();
    assert!(exchange(&again, b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", 100).starts_with("HTTP/1.1 200"));
}

#[test]
fn client_is_served_over_tls_if_it_trusts_the_certificate() {
    let certificate = certificate::self_signed();
    let server = Server::start(Some(certificate.server(None)), echo()).unwrap();
    let base = format!("https://{}", server.address());
    assert_eq!(Api::new(&base, Some(certificate.pem.as_bytes()), None).get("/a").ok()["path"], "/a");
    let other = certificate::self_signed();
    assert!(Api::new(&base, Some(other.pem.as_bytes()), None).try_call("GET", "/a", "", None).is_err());
}
