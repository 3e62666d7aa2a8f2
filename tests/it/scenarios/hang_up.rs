//! A client that hangs up: its place is free at once, its node is not approved, and its check-in counts.

use serde_json::Value;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{MOMENT, Machine, SOON, binary, blocked, cluster_of, count, machine_id, served, server, threads, unblock};

/// A cluster whose nodes each have a pod that a budget keeps there.
fn blocked_nodes<const N: usize>() -> (TestCluster, [Machine; N]) {
    let (cluster, nodes) = cluster_of();
    for Machine { node, .. } in &nodes {
        blocked(&cluster, node, 1, node);
    }
    (cluster, nodes)
}

/// Waits until no request is on its way or held: one thread of this name waits for the next request, and each connection has one.
#[track_caller]
fn wait_for_no_connection(server: &Server) {
    wait_for("no connection is left", SOON, || match threads(server.pid(), "fleetlock") {
        0 | 1 => Ok(()),
        more => Err(format!("{more} threads")),
    });
}

/// Sends a request, and hangs up while calls of this kind are not answered.
fn hangs_up_during(cluster: &TestCluster, server: &Server, endpoint: &str, verb: &str, resource: &str) {
    cluster.proxy.plan(Rule::on(verb, resource).inject(Fault::Freeze));
    let before = cluster.proxy.log().len();
    let pending = server.zincati(&machine_id(1)).send(endpoint);
    cluster.proxy.block_until(|calls| count(&calls[before..], verb, resource) > 0, SOON);
    pending.hang_up();
    server.wait_for_log("has hung up", SOON);
    cluster.proxy.clear();
}

fn approvals(server: &Server) -> usize {
    server.log().iter().filter(|line| line.contains("reboot approved")).count()
}

#[test]
fn a_held_client_that_hangs_up_is_not_approved_until_it_asks_again() {
    let (cluster, [one, two]) = blocked_nodes();
    let server = server(&cluster, "600s");
    let held = one.agent(&server).send("pre-reboot");
    server.wait_for_log("node n1: draining, 1 pod to evict", SOON);
    held.hang_up();
    wait_for_no_connection(&server);
    server.wait_for_log("the answer 400 bad_request ", SOON);
    unblock(&cluster, "n1");
    server.wait_for_log("node n1: no pod is left to evict", SOON);
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    assert!(one.pods(&cluster).is_empty());
    assert_eq!((approvals(&server), &cluster.lock()["holders"][0]["approved"]), (0, &Value::Null));
    assert!(cluster.is_cordoned("n1"), "the slot and the cordon stay");
    one.agent(&server).pre_reboot().expect(200, "approved");
    // The line comes after that of the approval; both may come later than the answer.
    server.wait_for_log("200 approved", SOON);
    assert_eq!(approvals(&server), 1);
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
    cluster.wait_for_no_holder();
}

#[test]
fn a_client_that_hangs_up_while_its_request_is_decided_is_not_approved() {
    let (cluster, [one], server) = served("20s");
    hangs_up_during(&cluster, &server, "pre-reboot", "list", "pods");
    server.wait_for_log("closed its side of the connection before the answer", SOON);
    assert_eq!((approvals(&server), &cluster.lock()["holders"][0]["approved"]), (0, &Value::Null));
    one.agent(&server).pre_reboot().expect(200, "approved");
}

#[test]
fn a_client_that_hangs_up_before_the_first_write_takes_no_slot() {
    let (cluster, [_one, two], server) = served("20s");
    hangs_up_during(&cluster, &server, "pre-reboot", "get", "nodes");
    server.wait_for_log("closed its side of the connection before the answer", SOON);
    assert!(cluster.holders().is_empty() && !cluster.is_cordoned("n1"));
    two.until_approved(&server);
}

#[test]
fn a_check_in_counts_though_its_client_hangs_up() {
    let (cluster, [one], server) = served("20s");
    one.until_approved(&server);
    cluster.fleet.reboot("n1");
    hangs_up_during(&cluster, &server, "steady-state", "get", "nodes");
    server.wait_for_log("the answer 200 steady_state ", SOON);
    one.is_in_service(&cluster);
    cluster.wait_for_no_holder();
}

#[test]
fn two_hundred_clients_that_hang_up_leave_all_places_free() {
    let (cluster, nodes) = blocked_nodes::<4>();
    let server = cluster.server(&binary()).arg("--slots=4").arg("--pre-reboot-wait=600s").arg("--max-connections=8").start();
    for _ in 0..50 {
        // At any stage: the request may be on its way, being decided, or held.
        let sent: Vec<_> = nodes.iter().filter_map(|node| node.agent(&server).try_send("pre-reboot")).collect();
        sent.into_iter().for_each(test_cluster::zincati::Pending::hang_up);
    }
    wait_for_no_connection(&server);
    let held: Vec<_> = nodes.iter().map(|node| node.agent(&server).send("pre-reboot")).collect();
    assert!(held.iter().all(|held| held.is_held(MOMENT)));
    held.into_iter().for_each(test_cluster::zincati::Pending::hang_up);
    wait_for_no_connection(&server);
}
