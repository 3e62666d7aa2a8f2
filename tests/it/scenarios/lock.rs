//! Never more nodes approved than slots; nothing held for nodes that are gone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;
use test_cluster::zincati::{Answer, Pending};

use super::{Machine, SOON, binary, cluster, cluster_of, machines, served, server, set_clock, shifted};

/// The last check is the write of the approval. After it nothing is asked, so only this process and the network are between
/// Kubernetes' answer and the node.
#[test]
fn the_gap_between_the_last_check_and_the_answer_is_small() {
    let (cluster, [one], server) = served("20s");
    let checked: Arc<Mutex<Option<Instant>>> = Arc::default();
    let check = Arc::clone(&checked);
    cluster.proxy.plan(Rule::on("patch", "leases").inject(Fault::after(move |_| *check.lock().unwrap() = Some(Instant::now()))));
    let mut gaps: Vec<Duration> = (0..21)
        .map(|_| {
            one.agent(&server).pre_reboot().expect(200, "approved");
            checked.lock().unwrap().take().unwrap().elapsed()
        })
        .collect();
    gaps.sort();
    println!("between the last check and the answer: median {:?}, worst {:?}", gaps[10], gaps[20]);
    assert!(gaps[10] < Duration::from_millis(500), "{gaps:?}");
}

#[test]
fn of_two_nodes_that_ask_at_once_one_is_approved_in_each_of_200_rounds() {
    let (cluster, [one, two]) = cluster_of();
    let servers = [server(&cluster, "20s"), server(&cluster, "20s")];
    for round in 0..200 {
        let pair = [(&one, round % 2), (&two, (round / 2) % 2)];
        let approved = wait_for("one is approved", SOON, || {
            let pending: Vec<Pending> = pair.iter().map(|(machine, server)| machine.agent(&servers[*server]).send("pre-reboot")).collect();
            let answers: Vec<_> = pending.into_iter().map(Pending::answer).collect();
            let is_known = |answer: &Answer| matches!(answer.kind.as_str(), "approved" | "queued" | "slots_taken" | "other_rebooting");
            assert!(answers.iter().all(is_known), "round {round}: {answers:?}");
            let approved: Vec<&Machine> =
                pair.iter().zip(&answers).filter(|(_, answer)| answer.status == 200).map(|((machine, _), _)| *machine).collect();
            // Each may see for a moment that the other still waits from the round before.
            if approved.is_empty() && answers.iter().any(|answer| answer.kind == "queued") {
                return Err(format!("{answers:?}"));
            }
            assert_eq!(approved.len(), 1, "round {round}: {answers:?}");
            Ok(approved)
        });
        assert_eq!(cluster.holders(), [approved[0].node.clone()]);
        approved[0].comes_back(&cluster, &servers[round % 2]);
        assert!(cluster.holders().is_empty(), "round {round}");
    }
    for machine in [&one, &two] {
        machine.is_in_service(&cluster);
    }
}

#[test]
fn as_many_as_there_are_slots_are_approved() {
    let cluster = cluster();
    let machines: [Machine; 5] = machines(&cluster);
    let servers = [(); 2].map(|()| cluster.server(&binary()).arg("--slots=2").arg("--pre-reboot-wait=10s").start());
    let pending: Vec<_> = machines.iter().enumerate().map(|(at, machine)| machine.agent(&servers[at % 2]).send("pre-reboot")).collect();
    let answers: Vec<_> = pending.into_iter().map(Pending::answer).collect();
    let approved = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((1..=2).contains(&approved), "{answers:?}");
    for machine in &machines {
        machine.agent(&servers[0]).pre_reboot();
    }
    assert_eq!(cluster.holders().len(), 2);
    let cordoned = machines.iter().filter(|machine| cluster.is_cordoned(&machine.node)).count();
    assert_eq!(cordoned, 2);
}

#[test]
fn a_slot_is_kept_until_the_kubelet_is_ready_again() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    cluster.fleet.reboot("n1");
    cluster.fleet.set_ready("n1", false);
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&cluster);
    assert_eq!(cluster.holders(), ["n1"]);
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    cluster.fleet.set_ready("n1", true);
    cluster.wait_for_no_holder();
    two.until_approved(&server);
}

#[test]
fn a_deleted_lease_frees_no_node_that_may_be_rebooting() {
    let (cluster, [one, two], server) = served("10s");
    one.until_approved(&server);
    cluster.delete_lock();
    two.agent(&server).pre_reboot().expect(404, "other_rebooting");
    drop(server);
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=10s").start();
    wait_for("n1 has its slot again", SOON, || if cluster.holders() == ["n1"] { Ok(()) } else { Err(cluster.lock().to_string()) });
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    // In which boot it was approved is not known any more.
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    set_clock(&cluster, "+121");
    two.until_approved(&server);
}
