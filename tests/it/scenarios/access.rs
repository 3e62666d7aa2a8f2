//! Who may call: credentials, what each covers, their rotation, and where a request comes from.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use test_cluster::scratch::SecretVolume;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{Machine, SOON, ask, binary, calls, cluster, cluster_of, machine, machine_id, machines};

const PASSWORD: &str = "correct-horse-battery";
const OTHER: &str = "another-long-secret";

/// Name of the file of credentials.
const FILE: &str = "credentials.yaml";

/// A volume with a file of credentials.
fn volume(text: &str) -> SecretVolume {
    let mut volume = SecretVolume::new(&[FILE]);
    volume.update(&[(FILE, text)]);
    volume
}

fn server(cluster: &TestCluster, file: &Path) -> Server {
    let start = cluster.server(&binary()).env("RUST_LOG", "trace").arg("--pre-reboot-wait").arg("20s");
    start.arg("--auth-file").arg(file.to_str().unwrap()).start()
}

fn listed(user: &str, password: &str, more: &str) -> String {
    format!("credentials:\n- user: {user}\n  password: {password}\n  {more}\n")
}

/// Neither in the log nor in a metric is a password, in whatever form it was sent or kept, or the token of the service account.
#[track_caller]
fn assert_silent(cluster: &TestCluster, server: &Server, pairs: &[&str]) {
    let (log, metrics) = (server.log().join("\n"), server.page("/metrics").1);
    assert!(!log.contains(&cluster.token) && !metrics.contains(&cluster.token), "the token is shown");
    for pair in pairs {
        let (_, password) = pair.split_once(':').unwrap();
        for secret in [password.to_owned(), BASE64_STANDARD.encode(pair), BASE64_STANDARD.encode(password)] {
            assert!(!log.contains(&secret) && !metrics.contains(&secret), "{secret} is shown\n{log}");
        }
    }
}

#[test]
fn callers_without_a_credential_are_refused_before_any_call_to_kubernetes() {
    let (cluster, [one]) = cluster_of();
    let volume = volume(&listed("workers", PASSWORD, "groups: [default]"));
    let server = server(&cluster, &volume.file(FILE));
    let good = format!("workers:{PASSWORD}");
    let agent = one.agent(&server);
    agent.clone().with_credential(&good).steady_state().expect(200, "steady_state");
    let calls = || cluster.proxy.log().iter().filter(|call| call.path.contains("/nodes/")).count();
    let (before, node) = (calls(), cluster.fleet.read_node("n1"));
    let wrong = [format!("workers:{PASSWORD}x"), format!("worker:{PASSWORD}"), "workers:".to_owned(), format!("workers:{OTHER}")];
    let strangers = wrong.iter().map(|pair| agent.clone().with_credential(pair)).chain([agent.clone()]);
    for stranger in strangers {
        for answer in [stranger.pre_reboot(), stranger.steady_state()] {
            let answer = answer.expect(401, "unauthorized");
            assert!(answer.head.contains("www-authenticate: basic realm=\"reboot-manager\", charset=\"utf-8\""), "{}", answer.head);
            assert!(answer.head.contains("content-type: application/json") && !answer.value.contains("workers"), "{answer:?}");
        }
    }
    let mut other = agent.clone().with_credential(&good);
    other.group = "other".to_owned();
    let answer = other.pre_reboot().expect(403, "forbidden_group");
    assert!(answer.value.contains("workers") && answer.value.contains("other"), "{}", answer.value);
    assert_eq!((calls(), cluster.fleet.read_node("n1")), (before, node), "a stranger has something read or changed");
    agent.with_credential(&good).pre_reboot().expect(200, "approved");
    server.wait_for_log("pre-reboot of node n1 from \"workers\" at 127.0.0.1", SOON);
    let mut pairs: Vec<&str> = wrong.iter().map(String::as_str).filter(|pair| !pair.ends_with(':')).collect();
    pairs.push(&good);
    assert_silent(&cluster, &server, &pairs);
    let page = server.page("/metrics").1;
    assert!(page.contains(r#"endpoint="pre-reboot",code="401",kind="unauthorized"} 5"#), "{page}");
    assert!(page.contains("reboot_manager_credentials 1") && page.contains("reboot_manager_auth_file_error 0"), "{page}");
}

#[test]
fn an_unknown_caller_is_refused_by_the_head_alone() {
    let cluster = cluster();
    let [_one] = machines::<1>(&cluster);
    let volume = volume(&listed("workers", PASSWORD, "groups: ['*']"));
    let server = server(&cluster, &volume.file(FILE));
    let ask = |head: &str, body: &str| ask(&server, head, body);
    let post = "POST /v1/pre-reboot HTTP/1.1\r\nfleet-lock-protocol: true";
    let basic = format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("workers:{PASSWORD}")));
    for (head, body) in [(post, "{"), (post, ""), ("GET / HTTP/1.1", ""), ("PUT /v1/pre-reboot HTTP/1.1", "x")] {
        ask(head, body).expect(401, "unauthorized");
    }
    // Two credentials are a shape that the listener refuses before they are read.
    ask(&format!("{post}\r\n{basic}\r\n{basic}"), "{}").expect(400, "bad_request");
    ask(&format!("{post}\r\n{}", basic.replace("Basic", "Bearer")), "{}").expect(401, "unauthorized");
    ask(&format!("{post}\r\n{basic}"), "{").expect(400, "bad_request");
    ask(&format!("GET / HTTP/1.1\r\n{}", basic.replace("Basic", "bASIC ")), "").expect(404, "not_found");
}

/// A password may also be where none belongs: in the query, in a URL as the target, in a scheme or header that is not read.
#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    let cluster = cluster();
    let volume = volume(&listed("workers", PASSWORD, "groups: ['*']"));
    for server in [server(&cluster, &volume.file(FILE)), cluster.server(&binary()).env("RUST_LOG", "trace").start()] {
        let pair = format!("workers:{PASSWORD}");
        let encoded = BASE64_STANDARD.encode(&pair);
        let heads = [
            format!("POST /v1/reboot?password={PASSWORD} HTTP/1.1\r\nfleet-lock-protocol: true"),
            format!("GET /?{encoded} HTTP/1.1"),
            format!("POST http://{pair}@host/v1/pre-reboot HTTP/1.1"),
            format!("POST /v1/pre-reboot HTTP/1.1\r\nAuthorization: {pair}"),
            format!("POST /v1/pre-reboot HTTP/1.1\r\nAuthorization: Bearer {encoded}"),
            format!("POST /v1/pre-reboot HTTP/1.1\r\nAuthorization: Basic {encoded}=\r\nAuthorization: Basic {encoded}"),
            format!("POST /v1/pre-reboot HTTP/1.1\r\nAuthorization : Basic {encoded}"),
            format!("POST /v1/pre-reboot HTTP/1.1\r\nCookie: {PASSWORD}\r\nX-{encoded}"),
        ];
        for head in heads {
            let answer = ask(&server, &head, "{}");
            assert!(answer.status >= 400 && !answer.value.contains(PASSWORD) && !answer.value.contains(&encoded), "{head}: {answer:?}");
        }
        assert_silent(&cluster, &server, &[&pair]);
    }
}

#[test]
fn a_credential_of_one_node_moves_no_other() {
    let (cluster, [one, two]) = cluster_of();
    let volume = volume(&listed("n1", PASSWORD, "groups: ['*']\n  nodes: [n1]"));
    let server = server(&cluster, &volume.file(FILE));
    let pair = format!("n1:{PASSWORD}");
    let (mine, other) = (one.agent(&server).with_credential(&pair), two.agent(&server).with_credential(&pair));
    let before = cluster.fleet.read_node("n2");
    for answer in [other.pre_reboot(), other.steady_state()] {
        let answer = answer.expect(403, "forbidden_node");
        assert!(answer.value.contains("node n2"), "{}", answer.value);
    }
    assert!(!cluster.proxy.log().iter().any(|call| call.path.contains("/nodes/n2")), "the other node is looked at");
    assert_eq!(cluster.fleet.read_node("n2"), before);
    assert!(cluster.holders().is_empty());
    mine.pre_reboot().expect(200, "approved");
    mine.steady_state().expect(200, "steady_state");
    assert_silent(&cluster, &server, &[&pair]);
}

#[test]
fn credentials_change_at_run_time_and_an_invalid_file_changes_nothing() {
    let (cluster, [one]) = cluster_of();
    let mut volume = volume(&listed("workers", PASSWORD, "groups: [default]"));
    let server = server(&cluster, &volume.file(FILE));
    let (old, new) = (format!("workers:{PASSWORD}"), format!("workers:{OTHER}"));
    let status = |pair: &str| one.agent(&server).with_credential(pair).steady_state().status;
    assert_eq!((status(&old), status(&new)), (200, 401));
    let both = format!("{}- user: workers\n  password: {OTHER}\n  groups: [default]\n", listed("workers", PASSWORD, "groups: [default]"));
    volume.update(&[(FILE, &both)]);
    until(|| status(&new), 200);
    assert_eq!(status(&old), 200, "both hold while the nodes change over");
    volume.update(&[(FILE, &listed("workers", OTHER, "groups: [default]"))]);
    until(|| status(&old), 401);
    volume.update(&[(FILE, &listed("workers", PASSWORD, "group: [default]"))]);
    let line = server.wait_for_log("the credentials read before stay in force", SOON);
    assert!(line.contains("ERROR") && line.contains("line 4: unknown key, must be one of"), "{line}");
    assert_eq!((status(&old), status(&new)), (401, 200));
    assert!(server.page("/metrics").1.contains("reboot_manager_auth_file_error 1"));
    fs::remove_file(volume.file("..data")).unwrap();
    server.wait_for_log("cannot be read", SOON);
    assert_eq!(status(&new), 200);
    volume.update(&[(FILE, &listed("workers", PASSWORD, "groups: [default]"))]);
    until(|| status(&old), 200);
    assert_eq!(status(&new), 401);
    assert!(server.page("/metrics").1.contains("reboot_manager_auth_file_error 0"));
    assert_silent(&cluster, &server, &[&old, &new]);
}

#[track_caller]
fn until(status: impl Fn() -> u16, wanted: u16) {
    wait_for(&format!("status {wanted}"), SOON, || {
        let status = status();
        if status == wanted { Ok(()) } else { Err(format!("{status:?}")) }
    });
}

#[test]
fn without_credentials_the_start_warns_of_open_access() {
    let (cluster, [one]) = cluster_of();
    let server = cluster.server(&binary()).start();
    server.wait_for_log("any pod that can reach the port can drain any node", SOON);
    one.agent(&server).with_credential("anybody:anything").steady_state().expect(200, "steady_state");
}

/// Nodes n1 at the address the tests call from, n2 with a gateway there, n3 elsewhere.
fn addressed(cluster: &TestCluster) -> [Machine; 3] {
    let [two, three] = [machine_id(2), machine_id(3)];
    cluster.fleet.node("n2", &two, "b2").address("192.0.2.2").pod_network("127.0.0.0/24").create();
    cluster.fleet.node("n3", &three, "b3").address("192.0.2.3").pod_network("10.244.3.0/24").create();
    cluster.fleet.node("n1", &machine_id(1), "b1").address("127.0.0.1").create();
    [1, 2, 3].map(|number| Machine { node: format!("n{number}"), id: machine_id(number) })
}

#[test]
fn a_request_that_does_not_come_from_its_node_is_logged_or_refused() {
    let cluster = cluster();
    let [one, two, three] = addressed(&cluster);
    let start = |verify: &str| cluster.server(&binary()).arg(verify).arg("--pre-reboot-wait=20s").start();
    let logging = start("--verify-source=log");
    three.until_approved(&logging);
    let line = logging.wait_for_log("--verify-source=log", SOON);
    assert!(line.contains("WARN") && line.contains("node n3 came from 127.0.0.1") && line.contains("192.0.2.3"), "{line}");
    three.comes_back(&cluster, &logging);
    cluster.wait_for_no_holder();
    drop(logging);
    let server = start("--verify-source=enforce");
    let before = cluster.fleet.read_node("n3");
    for answer in [three.agent(&server).pre_reboot(), three.agent(&server).steady_state()] {
        let answer = answer.expect(403, "forbidden_source");
        for word in ["node n3", "127.0.0.1", "192.0.2.3", "10.244.3.1"] {
            assert!(answer.value.contains(word), "{}", answer.value);
        }
    }
    assert_eq!(cluster.fleet.read_node("n3"), before);
    assert!(cluster.holders().is_empty());
    for machine in [&one, &two] {
        machine.agent(&server).steady_state().expect(200, "steady_state");
        let mut calls = calls(&cluster, || drop(machine.agent(&server).steady_state().expect(200, "steady_state")));
        calls.retain(|call| call.path.contains("/nodes/"));
        assert_eq!(calls.len(), 1, "one read of the whole Node in place of its metadata: {calls:?}");
        machine.agent(&server).pre_reboot().expect(200, "approved");
        machine.comes_back(&cluster, &server);
        machine.is_in_service(&cluster);
    }
    // The address that Cilium gives calls from a node, which it writes there.
    let annotation = json!({"metadata": {"annotations": {"network.cilium.io/ipv4-cilium-host": "127.0.0.1"}}});
    cluster.admin.merge("/api/v1/nodes/n3", &annotation).ok();
    three.agent(&server).steady_state().expect(200, "steady_state");
    assert!(cluster.holders().is_empty());
}

#[test]
fn a_recreated_node_is_found_before_its_address_is_checked() {
    let cluster = cluster();
    let [one, _two, _three] = addressed(&cluster);
    let server = cluster.server(&binary()).arg("--verify-source=enforce").start();
    one.agent(&server).steady_state().expect(200, "steady_state");
    cluster.admin.delete("/api/v1/nodes/n1", None).ok();
    let late = machine(&cluster, "n4", 1);
    wait_for("the watch has delivered the node n4", SOON, || {
        let answer = late.agent(&server).pre_reboot();
        if answer.kind == "unknown_node" { Err(answer.value) } else { Ok(answer.expect(403, "forbidden_source")) }
    });
    cluster.fleet.node("n1", &machine_id(7), "b7").address("192.0.2.7").create();
    cluster.admin.delete("/api/v1/nodes/n4", None).ok();
    cluster.fleet.node("n5", &machine_id(1), "b5").address("127.0.0.1").create();
    wait_for("the watch has delivered the node n5", SOON, || {
        late.agent(&server).steady_state().expect(200, "steady_state");
        let status = cluster.status("n5");
        if status.as_deref() == Some("Ready") { Ok(()) } else { Err(format!("{status:?}")) }
    });
}
