//! A reboot from end to end.

use std::time::Duration;

use test_cluster::objects::Placement;
use test_cluster::wait::wait_for;

use super::{MOMENT, SOON, blocked, calls, cluster_of, count, running_pod, served, server};

/// Reboots of which one must be answered in time.
const ROUNDS: usize = 5;

#[test]
fn a_fresh_node_is_marked_ready() {
    let (cluster, [one], server) = served("0s");
    assert_eq!(cluster.status("n1"), None);
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&cluster);
    let mut calls = calls(&cluster, || drop(one.agent(&server).steady_state().expect(200, "steady_state")));
    calls.retain(|call| call.path.contains("/nodes/n1"));
    assert_eq!(calls.len(), 1, "a check-in that changes nothing is one read: {calls:?}");
    assert!(calls[0].received < 4096, "{} bytes", calls[0].received);
    assert!(cluster.holders().is_empty());
}

#[test]
fn a_node_with_every_kind_of_pod_is_drained_rebooted_and_brought_back() {
    let (cluster, [one, two]) = cluster_of();
    cluster.set_cordon("n2", true);
    let fleet = &cluster.fleet;
    fleet.deployment("shop", "web", 30, Placement::Free);
    fleet.stateful_set("shop", "db", 2, Placement::Free);
    fleet.daemon_set("shop", "agent");
    fleet.mirror_pod("kube-system", "kube-proxy", "n1");
    fleet.job("shop", "report", Placement::On("n1"));
    fleet.bare_pod("shop", "lonely", Placement::On("n1"));
    wait_for("the job is done", SOON, || match fleet.pods_of("shop", "report").first() {
        Some(pod) if pod["status"]["phase"] == "Succeeded" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // 30 web, 2 db, 1 agent, 1 mirror, 1 lonely; the job's pod has finished.
    cluster.wait_for_running("n1", 35);
    cluster.set_cordon("n2", false);
    let server = server(&cluster, "60s");
    let answer = one.agent(&server).pre_reboot().expect(200, "approved");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
    assert!(cluster.is_cordoned("n1"));
    assert_eq!(cluster.status("n1").as_deref(), Some("Rebooting"));
    assert_eq!(cluster.holders(), ["n1"]);
    let left: Vec<_> = fleet.pods_on("n1").iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    let is_left = |pod: &&str| left.iter().any(|name| name.starts_with(*pod));
    assert!(["agent", "report", "kube-proxy"].iter().all(is_left), "{left:?}");
    wait_for("the pods run elsewhere", SOON, || {
        let count = two.pods(&cluster).len();
        if count == 32 { Ok(()) } else { Err(format!("{count} pods")) }
    });
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
    assert!(cluster.holders().is_empty());
}

#[test]
fn a_granted_node_that_asks_again_is_granted_cheaply_and_checked_again() {
    let (cluster, [one, _two], server) = served("20s");
    one.agent(&server).pre_reboot().expect(200, "approved");
    let calls = calls(&cluster, || drop(one.agent(&server).pre_reboot().expect(200, "approved")));
    assert_eq!(count(&calls, "list", "nodes"), 0, "nothing that grows with the cluster: {calls:?}");
    let made = (count(&calls, "patch", "nodes"), count(&calls, "list", "pods"), count(&calls, "patch", "leases"));
    assert_eq!(made, (0, 1, 1), "{calls:?}");
    cluster.set_cordon("n1", false);
    running_pod(&cluster, "newcomer", "n1");
    one.is_granted(&cluster, one.agent(&server).send("pre-reboot"));
    assert!(cluster.is_cordoned("n1"));
}

/// On a machine with much to do one answer may be late, but not each.
#[test]
fn the_answer_comes_within_a_second_of_the_node_being_empty() {
    let (cluster, [one, _two]) = cluster_of();
    let server = server(&cluster, "60s");
    let late = |round: usize| {
        cluster.fleet.slow_pod("shop", &format!("slow-{round}"), "n1", Duration::from_secs(5));
        cluster.wait_for_running("n1", 1);
        let pending = one.agent(&server).send("pre-reboot");
        wait_for("the pod is gone", SOON, || if one.pods(&cluster).is_empty() { Ok(()) } else { Err("still there") });
        let gone = std::time::Instant::now();
        pending.answer().expect(200, "approved");
        let late = gone.elapsed();
        one.comes_back(&cluster, &server);
        cluster.wait_for_no_holder();
        late
    };
    let shortest = (0..ROUNDS).map(late).find(|late| *late < Duration::from_secs(1));
    assert!(shortest.is_some(), "none of {ROUNDS} answers came within a second");
}

#[test]
fn after_the_wait_the_request_is_refused_and_the_drain_continues() {
    let (cluster, [one, _two]) = cluster_of();
    running_pod(&cluster, "slow", "n1");
    // The pod stays terminating.
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "1s");
    let message = one.until_refused(&server, "draining", "shop/slow");
    assert!(message.contains("n1"), "{message}");
    cluster.kubelet.power_on("n1");
    wait_for("the drain continues", SOON, || if one.pods(&cluster).is_empty() { Ok(()) } else { Err("still there") });
    one.until_approved(&server);
}

#[test]
fn a_steady_state_during_the_drain_ends_it() {
    let (cluster, [one, _two]) = cluster_of();
    blocked(&cluster, "web", 4, "n1");
    let server = server(&cluster, "60s");
    let held = one.until_draining(&server);
    assert!(held.is_held(MOMENT), "the budget lets no pod go");
    assert!(cluster.is_cordoned("n1"));
    one.agent(&server).steady_state().expect(200, "steady_state");
    held.answer().expect(404, "superseded");
    one.is_in_service(&cluster);
    assert!(cluster.holders().is_empty());
    assert!(no_eviction_is_sent(&cluster), "evictions continue after the check-in");
    assert_eq!(one.pods(&cluster).len(), 4);
}

/// Reports whether no eviction is sent any more, beside those that are on their way.
fn no_eviction_is_sent(cluster: &test_cluster::TestCluster) -> bool {
    std::thread::sleep(MOMENT);
    let evictions = || cluster.proxy.count("create", "pods/eviction");
    let before = evictions();
    test_cluster::wait::poll(MOMENT * 4, || if evictions() > before { Ok(()) } else { Err(()) }).is_err()
}

#[test]
fn two_simultaneous_calls_of_a_node_are_both_answered_correctly() {
    let (cluster, [one, _two]) = cluster_of();
    cluster.fleet.deployment("shop", "web", 3, Placement::Free);
    cluster.set_cordon("n2", true);
    cluster.set_cordon("n2", false);
    let servers = [server(&cluster, "60s"), server(&cluster, "60s")];
    let pending: Vec<_> = [0, 1, 0, 1].map(|server| one.agent(&servers[server]).send("pre-reboot")).into();
    for answer in pending.into_iter().map(test_cluster::zincati::Pending::answer) {
        assert!(answer.status == 200 || answer.kind == "superseded", "{answer:?}");
    }
    assert_eq!((one.pods(&cluster).len(), cluster.holders()), (0, vec!["n1".to_owned()]));
    one.comes_back(&cluster, &servers[1]);
    one.is_in_service(&cluster);
}
