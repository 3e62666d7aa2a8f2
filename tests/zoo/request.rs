//! HTTP requests on the FleetLock port.

use std::ops::ControlFlow::{Break, Continue};

use reboot_manager::fleetlock::{Head, Refusal, parse};
use reboot_manager::http::Sizes;
use reboot_manager::http::head::{Progress, Reader, Received};
use serde_json::Value;

use crate::text;

/// A header of the program's own, which is not looked at.
const ADDED: (&str, &str) = ("Added-By-Us", "value");

/// Returns the question of a request, or its refusal. `head` has a line for each line of the request's head, in which `<N bytes>`
/// are that number of bytes; `base` is the flag `--base-path`.
pub(crate) fn request(input: &Value) -> String {
    let base = input["base"].as_str().unwrap_or("/");
    let head = filled(text(input, "head")).trim_end().replace('\n', "\r\n");
    let bytes = format!("{head}\r\n\r\n{}", input["body"].as_str().unwrap_or_default());
    let received = match Reader::new(Sizes::default()).push(bytes.as_bytes()) {
        Ok(Progress::Whole(received)) => received,
        Ok(progress) => return format!("{progress:?}"),
        Err(refusal) => return refused(&refusal),
    };
    question(&received, base)
}

/// Parses what the program hands on, as the program does once tiny_http has read it.
fn question(received: &Received, base: &str) -> String {
    let rewritten = String::from_utf8(received.rewritten(ADDED)).unwrap();
    let (head, body) = rewritten.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let protocol = headers.find(|(name, _)| name.eq_ignore_ascii_case("fleet-lock-protocol")).map(|(_, value)| value);
    match parse(Head { method, target, protocol }, body.as_bytes(), base) {
        Continue(request) => format!("{} of {} in group {}", request.endpoint.name(), request.id, request.group),
        Break(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("{} {}: {}", refusal.kind.status(), refusal.kind.name(), refusal.message)
}

/// Replaces `<N bytes>` by as many bytes.
fn filled(head: &str) -> String {
    let Some((before, rest)) = head.split_once('<') else { return head.to_owned() };
    let (count, after) = rest.split_once(" bytes>").expect("a number of bytes");
    format!("{before}{}{after}", "x".repeat(count.parse().expect("a number")))
}
