//! Requests that are too large or have no end.

use std::io::Write;
use std::time::Instant;

use super::{Siege, WAYS, check};
use crate::scenarios::SOON;

const HEAD: &str = "POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\n";

/// More bytes than all buffers on the way hold.
const FLOOD_BYTES: usize = 256 * 1024 * 1024;

/// Sends `start` and then `more` again and again until the server ends the connection; returns its answer.
#[track_caller]
fn flood(siege: &Siege, start: &str, more: &str) -> String {
    let mut client = siege.port.connect();
    let block = more.repeat(64 * 1024 / more.len());
    let (mut sent, begun) = (start.len(), Instant::now());
    let mut open = client.write_all(start.as_bytes()).is_ok();
    while open && sent < FLOOD_BYTES && begun.elapsed() < SOON {
        open = client.write_all(block.as_bytes()).is_ok();
        sent += block.len();
    }
    assert!(sent < FLOOD_BYTES, "the server took {sent} bytes");
    client.rest()
}

#[test]
fn requests_without_end_are_refused_early() {
    for way in WAYS {
        let siege = Siege::new(way);
        let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
        let cases = [
            ("a header line without end", format!("{HEAD}X: "), "y"),
            ("a request line without end", "POST /".to_owned(), "v1/"),
            ("headers without end", HEAD.to_owned(), "a: b\r\n"),
            ("a chunked body without end", chunked.clone(), "1\r\nx\r\n"),
            ("one chunk without end", format!("{chunked}40000000\r\n"), "x"),
            ("a body of 1 GiB", format!("{HEAD}Content-Length: 1073741824\r\n\r\n"), "x"),
        ];
        for (attack, start, more) in cases {
            println!("{attack}");
            check(&flood(&siege, &start, more), 413, "too_large");
        }
        // Announcements that the bytes do not follow.
        for request in [
            format!("{HEAD}Content-Length: 1073741824\r\n\r\n"),
            format!("{HEAD}Content-Length: 8193\r\nExpect: 100-continue\r\n\r\n"),
            format!("{chunked}40000000\r\n"),
        ] {
            check(&siege.port.exchange(request.as_bytes()), 413, "too_large");
        }
        siege.ends_well("requests without end");
    }
}

#[test]
fn the_flags_set_the_limits() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start.arg("--max-head-bytes=1024").arg("--max-body-bytes=2048"));
        let exchange = |head: usize, body: usize| {
            let (head, content) = ("y".repeat(head), "z".repeat(body));
            siege.port.exchange(format!("{HEAD}X: {head}\r\nContent-Length: {body}\r\n\r\n{content}").as_bytes())
        };
        check(&exchange(700, 2048), 400, "bad_request");
        check(&exchange(1024, 10), 413, "too_large");
        check(&exchange(700, 2049), 413, "too_large");
        siege.ends_well("other limits");
    }
}
