//! What comes back over HTTP, and the ops port.

use std::io::{Read, Write};
use std::net::TcpStream;

use test_cluster::wait;
use test_cluster::zincati::send;

use super::{SOON, ask, binary, cluster, cluster_of, server, write};

#[test]
fn each_invalid_request_is_answered_as_json() {
    let cluster = cluster();
    let server = server(&cluster, "1s");
    let post = "POST /v1/pre-reboot HTTP/1.1\r\nfleet-lock-protocol: true";
    let steady = "POST /v1/steady-state HTTP/1.1\r\nfleet-lock-protocol: true";
    let long = "x".repeat(9000);
    let cases = [
        ("GET /v1/pre-reboot HTTP/1.1", "", 405, "method_not_allowed"),
        ("PUT /v1/pre-reboot HTTP/1.1", "{}", 405, "method_not_allowed"),
        ("POST /v1/reboot HTTP/1.1\r\nfleet-lock-protocol: true", "{}", 404, "not_found"),
        ("POST /v1/pre-reboot HTTP/1.1", "{}", 400, "bad_request"),
        ("POST /v1/pre-reboot HTTP/1.1\r\nfleet-lock-protocol: no", "{}", 400, "bad_request"),
        (post, "{", 400, "bad_request"),
        (post, r#"{"client_params":{"id":"","group":"a"}}"#, 400, "bad_request"),
        (post, r#"{"client_params":{"id":"978a225b3d7b40e9acd7ce9b62f68444","group":"a b"}}"#, 400, "bad_request"),
        (post, r#"{"client_params":{"id":"978a225b3d7b40e9acd7ce9b62f6844","group":"a"}}"#, 400, "bad_request"),
        (steady, r#"{"client_params":{"id":"978a225b3d7b40e9acd7ce9b62f6844","group":"a"}}"#, 400, "bad_request"),
        (post, &long, 413, "too_large"),
    ];
    for (head, body, status, kind) in cases {
        let answer = ask(&server, head, body).expect(status, kind);
        assert!(answer.head.contains("content-type: application/json") && !answer.value.is_empty(), "{answer:?}");
    }
    let looked =
        cluster.proxy.log().into_iter().filter(|call| call.path.contains("/nodes/") || call.path.contains("/pods")).collect::<Vec<_>>();
    assert!(looked.is_empty(), "what is no request costs no call: {looked:?}");
}

#[test]
fn a_base_path_and_a_chunked_body_work() {
    let (cluster, [one]) = cluster_of();
    let server = cluster.server(&binary()).arg("--base-path=/fleet").arg("--slots=3").start();
    let mut agent = one.agent(&server);
    agent.steady_state().expect(404, "not_found");
    agent.base = "/fleet/".to_owned();
    agent.steady_state().expect(200, "steady_state");
    let body = format!(r#"{{"client_params":{{"id":"{}","group":"default"}}}}"#, one.id);
    let head = "POST /fleet/v1/steady-state?x=y HTTP/1.1\r\nHost: x\r\nFleet-Lock-Protocol: true\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    send(&server.address, text.as_bytes()).answer().expect(200, "steady_state");
}

#[test]
fn any_path_may_stand_before_the_last_two_segments() {
    let (cluster, [one]) = cluster_of();
    let server = server(&cluster, "20s");
    let mut agent = one.agent(&server);
    for base in ["/fleet_lock/", "//", &format!("http://{}/a/b/", server.address)] {
        agent.base = base.to_owned();
        agent.steady_state().expect(200, "steady_state");
    }
    agent.pre_reboot().expect(200, "approved");
    let before = String::from_utf8(agent.request("pre-reboot")).unwrap();
    send(&server.address, format!("\r\n\r\n{before}").as_bytes()).answer().expect(200, "approved");
    let without_host = before.replace(&format!("host: {}\r\n", server.address), "");
    let answer = send(&server.address, without_host.as_bytes()).answer().expect(400, "bad_request");
    assert!(answer.value.contains("host is missing"), "{}", answer.value);
}

/// Only probes get a success without a credential, and no request of an agent does, wherever a redirect leads it.
#[test]
fn a_load_balancer_may_check_the_health_of_the_port_that_nodes_call() {
    let cluster = cluster();
    let credentials = write(&cluster, "credentials.yaml", "credentials:\n- user: workers\n  password: p-0123456789\n  groups: [\"*\"]\n");
    for more in [vec![], vec!["--auth-file", &credentials]] {
        let server = more.iter().fold(cluster.server(&binary()), |start, argument| start.arg(argument)).start();
        let exchange = |head: &str| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(format!("{head}\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        for head in ["GET /healthz HTTP/1.1", "GET /healthz?x HTTP/1.0", "GET http://x/healthz HTTP/1.1", "HEAD /healthz HTTP/1.1"] {
            let answer = exchange(head);
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 "), "{head}: {answer}");
            assert_eq!(answer.ends_with("\r\n\r\nok\n"), !head.starts_with("HEAD"), "{head}: {answer}");
        }
        let refused = [
            "GET / HTTP/1.1",
            "HEAD / HTTP/1.1",
            "GET /healthz HTTP/1.1\r\nfleet-lock-protocol: true",
            "POST /healthz HTTP/1.1",
            "POST /healthz HTTP/1.1\r\nfleet-lock-protocol: true",
            "GET /healthz/ HTTP/1.1",
            "GET /healthz/v1/pre-reboot HTTP/1.1",
            "GET /v1/pre-reboot HTTP/1.1",
            "GET /v1/pre-reboot/healthz HTTP/1.1",
            "GET /fleet/healthz HTTP/1.1",
            "GET /readyz HTTP/1.1",
            "GET /metrics HTTP/1.1",
        ];
        for head in refused {
            let answer = exchange(head);
            let status = answer.split(' ').nth(1).unwrap_or_default();
            let expected: &[&str] = if more.is_empty() { &["404", "405"] } else { &["401"] };
            assert!(expected.contains(&status), "{head}: {answer}");
        }
    }
}

#[test]
fn the_metrics_count_what_happened() {
    let (cluster, [one, two]) = cluster_of();
    cluster.fleet.bare_pod("shop", "a", test_cluster::objects::Placement::On("n1"));
    cluster.wait_for_running("n1", 1);
    let server = server(&cluster, "30s");
    one.agent(&server).pre_reboot().expect(200, "approved");
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    let wanted = [
        r#"reboot_manager_requests_total{endpoint="pre-reboot",code="200",kind="approved"} 1"#,
        r#"reboot_manager_requests_total{endpoint="pre-reboot",code="404",kind="slots_taken"} 1"#,
        r#"reboot_manager_evictions_total{result="evicted"} 1"#,
        r#"reboot_manager_kubernetes_calls_total{verb="create",resource="pods/eviction",code="201"} 1"#,
        r#"reboot_manager_request_duration_seconds_count{endpoint="pre-reboot"} 2"#,
        "reboot_manager_slots 1",
        "reboot_manager_holders 1",
        "reboot_manager_build_info{version=",
    ];
    wait::wait_for("the metrics are right", SOON, || {
        let (status, page) = server.page("/metrics");
        assert_eq!(status, 200);
        match wanted.iter().find(|line| !page.contains(**line)) {
            None => Ok(()),
            Some(line) => Err(format!("no {line} in\n{page}")),
        }
    });
    assert_eq!(server.page("/").0, 404);
}
