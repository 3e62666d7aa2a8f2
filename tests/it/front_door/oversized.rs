//! Requests without end.

use std::io::Write;
use std::time::Instant;

use super::{Siege, check, rest};
use crate::scenarios::SOON;

const HEAD: &str = "POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\n";

/// More than any buffer on the way holds.
const FLOOD_BYTES: usize = 256 * 1024 * 1024;

/// Sends `start` and then `more` again and again, until the server has enough; its answer.
#[track_caller]
fn flood(siege: &Siege, start: &str, more: &str) -> String {
    let stream = siege.connect();
    let mut sender = stream.try_clone().unwrap();
    let block = more.repeat(64 * 1024 / more.len());
    let start = start.to_owned();
    let sending = std::thread::spawn(move || {
        let mut sent = start.len();
        let begun = Instant::now();
        let mut open = sender.write_all(start.as_bytes()).is_ok();
        while open && sent < FLOOD_BYTES && begun.elapsed() < SOON {
            open = sender.write_all(block.as_bytes()).is_ok();
            sent += block.len();
        }
        sent
    });
    let answer = rest(&stream);
    siege.well_behaved();
    let sent = sending.join().unwrap();
    assert!(sent < FLOOD_BYTES, "the server took {sent} bytes");
    answer
}

#[test]
fn what_has_no_end_is_refused_early() {
    let siege = Siege::new();
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

#[test]
fn what_announces_too_much_is_refused_before_it_is_sent() {
    let siege = Siege::new();
    let cases = [
        format!("{HEAD}Content-Length: 1073741824\r\n\r\n"),
        format!("{HEAD}Content-Length: 8193\r\nExpect: 100-continue\r\n\r\n"),
        format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n40000000\r\n"),
        format!("{HEAD}{}\r\n", "a: b\r\n".repeat(10_000)),
    ];
    for request in cases {
        let stream = siege.connect();
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || drop(sender.write_all(request.as_bytes())));
        check(&rest(&stream), 413, "too_large");
        sending.join().unwrap();
    }
    siege.ends_well("announcements of too much");
}
