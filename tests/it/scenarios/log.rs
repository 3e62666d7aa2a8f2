//! Each line of the log is one event of this program, whatever others send, and no caller fills the log.

use std::time::Instant;

use serde_json::{Value, json};
use test_cluster::Server;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;
use test_cluster::zincati::send;

use super::{SOON, binary, blocked, cluster_of, machine_id, running_pod, unblock};

/// Text that would pass for a line of the log, in red, or for the next field of a JSON line.
const FORGED: &str = "x\n2026-01-01T00:00:00.000Z ERROR forged\r\u{1b}[31m\u{9b}2J\u{2028}\u{202e}\",\"level\":\"error\",\"forged\":\"";

/// Every field of a JSON line.
const FIELDS: [&str; 15] = [
    "code",
    "duration",
    "endpoint",
    "group",
    "kind",
    "level",
    "message",
    "namespace",
    "node",
    "omitted",
    "pod",
    "remote",
    "target",
    "time",
    "user",
];

/// The lines of a JSON log, parsed.
#[track_caller]
fn parsed(server: &Server) -> Vec<Value> {
    let lines = server.log();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))).collect()
}

/// The lines at info or above that have these fields.
fn visible(server: &Server, fields: &Value) -> Vec<Value> {
    let has = |line: &Value| fields.as_object().unwrap().iter().all(|(name, value)| line[name] == *value);
    parsed(server).into_iter().filter(|line| line["level"] != "debug" && has(line)).collect()
}

#[test]
fn no_caller_and_no_webhook_can_forge_a_line() {
    for format in ["text", "json"] {
        let (cluster, [one]) = cluster_of();
        running_pod(&cluster, "kept", "n1");
        let webhook =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 418, "message": format!("denied {FORGED}")});
        cluster.proxy.plan(Rule::on("create", "pods/eviction").inject(Fault::status(418, &webhook)));
        let server = cluster.server(&binary()).arg("--pre-reboot-wait=2s").arg("--log-format").arg(format).start();
        server.zincati(&format!("id {FORGED}")).steady_state().expect(400, "bad_request");
        let mut agent = one.agent(&server);
        agent.group = format!("group {FORGED}");
        agent.pre_reboot().expect(400, "bad_request");
        for path in ["/path%0Aforged", "/path\u{1b}[31m"] {
            send(&server.address, format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).answer();
        }
        assert_eq!(one.agent(&server).pre_reboot().status, 404);
        for marker in ["id x\\", "group x\\", "path%0Aforged", "denied x\\n"] {
            server.wait_for_log(marker, SOON);
        }
        for line in server.log() {
            assert!(!line.starts_with("2026-01-01T00:00:00.000Z"), "{line:?}");
            assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{line:?}");
        }
        if format == "json" {
            for line in parsed(&server) {
                assert!(line.as_object().unwrap().keys().all(|name| FIELDS.contains(&name.as_str())), "{line}");
                assert_ne!(line["level"], "error", "{line}");
            }
        }
    }
}

#[test]
fn the_json_lines_of_a_reboot_have_their_fields() {
    let (cluster, [one, two]) = cluster_of();
    running_pod(&cluster, "web", "n1");
    let server = cluster.server(&binary()).arg("--pre-reboot-wait=20s").arg("--log-format=json").start();
    one.agent(&server).pre_reboot().expect(200, "approved");
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
    server.wait_for_log("\"kind\":\"steady_state\"", SOON);
    let lines = parsed(&server);
    for line in &lines {
        for name in ["time", "level", "target", "message"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
        let is_about_a_node = line["message"].as_str().unwrap().contains("node n");
        assert!(!is_about_a_node || line["node"] == "n1" || line["node"] == "n2", "{line}");
    }
    let answers =
        [("n1", "pre-reboot", 200, "approved"), ("n2", "pre-reboot", 404, "slots_taken"), ("n1", "steady-state", 200, "steady_state")];
    for (node, endpoint, code, kind) in answers {
        let found = visible(&server, &json!({"node": node, "endpoint": endpoint, "code": code, "kind": kind, "group": "default"}));
        assert_eq!(found.len(), 1, "{kind} of {node}: {lines:#?}");
        assert!(found[0]["remote"].as_str().unwrap().starts_with("127.0.0.1:") && found[0]["duration"].is_f64(), "{}", found[0]);
    }
    let evicted = visible(&server, &json!({"node": "n1", "namespace": "shop", "pod": "web"}));
    assert!(evicted.iter().any(|line| line["message"] == "node n1: pod shop/web is evicted"), "{evicted:#?}");
    let documented = include_str!("../../../docs/settings.md");
    assert!(FIELDS.iter().all(|name| documented.contains(&format!("`{name}`"))), "docs/settings.md has not all fields");
    let (_, example) = documented.split_once("```json\n").unwrap();
    let example: Value = serde_json::from_str(example.lines().next().unwrap()).unwrap();
    let approved = &visible(&server, &json!({"kind": "approved"}))[0];
    assert!(example.as_object().unwrap().keys().eq(approved.as_object().unwrap().keys()), "the example of docs/settings.md: {approved}");
    for change in ["slot taken", "marked Rebooting, cordoned", "reboot approved", "check-in recorded", "marked Ready, uncordoned"] {
        let found = visible(&server, &json!({"message": format!("node n1: {change}"), "node": "n1"}));
        assert_eq!(found.len(), 1, "{change}: {lines:#?}");
    }
}

#[test]
fn no_caller_fills_the_log() {
    const REQUESTS: usize = 30;
    let (cluster, [one, two, three]) = cluster_of();
    blocked(&cluster, "web", 1, "n1");
    let server = cluster.server(&binary()).arg("--pre-reboot-wait=0s").arg("--log-format=json").start();
    one.until_blocked(&server, "shop/web");
    let begun = Instant::now();
    for number in 0..REQUESTS {
        for machine in [&two, &three] {
            machine.agent(&server).pre_reboot().expect(404, "slots_taken");
        }
        server.zincati(&machine_id(1000 + number)).pre_reboot().expect(404, "unknown_node");
        server.zincati(&format!("bad {number}")).steady_state().expect(400, "bad_request");
        for (request, status) in [("GET /", 404), ("GET /healthz", 200), ("\u{1}", 400)] {
            assert_eq!(send(&server.address, format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).answer().status, status);
        }
        assert_eq!(server.page("/healthz").0, 200);
    }
    let minutes = 1 + usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    let limited = [
        json!({"kind": "slots_taken", "node": "n2"}),
        json!({"kind": "slots_taken", "node": "n3"}),
        json!({"kind": "unknown_node"}),
        json!({"kind": "bad_request", "endpoint": "steady-state"}),
        json!({"kind": "bad_request", "endpoint": null}),
    ];
    for fields in limited {
        let lines = visible(&server, &fields);
        assert!((1..=minutes).contains(&lines.len()), "{fields}: {lines:#?}");
    }
    let probes = visible(&server, &json!({"kind": "not_found"}));
    assert!(probes.is_empty(), "{probes:#?}");
    let all = parsed(&server).len();
    assert!(all > 6 * REQUESTS, "all of them are logged at debug: {all}");
    // Each approval is logged.
    unblock(&cluster, "web");
    one.until_approved(&server);
    one.agent(&server).pre_reboot().expect(200, "approved");
    wait_for("both approvals are logged", SOON, || match visible(&server, &json!({"kind": "approved", "node": "n1"})).len() {
        2 => Ok(()),
        other => Err(other),
    });
}
