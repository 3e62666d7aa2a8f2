//! At most one control-plane node is unavailable; and a node whose kubelet does not report takes no slot.

use serde_json::json;
use test_cluster::objects::{self};
use test_cluster::zincati::Answer;
use test_cluster::{Server, TestCluster};

use super::{Machine, SOON, binary, blocked, cluster, machine, machine_id, server, unblock};

const LABELS: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"];

/// Two nodes of the control plane, one with each label, and a worker.
fn plane(cluster: &TestCluster) -> [Machine; 3] {
    let [one, two] = [1, 2].map(|number| {
        let machine_id = machine_id(number);
        cluster.fleet.node(&format!("cp{number}"), &machine_id, "first").label(LABELS[number - 1], "").create();
        Machine { node: format!("cp{number}"), id: machine_id }
    });
    [one, two, machine(cluster, "worker", 3)]
}

fn server_of_three(cluster: &TestCluster, more: &str) -> Server {
    cluster.server(&binary()).arg("--slots=3").arg("--pre-reboot-wait=600s").arg(more).start()
}

#[track_caller]
fn waits(machine: &Machine, server: &Server, says: &str) -> Answer {
    let answer = machine.agent(server).pre_reboot().expect(404, "control_plane_unavailable");
    assert!(answer.value.contains(says), "{says:?} is not in: {}", answer.value);
    answer
}

#[test]
fn a_control_plane_node_waits_while_another_is_unavailable() {
    let cluster = cluster();
    let [one, two, worker] = plane(&cluster);
    let server = server_of_three(&cluster, "--protect-control-plane=on");
    cluster.set_cordon("cp1", true);
    waits(&two, &server, "cp1 is cordoned");
    cluster.set_cordon("cp1", false);
    cluster.fleet.set_ready("cp1", false);
    waits(&two, &server, "cp1 is not Ready");
    cluster.fleet.set_ready("cp1", true);
    assert!(cluster.holders().is_empty() && !cluster.is_cordoned("cp2"), "nothing is left on cp2");
    one.until_approved(&server);
    waits(&two, &server, "cp1 holds a slot since 20");
    worker.until_approved(&server);
    assert_eq!(cluster.holders(), ["cp1", "worker"]);
    one.comes_back(&cluster, &server);
    two.until_approved(&server);
    waits(&one, &server, "cp2 holds a slot since 20");
    // Its role is known even when its Node is not there to show it.
    cluster.admin.delete("/api/v1/nodes/cp2", None).ok();
    waits(&one, &server, "cp2 holds a slot since 20");
}

/// The uncordoned node may be rebooting, so no other node gets its slot. Both answers name the reason.
#[test]
fn an_approved_control_plane_node_that_was_uncordoned_waits_and_keeps_its_slot() {
    let cluster = cluster();
    let [one, _two, worker] = plane(&cluster);
    let server = server(&cluster, "10s");
    one.until_approved(&server);
    cluster.set_cordon("cp1", false);
    cluster.set_cordon("cp2", true);
    waits(&one, &server, "keeps its slot, for which other nodes wait");
    assert!(worker.agent(&server).pre_reboot().expect(404, "slots_taken").value.contains("cp1 since 20"));
    cluster.set_cordon("cp2", false);
    one.until_approved(&server);
    assert!(cluster.is_cordoned("cp1"));
}

#[test]
fn of_two_control_plane_nodes_that_ask_at_once_one_is_approved() {
    let cluster = cluster();
    let [one, two, _worker] = plane(&cluster);
    let servers = [(); 2].map(|()| server_of_three(&cluster, "--protect-control-plane=on"));
    for round in 0..20 {
        let pending = [(&one, round % 2), (&two, (round / 2) % 2)].map(|(machine, at)| machine.agent(&servers[at]).send("pre-reboot"));
        let answers = pending.map(|pending| pending.answer());
        let approved: Vec<&Machine> =
            [&one, &two].into_iter().zip(&answers).filter(|(_, answer)| answer.status == 200).map(|(machine, _)| machine).collect();
        assert_eq!(approved.len(), 1, "round {round}: {answers:?}");
        assert!(answers.iter().all(|answer| [200, 404].contains(&answer.status)), "{answers:?}");
        approved[0].comes_back(&cluster, &servers[0]);
        cluster.wait_for_no_holder();
    }
}

#[test]
fn a_control_plane_node_gives_its_slot_back_when_another_becomes_unavailable_during_its_drain() {
    let cluster = cluster();
    let [_one, two, _worker] = plane(&cluster);
    blocked(&cluster, "web", 1, "cp2");
    let server = server_of_three(&cluster, "--protect-control-plane=on");
    let held = two.agent(&server).send("pre-reboot");
    server.wait_for_log("node cp2: draining", SOON);
    cluster.set_cordon("cp1", true);
    unblock(&cluster, "web");
    let answer = held.answer().expect(404, "control_plane_unavailable");
    assert!(answer.value.contains("cp1 is cordoned"), "{}", answer.value);
    assert!(cluster.holders().is_empty());
    two.is_in_service(&cluster);
    cluster.set_cordon("cp1", false);
    two.until_approved(&server);
}

#[test]
fn the_protection_of_the_control_plane_can_be_switched_off_and_concerns_no_worker() {
    let cluster = cluster();
    let [_one, two, worker] = plane(&cluster);
    cluster.set_cordon("cp1", true);
    {
        let server = server_of_three(&cluster, "--protect-control-plane=on");
        worker.until_approved(&server);
        worker.comes_back(&cluster, &server);
    }
    let server = server_of_three(&cluster, "--protect-control-plane=off");
    two.until_approved(&server);
}

#[test]
fn a_node_that_is_not_ready_for_a_minute_takes_no_slot() {
    let cluster = cluster();
    let [one, _two] = super::machines(&cluster);
    let server = server(&cluster, "10s");
    let not_ready_since = |at: &str| {
        let mut conditions = objects::node_conditions("Unknown");
        for condition in conditions.as_array_mut().into_iter().flatten().filter(|condition| condition["type"] == "Ready") {
            condition["lastTransitionTime"] = json!(at);
        }
        cluster.admin.merge("/api/v1/nodes/n1/status", &json!({"status": {"conditions": conditions}})).ok();
    };
    not_ready_since("2026-01-01T00:00:00Z");
    let answer = one.agent(&server).pre_reboot().expect(404, "node_not_ready");
    for part in ["node n1", "2026-01-01T00:00:00Z", "kubectl describe node n1"] {
        assert!(answer.value.contains(part), "{part:?} is not in: {}", answer.value);
    }
    assert!(cluster.holders().is_empty() && !cluster.is_cordoned("n1"));
    // A kubelet that has just missed a report is no reason: this time is not a minute ago however long the test takes.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(4);
    not_ready_since(&format!("{soon:.0}"));
    one.until_approved(&server);
    // A holder is not asked again.
    not_ready_since("2026-01-01T00:00:00Z");
    one.until_approved(&server);
}
