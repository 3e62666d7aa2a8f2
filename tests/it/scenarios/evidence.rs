//! What is taken as evidence: Kubernetes' own word that an object does not exist, the Lease with its annotation, the status
//! that says whose cordon it is.

use serde_json::{Value, json};
use test_cluster::proxy::{Fault, Passed, Rule};
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{Machine, SOON, blocked, cluster_of, machine, machine_id, not_found, served, server, set_clock, shifted};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager";

/// Waits until the program has read the Node so often again: a round of the reconciler reads it once, or four times in a row
/// where it meets a failure.
#[track_caller]
fn wait_for_reads(cluster: &TestCluster, node: &str, count: usize) {
    let path = format!("/api/v1/nodes/{node}");
    let is_read = |call: &&Passed| call.verb == "get" && call.path == path;
    let reads = |calls: &[Passed]| calls.iter().filter(is_read).count();
    let before = reads(&cluster.proxy.log());
    cluster.proxy.block_until(|calls| reads(calls) >= before + count, SOON * 3);
}

#[test]
fn the_404_of_a_proxy_frees_no_slot() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    let backend = || Fault::status(404, &json!("default backend - 404"));
    cluster.proxy.plan(Rule::on("get", "nodes").with_path("/nodes/n1").from(1).inject(backend()));
    wait_for_reads(&cluster, "n1", 8);
    for answer in [one.agent(&server).pre_reboot(), one.agent(&server).steady_state()] {
        let answer = answer.expect(503, "kubernetes_unavailable");
        assert!(answer.value.contains("node n1") && answer.value.contains("proxy"), "{}", answer.value);
    }
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    assert_eq!(cluster.holders(), ["n1"]);
    assert_eq!((cluster.status("n1").as_deref(), cluster.is_cordoned("n1")), (Some("Rebooting"), true));
    cluster.proxy.clear();
    // For once it is met by asking again.
    cluster.proxy.plan(Rule::on("get", "nodes").with_path("/nodes/n1").nth(1).inject(backend()));
    one.comes_back(&cluster, &server);
    two.until_approved(&server);
}

#[test]
fn a_lease_whose_annotation_is_missing_or_unreadable_approves_no_node_and_says_so() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    let annotate = |value: &Value| cluster.admin.merge(LEASE, &json!({"metadata": {"annotations": {"rebootmanager/holders": value}}})).ok();
    let before = cluster.admin.get(LEASE).ok()["metadata"]["annotations"]["rebootmanager/holders"].clone();
    for (value, remedy) in [
        (Value::Null, "has no annotation"),
        (json!("{"), "is not a lock"),
        (json!("7"), "expected an object with form, lastTerm and holders"),
    ] {
        annotate(&value);
        for answer in [one.agent(&server).pre_reboot(), two.agent(&server).pre_reboot(), one.agent(&server).steady_state()] {
            let answer = answer.expect(503, "kubernetes_refused");
            assert!(answer.value.contains("rebootmanager/holders") && answer.value.contains(remedy), "{}", answer.value);
        }
    }
    assert_eq!((cluster.status("n1").as_deref(), cluster.is_cordoned("n1"), cluster.is_cordoned("n2")), (Some("Rebooting"), true, false));
    annotate(&before);
    one.comes_back(&cluster, &server);
    two.until_approved(&server);
}

/// A node is approved and its Node object deleted; the program has recorded that.
fn deleted_while_rebooting(cluster: &TestCluster, server: &Server, one: &Machine, two: &Machine) {
    one.until_approved(server);
    cluster.admin.delete("/api/v1/nodes/n1", None).ok();
    wait_for("the Lease records that the Node is gone", SOON, || {
        let lock = cluster.lock();
        if lock["holders"][0]["missing_since"].is_string() { Ok(()) } else { Err(lock.to_string()) }
    });
    server.wait_for_log("Node object is gone while the node may be rebooting", SOON);
    let answer = two.agent(server).pre_reboot().expect(404, "slots_taken");
    assert!(answer.value.contains("its Node is gone since 20") && answer.value.contains("kept until 20"), "{}", answer.value);
}

#[test]
fn a_deleted_node_that_may_be_rebooting_keeps_its_slot_until_it_is_ready_in_another_boot() {
    for name in ["n1", "renamed"] {
        let (cluster, [one, two], server) = served("10s");
        deleted_while_rebooting(&cluster, &server, &one, &two);
        // Its kubelet is restarted before the reboot, and registers the Node once more: the boot is the same.
        let machine_id = machine_id(1);
        cluster.fleet.node(name, &machine_id, "boot-of-n1").create();
        wait_for_reads(&cluster, name, 2);
        two.agent(&server).pre_reboot().expect(404, "slots_taken");
        cluster.fleet.set_ready(name, false);
        cluster.fleet.reboot(name);
        cluster.fleet.set_ready(name, true);
        cluster.wait_for_no_holder();
        server.wait_for_log("Ready in another boot", SOON);
        two.until_approved(&server);
    }
}

#[test]
fn a_deleted_node_that_may_be_rebooting_is_given_up_after_15_minutes() {
    let (cluster, [one, two]) = cluster_of();
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=10s").start();
    deleted_while_rebooting(&cluster, &server, &one, &two);
    // Half of the time is not enough: the test may be slow, but not by minutes.
    set_clock(&cluster, "+450");
    wait_for_reads(&cluster, "n1", 2);
    assert_eq!(cluster.holders(), ["n1"]);
    set_clock(&cluster, "+901");
    cluster.wait_for_no_holder();
    server.wait_for_log("its Node has been gone for too long (--release-deleted-after)", SOON);
    two.until_approved(&server);
}

#[test]
fn a_node_that_is_there_after_all_is_not_given_up_later() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    // Kubernetes says so itself, once, and is wrong; as an API server of an older state might be.
    let not_found = Fault::status(404, &not_found("nodes", "n1"));
    cluster.proxy.plan(Rule::on("get", "nodes").with_path("/nodes/n1").nth(1).inject(not_found));
    server.wait_for_log("Node object is gone while the node may be rebooting", SOON);
    server.wait_for_log("Node object found again", SOON);
    assert_eq!(cluster.lock()["holders"][0].get("missing_since"), None);
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    two.until_approved(&server);
}

#[test]
fn a_holder_that_was_never_approved_and_whose_node_is_deleted_is_dropped() {
    let (cluster, [one, two]) = cluster_of();
    blocked(&cluster, "web", 1, "n1");
    let server = server(&cluster, "1s");
    one.until_blocked(&server, "PodDisruptionBudget shop/web");
    cluster.admin.delete("/api/v1/nodes/n1", None).ok();
    cluster.wait_for_no_holder();
    two.until_approved(&server);
}

#[test]
fn a_node_recreated_under_the_same_name_is_another_node() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    cluster.admin.delete("/api/v1/nodes/n1", None).ok();
    let again = machine(&cluster, "n1", 1);
    cluster.fleet.reboot("n1");
    again.agent(&server).steady_state().expect(200, "steady_state");
    again.is_in_service(&cluster);
    cluster.wait_for_no_holder();
    again.until_approved(&server);
    again.comes_back(&cluster, &server);
    two.until_approved(&server);
}
