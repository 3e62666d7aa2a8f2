//! A name server that knows one name, on port 53 of the address that the root names.
//! <https://www.rfc-editor.org/rfc/rfc1035#section-4>

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use test_cluster::empty_root::NAME_SERVER;

/// Name server that answers until the process ends.
pub(super) struct Names {
    asked: Arc<AtomicUsize>,
}

impl Names {
    /// Answers 127.0.0.1 for `name`, and that no other name exists.
    pub(super) fn serve(name: &str) -> Self {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).expect("port 53 of 127.0.0.153");
        let wanted = encoded(name);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some((answer, known)) = answer(&buffer[..length], &wanted) {
                    count.fetch_add(usize::from(known), Ordering::Relaxed);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { asked }
    }

    /// Number of queries for the name.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Encodes a name as in a question.
fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).expect("a short label")], label.as_bytes()].concat();
    let mut bytes: Vec<u8> = name.split('.').flat_map(label).collect();
    bytes.push(0);
    bytes
}

/// Returns the answer to a query with one question, and whether the question was for the name.
fn answer(query: &[u8], wanted: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (header, rest) = query.split_at_checked(12)?;
    let end = rest.iter().position(|byte| *byte == 0)? + 1;
    let kind = rest.get(end..end + 2)?;
    let question = rest.get(..end + 4)?;
    let known = rest[..end].eq_ignore_ascii_case(wanted);
    let is_a = kind == [0, 1];
    // Flags: a response, recursion available; no error, or the name does not exist.
    let mut answer =
        [&header[..2], &[0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(known && is_a), 0, 0, 0, 0], question].concat();
    if known && is_a {
        // The name of the question, an address of the Internet, for 5 seconds.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1]);
    }
    Some((answer, known))
}
