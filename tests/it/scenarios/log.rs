//! Each line of the log is one event of this program, whatever others send.

use serde_json::json;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::zincati::send;

use super::{SOON, cluster_of, running_pod, server};

/// Text that would pass for a line of the log, in red.
const FORGED: &str = "x\n2026-01-01T00:00:00.000Z ERROR forged\r\u{1b}[31m\u{9b}2J\u{2028}\u{202e}";

#[test]
fn no_caller_and_no_webhook_can_forge_a_line() {
    let (cluster, [one]) = cluster_of();
    running_pod(&cluster, "kept", "n1");
    let webhook = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 418, "message": format!("denied {FORGED}")});
    cluster.proxy.plan(Rule::on("create", "pods/eviction").inject(Fault::status(418, &webhook)));
    let server = server(&cluster, "2s");
    server.zincati(&format!("id {FORGED}")).steady_state().expect(400, "bad_request");
    let mut agent = one.agent(&server);
    agent.group = format!("group {FORGED}");
    agent.pre_reboot().expect(400, "bad_request");
    for path in ["/path%0Aforged", "/path\u{1b}[31m"] {
        send(&server.address, format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).answer();
    }
    assert_eq!(one.agent(&server).pre_reboot().status, 404);
    for marker in ["id x\\n", "group x\\n", "path%0Aforged", "denied x\\n"] {
        server.wait_for_log(marker, SOON);
    }
    for line in server.log() {
        assert!(!line.starts_with("2026-01-01T00:00:00.000Z"), "{line:?}");
        assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{line:?}");
    }
}
