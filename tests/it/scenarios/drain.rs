//! What budgets, webhooks and newcomers do to a drain.

use std::time::{Duration, Instant};

use serde_json::json;
use test_cluster::http::Response;
use test_cluster::objects::{Placement, bare_pod};
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;
use test_cluster::webhook::Webhook;

use super::{
    MOMENT, SOON, blocked, cluster_of, count, evicted, next_second, not_found, running_pod, served, server, set_clock, shifted, unblock,
};

#[test]
fn a_budget_that_lets_one_pod_go_at_a_time_is_obeyed_and_drained() {
    let (cluster, [one, two]) = cluster_of();
    cluster.set_cordon("n2", true);
    cluster.fleet.deployment("shop", "web", 4, Placement::Free);
    cluster.wait_for_running("n1", 4);
    cluster.fleet.budget("shop", "web", 3, "web");
    cluster.set_cordon("n2", false);
    let server = server(&cluster, "120s");
    let pending = one.agent(&server).send("pre-reboot");
    let mut least = 4;
    while pending.is_held(Duration::from_millis(20)) {
        let ready = cluster.fleet.pods_of("shop", "web").iter().filter(|pod| is_ready(pod)).count();
        least = least.min(ready);
    }
    pending.answer().expect(200, "approved");
    assert!(least >= 3, "only {least} pods were ready at a time");
    wait_for("the pods run elsewhere", SOON, || if two.pods(&cluster).len() == 4 { Ok(()) } else { Err("not yet") });
}

fn is_ready(pod: &serde_json::Value) -> bool {
    let condition = |condition: &serde_json::Value| condition["type"] == "Ready" && condition["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(condition))
}

#[test]
fn a_budget_that_never_yields_is_named_and_other_nodes_are_unharmed() {
    let (cluster, [one, two]) = cluster_of();
    cluster.fleet.deployment("shop", "db", 2, Placement::On("n1"));
    cluster.fleet.deployment("shop", "web", 2, Placement::On("n2"));
    cluster.fleet.budget("shop", "db", 2, "db");
    cluster.wait_for_running("n1", 2);
    cluster.wait_for_running("n2", 2);
    let server = server(&cluster, "2s");
    let message = one.until_refused(&server, "drain_blocked", "PodDisruptionBudget shop/db");
    for part in ["n1", "shop/db-", "needs 2 healthy pods and has 2 currently", "since 20"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let denied = two.agent(&server).pre_reboot().expect(404, "slots_taken");
    assert!(denied.value.contains("n1 since 20"), "{}", denied.value);
    assert!(!cluster.is_cordoned("n2"));
    assert_eq!((one.pods(&cluster).len(), two.pods(&cluster).len()), (2, 2));
    two.agent(&server).steady_state().expect(200, "steady_state");
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&cluster);
    two.agent(&server).pre_reboot();
    two.until_approved(&server);
}

#[test]
fn a_pod_that_arrives_during_the_drain_is_drained_too() {
    let (cluster, [one, _two]) = cluster_of();
    running_pod(&cluster, "first", "n1");
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "60s");
    let pending = one.agent(&server).send("pre-reboot");
    cluster.proxy.block_until(|calls| calls.iter().any(|call| call.resource == "pods/eviction"), SOON);
    next_second();
    // Bound by a scheduler that has not seen the cordon yet: a pod that comes back by itself stays, and this one does not.
    cluster.fleet.bound_pod("shop", "late", "n1");
    cluster.kubelet.power_on("n1");
    one.is_granted(&cluster, pending);
}

#[test]
fn a_drain_continues_after_the_node_was_uncordoned() {
    let (cluster, [one, _two]) = cluster_of();
    blocked(&cluster, "web", 2, "n1");
    let server = server(&cluster, "60s");
    let pending = one.agent(&server).send("pre-reboot");
    assert!(pending.is_held(MOMENT));
    cluster.set_cordon("n1", false);
    wait_for("it is cordoned again", SOON, || if cluster.is_cordoned("n1") { Ok(()) } else { Err("not yet") });
    unblock(&cluster, "web");
    one.is_granted(&cluster, pending);
    assert!(cluster.is_cordoned("n1"));
}

/// Each answer to an eviction is reported as what it is, and none of them proves that the pod is gone.
#[test]
fn every_refusal_of_an_eviction_is_retried_and_reported() {
    let (cluster, [one, _two]) = cluster_of();
    running_pod(&cluster, "kept", "n1");
    let evictions = || Rule::on("create", "pods/eviction");
    let webhook = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 418,
        "message": "admission webhook \"vm\" denied the request: migrating"});
    let not_found = not_found("pods", "kept");
    let text = Response { status: 404, body: b"default backend - 404".to_vec(), ..Response::default() };
    for (number, fault) in (1..).zip([Fault::status(418, &webhook), Fault::internal500(), Fault::CutBefore, Fault::toomany429(1)]) {
        cluster.proxy.plan(evictions().nth(number).inject(fault));
    }
    let server = server(&cluster, "1s");
    one.agent(&server).pre_reboot();
    cluster.proxy.block_until(|calls| count(calls, "create", "pods/eviction") >= 4, SOON);
    let answers = [
        (Fault::status(418, &webhook), "a webhook refuses it (admission webhook \"vm\" denied the request: migrating) since"),
        (Fault::status(404, &not_found), "the API server answered 404, pods \"kept\" not found, but still lists the pod since"),
        (Fault::Status(text), "the eviction has no clear answer (404, default backend - 404) since"),
    ];
    for (fault, why) in answers {
        cluster.proxy.replan(evictions().inject(fault));
        one.until_blocked(&server, &format!("pod shop/kept is not evicted: {why}"));
    }
    cluster.proxy.replan(evictions().nth(1).inject(Fault::status(404, &not_found)));
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
}

#[test]
fn a_webhook_that_denies_with_404_is_named_and_its_pod_is_not_gone() {
    let (cluster, [one, _two]) = cluster_of();
    running_pod(&cluster, "kept", "n1");
    let webhook = Webhook::deny(&cluster, "namespaces/shop/pods/kept", 404, "it is migrating");
    let server = server(&cluster, "2s");
    let why = "a webhook refuses it (admission webhook \"evictions.test.example\" denied the request: it is migrating) since";
    one.until_blocked(&server, &format!("pod shop/kept is not evicted: {why}"));
    webhook.withdraw();
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
}

/// The webhook of KubeVirt answers like this: it migrates the virtual machine itself, and gets ten minutes for that.
#[test]
fn a_webhook_that_postpones_an_eviction_blocks_the_drain_after_ten_minutes() {
    let (cluster, [one, _two]) = cluster_of();
    running_pod(&cluster, "vm", "n1");
    let webhook = Webhook::deny(&cluster, "namespaces/shop/pods/vm", 429, "evacuation triggered");
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=1s").start();
    let why = "pod shop/vm is not evicted yet: a webhook refuses it for now (admission webhook \"evictions.test.example\" denied the request: \
         evacuation triggered) since";
    one.until_refused(&server, "draining", why);
    set_clock(&cluster, "+700");
    one.until_blocked(&server, why);
    webhook.withdraw();
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
}

/// A virtual machine of KubeVirt loses its disk if the pod that holds the disk goes first.
#[test]
fn a_pod_of_a_pod_is_not_evicted_before_its_owner_is_gone() {
    let (cluster, [one, _two]) = cluster_of();
    let owner = &cluster.fleet.bare_pod("shop", "vm", Placement::On("n1"))["metadata"]["uid"];
    let mut disk = bare_pod("shop", "hp-volume", Placement::On("n1"));
    disk["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "vm", "uid": owner, "controller": true}]);
    cluster.fleet.create(&disk);
    cluster.wait_for_running("n1", 2);
    // The owner stays terminating.
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "1s");
    let why = "has 2 pods left: pod shop/hp-volume waits for its owner, the pod shop/vm; terminating: shop/vm";
    one.until_refused(&server, "draining", why);
    assert_eq!(evicted(&cluster), ["vm"]);
    cluster.kubelet.power_on("n1");
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
    // Kubernetes deletes the pods of a pod that is gone, and may be first.
    let evicted = evicted(&cluster);
    assert!(evicted == ["vm"] || evicted == ["vm", "hp-volume"], "{evicted:?}");
}

#[test]
fn in_a_standstill_the_pods_are_listed_less_and_less_often() {
    let (cluster, [one, _two]) = cluster_of();
    blocked(&cluster, "web", 1, "n1");
    let server = server(&cluster, "60s");
    // Half a second each makes 15 seconds at most, and more only by the pauses of a standstill: those make 17 at least. The time begins before
    // the first list, so that a slow machine can only make it longer.
    let begun = Instant::now();
    let held = one.until_draining(&server);
    cluster.proxy.block_until(|calls| count(calls, "list", "pods") >= 32, SOON);
    assert!(begun.elapsed() > Duration::from_secs(16), "{:?}", begun.elapsed());
    unblock(&cluster, "web");
    one.is_granted(&cluster, held);
}

/// With a limit, some versions of Kubernetes read the pods of all nodes to list those of one.
#[test]
fn the_pods_of_a_node_are_listed_without_a_limit_and_all_nodes_in_pages() {
    let (cluster, [one], server) = served("60s");
    running_pod(&cluster, "web", "n1");
    one.until_approved(&server);
    let calls = cluster.proxy.log();
    let has_limit = |resource: &str| -> Vec<bool> {
        let lists = calls.iter().filter(|call| call.verb == "list" && call.resource == resource);
        lists.map(|call| call.path.contains("limit=500")).collect()
    };
    assert!(has_limit("pods").len() >= 2 && !has_limit("pods").contains(&true), "{calls:#?}");
    assert!(!has_limit("nodes").is_empty() && !has_limit("nodes").contains(&false), "{calls:#?}");
}

#[test]
fn two_budgets_on_one_pod_are_reported() {
    let (cluster, [one, _two]) = cluster_of();
    blocked(&cluster, "db", 1, "n1");
    cluster.fleet.budget("shop", "second", 1, "db");
    one.until_blocked(&server(&cluster, "3s"), "more than one PodDisruptionBudget");
}

#[test]
fn a_pod_of_the_same_name_with_another_uid_is_not_evicted() {
    let (cluster, [one, two]) = cluster_of();
    cluster.set_cordon("n2", true);
    cluster.fleet.stateful_set("shop", "db", 1, Placement::Free);
    cluster.wait_for_running("n1", 1);
    cluster.set_cordon("n2", false);
    let server = server(&cluster, "60s");
    // The first eviction is carried out, but its answer is lost: by the time it is asked for again db-0 runs on n2.
    cluster.proxy.plan(Rule::on("create", "pods/eviction").nth(1).inject(Fault::CutAfter));
    one.until_approved(&server);
    wait_for("db-0 runs on n2", SOON, || if two.pods(&cluster) == ["db-0"] { Ok(()) } else { Err("not yet") });
    assert!(one.pods(&cluster).is_empty());
    let pod = cluster.admin.get("/api/v1/namespaces/shop/pods/db-0").ok();
    assert!(pod["metadata"]["deletionTimestamp"].is_null(), "the new db-0 was evicted");
}
