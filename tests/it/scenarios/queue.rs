//! The queue: a free slot goes to the node that has waited longest of those still asking, at whichever replica.

use serde_json::Value;
use test_cluster::promises::Promises;
use test_cluster::wait::wait_for;
use test_cluster::zincati::Pending;
use test_cluster::{Server, TestCluster};

use super::watch::catch_up;
use super::{MOMENT, Machine, SOON, binary, calls, cluster_of, count, running_pod, set_clock, shifted, unblock};

fn holding(cluster: &TestCluster) -> Server {
    cluster.server(&binary()).arg("--pre-reboot-wait=600s").arg("--max-waiting=8").start()
}

/// Asks, and waits until the Node shows that it waits.
fn waits(cluster: &TestCluster, machine: &Machine, server: &Server) -> Pending {
    let pending = machine.agent(server).send("pre-reboot");
    server.wait_for_log(&format!("node {}: waits for a slot since ", machine.node), SOON);
    assert!(waiting(cluster, &machine.node).contains("slots_taken"));
    pending
}

fn waiting(cluster: &TestCluster, node: &str) -> String {
    cluster.fleet.read_node(node)["metadata"]["annotations"]["rebootmanager/waiting"].as_str().unwrap_or_default().to_owned()
}

/// Both wait at one replica: of two replicas the slower one may miss the second for which the other gives way.
#[test]
fn a_slot_freed_at_one_replica_goes_to_the_request_that_has_waited_longest_at_another() {
    let (cluster, [one, two, three]) = cluster_of();
    let [here, there] = [(); 2].map(|()| holding(&cluster));
    one.until_approved(&here);
    let second = waits(&cluster, &two, &there);
    let third = waits(&cluster, &three, &there);
    one.comes_back(&cluster, &here);
    second.answer().expect(200, "approved");
    assert_eq!((cluster.holders(), waiting(&cluster, "n2").as_str()), (vec!["n2".to_owned()], ""));
    two.comes_back(&cluster, &here);
    third.answer().expect(200, "approved");
    assert_eq!(cluster.holders(), ["n3"]);
}

#[test]
fn a_waiting_node_is_recorded_once_and_keeps_its_turn_between_its_requests() {
    let (cluster, [one, two, three], server) = super::served("0s");
    one.until_approved(&server);
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    let since = waiting(&cluster, "n2");
    let calls = calls(&cluster, || drop(two.agent(&server).pre_reboot().expect(404, "slots_taken")));
    assert_eq!((count(&calls, "patch", "nodes"), count(&calls, "patch", "leases")), (0, 0), "{calls:#?}");
    three.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    // Who waits, and that the first node is back, is known by the watch.
    catch_up(&cluster, &server);
    let answer = three.agent(&server).pre_reboot().expect(404, "queued").value;
    assert!(answer.contains("node n2 has waited longer and has its turn until 20"), "{answer}");
    assert_eq!(waiting(&cluster, "n2"), since);
    two.until_approved(&server);
    two.comes_back(&cluster, &server);
    three.until_approved(&server);
}

#[test]
fn a_node_that_stopped_asking_holds_up_others_for_two_rounds_only() {
    let (cluster, [one, two, three]) = cluster_of();
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=0s").start();
    one.until_approved(&server);
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    three.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    // Who waits, and that the first node is back, is known by the watch.
    catch_up(&cluster, &server);
    set_clock(&cluster, "+300");
    three.agent(&server).pre_reboot().expect(404, "queued");
    set_clock(&cluster, "+700");
    three.until_approved(&server);
    // The kubelet has not reported since the clock was moved, so the boot of the approval is in doubt.
    three.comes_back(&cluster, &server);
    set_clock(&cluster, "+821");
    // It lost its place, so it does not hold up the next one once more.
    one.until_approved(&server);
}

#[test]
fn a_held_request_that_waits_for_a_slot_ends_with_its_client() {
    let (cluster, [one, two, three]) = cluster_of();
    let server = holding(&cluster);
    one.until_approved(&server);
    waits(&cluster, &two, &server).hang_up();
    server.wait_for_log("the client of node n2 closed its side", SOON);
    let third = waits(&cluster, &three, &server);
    one.comes_back(&cluster, &server);
    third.answer().expect(200, "approved");
    assert_eq!(cluster.holders(), ["n3"]);
}

#[test]
fn a_drain_continues_at_another_replica_when_its_own_is_killed_or_stopped() {
    for signal in ["KILL", "TERM"] {
        let (cluster, [one, _two]) = cluster_of();
        super::blocked(&cluster, "db", 1, "n1");
        let first = super::server(&cluster, "600s");
        let held = one.until_draining(&first);
        let other = super::server(&cluster, "600s");
        let report = || cluster.lock()["holders"][0]["drain"].clone();
        let before = wait_for("the drain has made no progress", SOON * 3, || {
            let report = report();
            if report["idle"].as_i64() > Some(0) { Ok(report) } else { Err(report.to_string()) }
        });
        first.signal(signal);
        first.exit_code(SOON);
        assert!(held.try_answer().is_none_or(|answer| answer.kind == "shutting_down"));
        // A replica that was killed is noticed after 25 seconds.
        other.wait_for_log("node n1: this replica continues the drain", SOON * 6);
        let continued = wait_for("the other replica reports", SOON * 3, || {
            let report = report();
            let is_other = ![&before["replica"], &Value::from("")].contains(&&report["replica"]);
            if is_other { Ok(report) } else { Err(report.to_string()) }
        });
        assert!(continued["idle"].as_i64() >= before["idle"].as_i64(), "{continued} after {before}");
        unblock(&cluster, "db");
        other.wait_for_log("node n1: no pod is left to evict", SOON * 3);
        assert!(one.pods(&cluster).is_empty());
        one.agent(&other).pre_reboot().expect(200, "approved");
    }
}

#[test]
fn a_whole_fleet_that_asks_at_once_reboots_with_one_request_of_each_node() {
    let (cluster, machines) = cluster_of::<10>();
    let replicas = [(); 2].map(|()| cluster.server(&binary()).arg("--pre-reboot-wait=600s").arg("--max-waiting=100").start());
    let promises = Promises::new(&cluster, 1);
    for machine in &machines {
        running_pod(&cluster, &format!("on-{}", machine.node), &machine.node);
    }
    let (cluster, promises) = (&cluster, &promises);
    let rebooted = std::thread::scope(|scope| {
        let reboot = |(number, machine): (usize, &Machine)| {
            let agent = machine.agent(&replicas[number % 2]);
            let ask = move |endpoint: &str| match endpoint {
                "pre-reboot" => agent.pre_reboot().expect(200, "approved").status == 200,
                _ => agent.steady_state().status == 200,
            };
            let node = machine.node.clone();
            scope.spawn(move || promises.reboot(&node, MOMENT, SOON, ask, || drop(cluster.fleet.reboot(&node))))
        };
        let agents: Vec<_> = machines.iter().enumerate().map(reboot).collect();
        agents.into_iter().filter_map(|agent| agent.join().ok()).filter(|rebooted| *rebooted).count()
    });
    assert_eq!((rebooted, promises.broken()), (10, Vec::new()));
    machines.iter().for_each(|machine| machine.is_in_service(cluster));
}

#[test]
fn replicas_with_different_slots_say_so() {
    let (cluster, [one, two], server) = super::served("0s");
    one.until_approved(&server);
    let other = cluster.server(&binary()).arg("--slots=2").start();
    other.wait_for_log("this replica runs with --slots 2, and another one with --slots 1", SOON);
    two.until_approved(&other);
    server.wait_for_log("this replica runs with --slots 1, and another one with --slots 2", SOON * 3);
    assert_eq!(cluster.lock()["slots"], Value::from(2));
    wait_for("both hold a slot", SOON, || if cluster.holders().len() == 2 { Ok(()) } else { Err(cluster.lock().to_string()) });
}
