//! A slot that is given back: by a node that was never approved and blocks the others, and by one that is back and silent. The clock of
//! the server is shifted, so no scenario waits for a limit.

use serde_json::{Value, json};
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{Machine, SOON, blocked, cluster_of, set_clock, shifted, unblock};

/// Two nodes, of which the first has a pod that a budget keeps there, and a server that holds no request.
fn blocked_first() -> (TestCluster, [Machine; 2], Server) {
    let (cluster, machines) = cluster_of();
    blocked(&cluster, "db", 1, "n1");
    let server = later(&cluster);
    (cluster, machines, server)
}

fn later(cluster: &TestCluster) -> Server {
    set_clock(cluster, "+0");
    shifted(cluster).arg("--pre-reboot-wait=0s").start()
}

/// Waits until nothing of ours is left on the first node, whose slot is free.
fn is_undone(cluster: &TestCluster, server: &Server, reason: &str) {
    server.wait_for_log(&format!("node n1: slot freed: {reason}"), SOON * 3);
    wait_for("n1 is in service", SOON * 3, || match (cluster.is_cordoned("n1"), cluster.status("n1")) {
        (false, Some(status)) if status == "Ready" => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_node_that_was_not_approved_and_stops_asking_gives_its_slot_back() {
    let (cluster, [one, two], server) = blocked_first();
    one.until_blocked(&server, "PodDisruptionBudget shop/db");
    two.until_refused(&server, "slots_taken", "n1 since ");
    set_clock(&cluster, "+900");
    two.until_refused(&server, "slots_taken", "n1 since ");
    set_clock(&cluster, "+1081");
    is_undone(&cluster, &server, "it was never approved, and no longer asks (--release-silent-after)");
    two.until_approved(&server);
    // The first node has no back-off: when it asks again, it waits like any other.
    one.until_refused(&server, "slots_taken", "n2 since ");
}

#[test]
fn a_drain_without_progress_is_given_up_and_its_node_waits() {
    let (cluster, [one, two], server) = blocked_first();
    one.until_blocked(&server, "PodDisruptionBudget shop/db");
    two.until_refused(&server, "slots_taken", "n1 since ");
    wait_for("the answer to others names what blocks the holder", SOON, || {
        let answer = two.agent(&server).pre_reboot().expect(404, "slots_taken").value;
        let says = answer.contains("being drained, blocked since 20") && answer.contains("PodDisruptionBudget shop/db");
        if says { Ok(()) } else { Err(answer) }
    });
    server.wait_for_log("node n1 keeps its slot: it is being drained, and its drain is blocked", SOON * 3);
    let reason = "it was never approved, and its drain has made no progress for too long (--give-up-after)";
    let (cluster, server) = (&cluster, &server);
    // Each report adds at most a minute, so the clock moves on once another report was made.
    let report = || cluster.lock()["holders"][0]["drain"]["at"].clone();
    let (mut minutes, mut last) = (0, Value::Null);
    wait_for("the drain is given up", SOON * 9, || {
        let now = report();
        if now == last && !now.is_null() {
            return Err(format!("{} after {minutes} minutes", cluster.lock()));
        }
        last = now;
        minutes += 1;
        set_clock(cluster, &format!("+{}", minutes * 60));
        // The node keeps asking.
        let kind = one.agent(server).pre_reboot().kind;
        if kind == "deferred" { Ok(()) } else { Err(format!("{kind} after {minutes} minutes")) }
    });
    assert!(minutes >= 30, "{minutes} minutes");
    is_undone(cluster, server, reason);
    let answer = one.agent(server).pre_reboot().expect(404, "deferred").value;
    assert!(answer.contains("must wait until 20") && answer.contains("shop/db"), "{answer}");
    two.until_approved(server);
    two.comes_back(cluster, server);
    // Another replica knows it, too.
    let other = shifted(cluster).arg("--pre-reboot-wait=0s").start();
    one.until_refused(&other, "deferred", "its drain was given up at ");
    unblock(cluster, "db");
    set_clock(cluster, &format!("+{}", (minutes + 31) * 60));
    one.until_approved(&other);
}

#[test]
fn a_node_that_is_not_ready_for_long_gives_its_slot_back() {
    let (cluster, [one, two], server) = blocked_first();
    one.until_blocked(&server, "PodDisruptionBudget shop/db");
    two.until_refused(&server, "slots_taken", "n1 since ");
    let kubelets = cluster.heartbeats(&["n1", "n2"]);
    kubelets.stop("n1");
    set_clock(&cluster, "+301");
    is_undone(&cluster, &server, "it was never approved, and has not been Ready for too long (--give-up-not-ready-after)");
    two.until_approved(&server);
    kubelets.resume("n1");
    one.until_refused(&server, "deferred", "the node was not Ready");
}

#[test]
fn a_node_that_is_back_and_does_not_check_in_gives_its_slot_back() {
    let (cluster, [one, two]) = cluster_of();
    let server = later(&cluster);
    one.until_approved(&server);
    cluster.fleet.reboot("n1");
    server.wait_for_log("node n1: rebooted, and not checked in yet", SOON * 3);
    two.until_refused(&server, "slots_taken", "but not checked in");
    let kubelets = cluster.heartbeats(&["n1", "n2"]);
    kubelets.stop("n1");
    two.until_refused(&server, "slots_taken", "but its kubelet is not Ready");
    kubelets.resume("n1");
    two.until_refused(&server, "slots_taken", "but not checked in");
    set_clock(&cluster, "+450");
    two.until_refused(&server, "slots_taken", "but not checked in");
    set_clock(&cluster, "+601");
    is_undone(&cluster, &server, "it has rebooted, is Ready, and has not checked in for too long (--release-rebooted-after)");
    two.until_approved(&server);
}

#[test]
fn the_approval_of_a_node_that_keeps_asking_and_does_not_reboot_is_withdrawn() {
    let (cluster, [one, two]) = cluster_of();
    let server = later(&cluster);
    one.until_approved(&server);
    set_clock(&cluster, "+1800");
    one.agent(&server).pre_reboot().expect(200, "approved");
    two.until_refused(&server, "slots_taken", "n1 since ");
    set_clock(&cluster, "+3601");
    let answer = one.agent(&server).pre_reboot().expect(404, "deferred").value;
    assert!(answer.contains("its approval was withdrawn at 20") && answer.contains("journalctl -u zincati"), "{answer}");
    is_undone(&cluster, &server, "it was approved, asks again and has not rebooted for too long (--withdraw-after)");
    two.until_approved(&server);
}

#[test]
fn a_node_that_is_back_on_the_same_os_image_lets_others_go_first() {
    let (cluster, [one, two]) = cluster_of();
    let server = later(&cluster);
    one.until_approved(&server);
    cluster.fleet.reboot_without_update("n1");
    one.agent(&server).steady_state().expect(200, "steady_state");
    cluster.wait_for_no_holder();
    one.until_refused(&server, "deferred", "runs the same OS image as before");
    two.until_approved(&server);
    two.comes_back(&cluster, &server);
    set_clock(&cluster, "+1801");
    one.until_approved(&server);
    // An update that is applied ends the series. The kubelet of this node has not reported since the clock was moved, so its boot was in doubt.
    one.comes_back(&cluster, &server);
    set_clock(&cluster, "+1922");
    cluster.wait_for_no_holder();
    assert_eq!(cluster.lock()["deferrals"], Value::Null);
    one.until_approved(&server);
}

#[test]
fn a_drain_is_called_off_by_marking_the_node_ready() {
    let (cluster, [one, two], server) = blocked_first();
    one.until_blocked(&server, "PodDisruptionBudget shop/db");
    cluster.set_cordon("n1", false);
    one.until_blocked(&server, "PodDisruptionBudget shop/db");
    server.wait_for_log("cordoned again. To call the drain off: kubectl annotate node n1 --overwrite rebootmanager/status=Ready", SOON * 3);
    cluster.set_status("n1", "Ready");
    is_undone(&cluster, &server, "a person marked it Ready while it was being drained, which calls the drain off");
    one.until_refused(&server, "deferred", "its drain was called off at ");
    two.until_approved(&server);
}

#[test]
fn a_check_in_of_a_node_that_was_marked_ready_by_hand_frees_its_slot() {
    let (cluster, [one, two]) = cluster_of();
    let server = later(&cluster);
    one.until_approved(&server);
    let annotations = json!({"rebootmanager/status": "Ready", "rebootmanager/cordon": null});
    cluster.admin.merge("/api/v1/nodes/n1", &json!({"metadata": {"annotations": annotations}, "spec": {"unschedulable": null}})).ok();
    cluster.fleet.set_ready("n1", false);
    one.agent(&server).steady_state().expect(200, "steady_state");
    assert!(cluster.lock()["holders"][0]["checked_in"].is_string(), "{}", cluster.lock());
    cluster.fleet.reboot("n1");
    cluster.fleet.set_ready("n1", true);
    cluster.wait_for_no_holder();
    two.until_approved(&server);
}
