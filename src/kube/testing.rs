//! Answers of a scripted server, for the tests of this module.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use test_cluster::http::Reply;

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// A whole answer.
pub(super) fn http(code: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// A whole answer after which the connection stays open.
pub(super) fn json(code: u16, body: &str) -> Reply {
    Reply::Raw(http(code, "content-type: application/json\r\n", body))
}

/// A port that no server listens on. One that was bound and released may be given to another test.
pub(super) fn closed_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}
