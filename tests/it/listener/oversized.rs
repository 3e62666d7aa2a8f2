//! Requests without end.

use std::io::Write;
use std::time::Instant;

use super::{REQUEST_MAX, Siege, WAYS, Way, check};
use crate::scenarios::SOON;

const HEAD: &str = "POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\n";

/// More than any buffer on the way holds.
const FLOOD_BYTES: usize = 256 * 1024 * 1024;

/// Sends `start` and then `more` again and again, until the server has enough; its answer.
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
    // What came before the end of the connection can still be read.
    client.rest()
}

#[test]
fn what_has_no_end_is_refused_early() {
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
        siege.ends_well("requests without end");
    }
}

#[test]
fn what_announces_too_much_is_refused_before_it_is_sent() {
    for way in WAYS {
        let siege = Siege::new(way);
        let cases = [
            format!("{HEAD}Content-Length: 1073741824\r\n\r\n"),
            format!("{HEAD}Content-Length: 8193\r\nExpect: 100-continue\r\n\r\n"),
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n40000000\r\n"),
            format!("{HEAD}{}\r\n", "a: b\r\n".repeat(10_000)),
        ];
        for request in cases {
            check(&siege.port.exchange(request.as_bytes()), 413, "too_large");
        }
        siege.ends_well("announcements of too much");
    }
}

#[test]
fn the_limits_are_those_that_the_flags_say() {
    let siege = Siege::with(Way::Plain, REQUEST_MAX, |start| start.arg("--max-head-bytes=1024").arg("--max-body-bytes=2048"));
    let long = |head: usize, body: usize| format!("{HEAD}X: {}\r\nContent-Length: {body}\r\n\r\n{}", "y".repeat(head), "z".repeat(body));
    check(&siege.port.exchange(long(700, 2048).as_bytes()), 400, "bad_request");
    check(&siege.port.exchange(long(1024, 10).as_bytes()), 413, "too_large");
    check(&siege.port.exchange(long(700, 2049).as_bytes()), 413, "too_large");
    siege.ends_well("other limits");
}
