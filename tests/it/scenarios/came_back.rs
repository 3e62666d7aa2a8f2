//! Pods that come back to a cordoned node: they stay, no eviction is spent on them, and the answer and the log name them.

use reboot_manager::cluster::Pod;
use serde_json::{Value, json};
use test_cluster::TestCluster;
use test_cluster::objects::{Placement, bare_pod, deployment};
use test_cluster::proxy::{Fault, Passed, Rule};

use super::{SOON, cluster_of, evicted, next_second, server};

#[test]
fn managed_fields_show_which_pods_were_bound_without_the_scheduler() {
    let (cluster, [_one]) = cluster_of();
    let on_n1 = |name: &str| {
        let mut pod = bare_pod("shop", name, Placement::Free);
        pod["spec"]["nodeName"] = json!("n1");
        pod
    };
    cluster.fleet.create(&on_n1("created"));
    let path = "/api/v1/namespaces/shop/pods/applied?fieldManager=controller";
    cluster.admin.call("PATCH", path, "application/apply-patch+yaml", Some(&on_n1("applied"))).ok();
    cluster.fleet.bare_pod("shop", "scheduled", Placement::Free);
    cluster.fleet.bound_pod("shop", "late", "n1");
    cluster.wait_for_running("n1", 4);
    let read = cluster.fleet.pods_on("n1").into_iter().map(|pod| serde_json::from_value(pod).unwrap());
    let mut bound: Vec<(String, bool)> = read.map(|pod: Pod| (pod.key.name, pod.bound_at_creation)).collect();
    bound.sort();
    let want = [("applied", true), ("created", true), ("late", false), ("scheduled", false)];
    assert_eq!(bound, want.map(|(name, bound)| (name.to_owned(), bound)));
}

#[test]
fn a_deployment_that_tolerates_the_cordon_is_evicted_once_and_comes_back() {
    let (cluster, [one, _two]) = cluster_of();
    let mut cni = deployment("shop", "cni", 2, Placement::On("n1"));
    cni["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    cluster.fleet.create(&cni);
    cluster.wait_for_running("n1", 2);
    let before = names(&cluster.fleet.pods_of("shop", "cni"));
    evictions_wait_for_the_next_second(&cluster);
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "1s");
    let clause = one.until_refused(&server, "draining", "; 2 pods came back and are kept: ");
    cluster.kubelet.power_on("n1");
    let answer = one.until_approved(&server).value;
    let came_back = names(&cluster.fleet.pods_of("shop", "cni"));
    assert!(came_back.iter().all(|name| !before.contains(name)), "{before:?} {came_back:?}");
    assert_eq!(names(&cluster.fleet.pods_on("n1")), came_back);
    for text in [&clause, &answer] {
        assert!(text.contains(&format!("; 2 pods came back and are kept: shop/{} and shop/{}", came_back[0], came_back[1])), "{text}");
    }
    let mut evicted = evicted(&cluster);
    evicted.sort();
    assert_eq!(evicted, before, "one eviction a pod, and none of those that came back");
    for name in &came_back {
        let line = format!("node n1: pod shop/{name} is not evicted: it was created after the slot was taken, and tolerates the cordon");
        assert_eq!(server.log().iter().filter(|logged| logged.contains(&line)).count(), 1, "{:#?}", server.log());
    }
}

#[test]
fn a_pod_that_its_controller_binds_to_the_cordoned_node_stays() {
    let (cluster, [one, _two]) = cluster_of();
    let of_controller = |name: &str| {
        let mut pod = bare_pod("shop", name, Placement::Free);
        pod["spec"]["nodeName"] = json!("n1");
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps.kruise.io/v1", "kind": "DaemonSet", "name": "agent", "uid": "0-1-2", "controller": true}]);
        pod
    };
    cluster.fleet.create(&of_controller("agent-a"));
    cluster.wait_for_running("n1", 1);
    evictions_wait_for_the_next_second(&cluster);
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "1s");
    let pending = one.agent(&server).send("pre-reboot");
    let evictions = |calls: &[Passed]| calls.iter().any(|call| call.resource == "pods/eviction" && call.done);
    cluster.proxy.block_until(evictions, SOON);
    cluster.fleet.create(&of_controller("agent-b"));
    pending.answer();
    one.until_refused(&server, "draining", "; 1 pod came back and is kept: shop/agent-b");
    cluster.kubelet.power_on("n1");
    let answer = one.until_approved(&server).value;
    assert!(answer.ends_with("it may reboot; 1 pod came back and is kept: shop/agent-b"), "{answer}");
    assert_eq!((names(&cluster.fleet.pods_on("n1")), evicted(&cluster)), (vec!["agent-b".to_owned()], vec!["agent-a".to_owned()]));
    server.wait_for_log(
        "node n1: pod shop/agent-b is not evicted: it was created after the slot was taken, and was bound without the scheduler",
        SOON,
    );
}

/// Replacements are of a later second than the slot: creation times have whole seconds.
fn evictions_wait_for_the_next_second(cluster: &TestCluster) {
    cluster.proxy.plan(Rule::on("create", "pods/eviction").inject(Fault::before(|_| next_second())));
}

fn names(pods: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}
