//! The protocol: method, target, value of the header and base path on a line each, then the body.

use std::ops::ControlFlow::{Break, Continue};

use reboot_manager::cluster::HexId;
use reboot_manager::fleetlock::{Endpoint, GroupName, Head, Reply, parse};
use serde::de::IgnoredAny;
use serde_json::Value;

pub(crate) fn run(input: &[u8]) {
    let mut parts = input.splitn(5, |byte| *byte == b'\n');
    let mut line = || parts.next().map(String::from_utf8_lossy).unwrap_or_default();
    let (method, target, protocol, base) = (line(), line(), line(), line());
    let body = parts.next().unwrap_or_default();
    let protocol = (protocol != "-").then_some(&*protocol);

    match parse(Head { method: &method, target: &target, protocol }, body, &base) {
        Continue(request) => {
            assert_eq!((&*method, protocol), ("POST", Some("true")));
            let last = target.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').rsplit('/').next();
            assert_eq!(last, Some(request.endpoint.name()));
            assert!(matches!(request.endpoint, Endpoint::PreReboot | Endpoint::SteadyState));
            serde_json::from_slice::<IgnoredAny>(body).expect("JSON");
            // Half a surrogate is JSON, too; it is not text, and is allowed where it is not read.
            if let Ok(json) = serde_json::from_slice::<Value>(body) {
                let id = json["client_params"]["id"].as_str().map(str::trim).and_then(HexId::parse);
                assert_eq!(id, Some(request.id));
                assert_eq!(json["client_params"]["group"], request.group.to_string());
            }
            assert_eq!(GroupName::parse(&request.group.to_string()), Some(request.group));
        }
        Break(refusal) => {
            let reply = Reply::from(refusal);
            assert!(matches!(reply.kind().status(), 400 | 404 | 405), "{reply:?}");
            // The message goes into journals and logs: a stranger may not fill them.
            let base = base.chars().count() * 2;
            assert!(reply.value().chars().count() <= MESSAGE_MAX + base, "{} characters: {reply:?}", reply.value().chars().count());
            let json: Value = serde_json::from_str(&reply.json()).expect("JSON");
            assert_eq!(json["value"], reply.value());
        }
    }
}

/// 80 characters of a stranger, each of which may be escaped to ten, and our own words.
const MESSAGE_MAX: usize = 1000;
