//! The server dies at any point, or Kubernetes does what it was asked and the answer is lost: another finishes.

use std::sync::{Arc, Mutex};

use test_cluster::objects::Placement;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::{poll, wait_for};
use test_cluster::{Proxy, Server, TestCluster};

use super::{Machine, SOON, binary, cluster_of, server};

/// More calls than a reboot makes; reaching it means that the test does not end by itself.
const CALLS_MAX: usize = 200;

/// State of an agent when its server was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    CheckingIn,
    Done,
}

/// Continues from `stage` as an agent does, until it is done or its server is dead.
fn continues(cluster: &TestCluster, machine: &Machine, server: &Server, stage: Stage) -> Stage {
    if stage == Stage::Asking {
        let answer = poll(SOON, || match machine.agent(server).send("pre-reboot").try_answer() {
            Some(answer) if answer.status != 200 => Err(answer),
            granted_or_dead => Ok(granted_or_dead),
        });
        if answer.unwrap_or_else(|answer| panic!("{answer:?}")).is_none() {
            return Stage::Asking;
        }
        assert_eq!(machine.pods(cluster), Vec::<String>::new(), "approved with pods left");
        cluster.fleet.reboot(&machine.node);
    }
    let answer = machine.agent(server).send("steady-state").try_answer();
    if answer.is_some_and(|answer| answer.status == 200) { Stage::Done } else { Stage::CheckingIn }
}

#[test]
fn a_server_killed_after_any_odd_call_of_a_reboot_is_followed_by_one_that_finishes() {
    follows_a_killed_server((1..CALLS_MAX).step_by(2));
}

#[test]
fn a_server_killed_after_any_even_call_of_a_reboot_is_followed_by_one_that_finishes() {
    follows_a_killed_server((2..CALLS_MAX).step_by(2));
}

/// Kills a server after each of these calls of a reboot, until a reboot makes fewer calls. Both halves run at the same time, because a
/// killed server is missed after 25 seconds only.
fn follows_a_killed_server(calls: impl Iterator<Item = usize>) {
    let (cluster, [one, _two]) = cluster_of();
    for call in calls {
        cluster.fleet.bare_pod("shop", &format!("p{call}"), Placement::On("n1"));
        cluster.wait_for_running("n1", 1);
        let proxy = Proxy::to(&cluster.admin);
        let victim: Arc<Mutex<Option<Arc<Server>>>> = Arc::default();
        let first = Arc::new(cluster.server_through(&proxy, &binary()).arg("--pre-reboot-wait=30s").start());
        *victim.lock().unwrap() = Some(Arc::clone(&first));
        let kill = move |_: &_| victim.lock().unwrap().iter().for_each(|server| server.kill());
        proxy.plan(Rule::any().nth(call).inject(Fault::after(kill)));
        let stage = continues(&cluster, &one, &first, Stage::Asking);
        drop(first);
        let second = server(&cluster, "30s");
        if stage != Stage::Done {
            assert_eq!(continues(&cluster, &one, &second, stage), Stage::Done, "the second server was not killed");
        }
        cluster.wait_for_no_holder();
        one.is_in_service(&cluster);
        cluster.admin.delete(&format!("/api/v1/namespaces/shop/pods/p{call}"), Some(0));
        if stage == Stage::Done {
            assert!(call > 15, "a reboot makes more than {call} calls");
            return;
        }
    }
    panic!("the server was still killed at its call {CALLS_MAX}");
}

#[test]
fn any_write_may_fail_or_lose_its_answer_once() {
    let (cluster, [one, _two]) = cluster_of();
    let faults: [fn() -> Fault; 6] = [
        Fault::conflict409,
        Fault::internal500,
        || Fault::toomany429(1),
        || Fault::CutBefore,
        || Fault::CutAfter,
        || Fault::status_after(504),
    ];
    for (kind, fault) in faults.iter().enumerate() {
        for write in 1..=8 {
            let pod = format!("p{kind}-{write}");
            cluster.fleet.bare_pod("shop", &pod, Placement::On("n1"));
            cluster.wait_for_running("n1", 1);
            let server = server(&cluster, "30s");
            cluster.proxy.plan(Rule::any_write().nth(write).inject(fault()));
            one.until_approved(&server);
            assert_eq!(one.pods(&cluster), Vec::<String>::new(), "approved with pods left");
            cluster.fleet.reboot("n1");
            one.until_checked_in(&server);
            cluster.wait_for_no_holder();
            one.is_in_service(&cluster);
            cluster.proxy.clear();
        }
    }
}

#[test]
fn an_annotation_without_a_slot_is_removed() {
    let (cluster, [one, two]) = cluster_of();
    let first = server(&cluster, "10s");
    one.until_approved(&first);
    drop(first);
    // As when a replica was frozen between taking the slot and marking, and the slot was freed meanwhile.
    let path = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager";
    let lock = serde_json::json!({"form": 1, "lastTerm": 1, "holders": []}).to_string();
    cluster.admin.merge(path, &serde_json::json!({"metadata": {"annotations": {"rebootmanager/holders": lock}}})).ok();
    let second = server(&cluster, "10s");
    wait_for("n1 is put back in service", SOON, || if cluster.is_cordoned("n1") { Err("cordoned") } else { Ok(()) });
    one.is_in_service(&cluster);
    two.until_approved(&second);
}

#[test]
fn a_replica_frozen_before_its_last_check_approves_nothing() {
    let (cluster, [one, two]) = cluster_of();
    let proxy = Proxy::to(&cluster.admin);
    let frozen = Arc::new(cluster.server_through(&proxy, &binary()).arg("--pre-reboot-wait=30s").start());
    let victim = Arc::clone(&frozen);
    // The fourth write is the approval: lease (take), node (mark), node (drained), lease (approve).
    proxy.plan(Rule::any_write().nth(4).inject(Fault::Freeze));
    let held = one.agent(&frozen).send("pre-reboot");
    proxy.block_until(|calls| calls.iter().filter(|call| call.is_write()).count() == 4, SOON);
    victim.signal("STOP");
    let other = server(&cluster, "10s");
    one.agent(&other).steady_state().expect(200, "steady_state");
    cluster.wait_for_no_holder();
    two.until_approved(&other);
    victim.signal("CONT");
    proxy.release();
    let answer = held.answer();
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(cluster.holders(), ["n2"]);
    assert!(!cluster.is_cordoned("n1"));
}
