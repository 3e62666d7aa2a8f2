//! The program's own pods: last, and only when another node can run them.

use std::time::Duration;

use serde_json::{Value, json};
use test_cluster::objects::Placement;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{NAMESPACE, SOON, binary, cluster_of, evicted, machine_id, next_second};

/// A pod as the Deployment makes them, on a node, and with more tolerations.
fn own_pod(cluster: &TestCluster, name: &str, node: &str, tolerations: &[Value]) -> Value {
    let pod = test_cluster::objects::bare_pod(NAMESPACE, name, Placement::On(node));
    create_own(cluster, pod, tolerations)
}

fn create_own(cluster: &TestCluster, mut pod: Value, tolerations: &[Value]) -> Value {
    pod["spec"]["serviceAccountName"] = json!("reboot-manager");
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"});
    pod["spec"]["tolerations"] = [&[cordon], tolerations].concat().into();
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}});
    pod["spec"]["containers"][0]["securityContext"] = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    cluster.fleet.create(&pod)
}

fn server_in(cluster: &TestCluster, pod: &Value, wait: &str) -> Server {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    let start = cluster.server(&binary()).arg("--pre-reboot-wait").arg(wait);
    let start = start.env("POD_NAME", &text("name")).env("POD_NAMESPACE", NAMESPACE).env("POD_UID", &text("uid"));
    start.env("POD_SERVICE_ACCOUNT", "reboot-manager").start()
}

#[test]
fn our_own_pod_goes_last_when_another_node_can_run_it() {
    let (cluster, [one, _two]) = cluster_of();
    let pod = own_pod(&cluster, "reboot-manager-a", "n1", &[]);
    own_pod(&cluster, "reboot-manager-b", "n1", &[]);
    cluster.fleet.deployment("shop", "web", 6, Placement::On("n1"));
    cluster.wait_for_running("n1", 8);
    let server = server_in(&cluster, &pod, "60s");
    cluster.admin.delete("/apis/apps/v1/namespaces/shop/deployments/web", None);
    one.is_granted(&cluster, one.agent(&server).send("pre-reboot"));
    let evicted = evicted(&cluster);
    assert!(evicted.ends_with(&["reboot-manager-b", "reboot-manager-a"].map(str::to_owned)), "{evicted:?}");
}

/// No other replica may be running yet, so this process answers before it ends.
#[test]
fn our_own_terminating_pod_approves_as_its_last_act() {
    let (cluster, [one, _two]) = cluster_of();
    let pod = test_cluster::objects::slow_pod(NAMESPACE, "reboot-manager-a", "n1", Duration::from_secs(120));
    let pod = create_own(&cluster, pod, &[]);
    cluster.wait_for_running("n1", 1);
    let server = server_in(&cluster, &pod, "60s");
    one.agent(&server).pre_reboot().expect(200, "approved");
    assert_eq!((evicted(&cluster), one.pods(&cluster)), (vec!["reboot-manager-a".to_owned()], vec!["reboot-manager-a".to_owned()]));
}

#[test]
fn our_own_pod_that_came_back_to_the_node_stays() {
    let (cluster, [one, _two]) = cluster_of();
    let pod = own_pod(&cluster, "reboot-manager-a", "n1", &[]);
    cluster.wait_for_running("n1", 1);
    let server = server_in(&cluster, &pod, "60s");
    one.agent(&server).pre_reboot().expect(200, "approved");
    next_second();
    own_pod(&cluster, "reboot-manager-c", "n1", &[]);
    cluster.wait_for_running("n1", 1);
    let answer = one.agent(&server).pre_reboot().expect(200, "approved").value;
    assert!(answer.ends_with("; 1 pod came back and is kept: reboot-manager/reboot-manager-c"), "{answer}");
    assert_eq!(one.pods(&cluster), ["reboot-manager-c"]);
}

#[test]
fn our_own_pod_is_evicted_only_when_another_node_can_run_it() {
    let pool = json!({"key": "pool", "operator": "Exists"});
    for (has_other, tolerations, left) in
        [(false, &[][..], &["reboot-manager-a"][..]), (true, &[], &["reboot-manager-a"]), (true, &[pool], &[])]
    {
        let (cluster, [one]) = cluster_of();
        if has_other {
            cluster.fleet.node("n2", &machine_id(2), "boot-of-n2").taint("pool").create();
        }
        let pod = own_pod(&cluster, "reboot-manager-a", "n1", tolerations);
        cluster.fleet.bare_pod("shop", "other", Placement::On("n1"));
        cluster.wait_for_running("n1", 2);
        let server = server_in(&cluster, &pod, "60s");
        one.agent(&server).pre_reboot().expect(200, "approved");
        assert_eq!(one.pods(&cluster), left, "{has_other} {tolerations:?}");
        one.comes_back(&cluster, &server);
        one.is_in_service(&cluster);
    }
}

#[test]
fn the_manifest_is_accepted_whole_and_a_node_with_our_own_pod_is_drained() {
    let (cluster, [one, _two]) = cluster_of();
    test_cluster::apply(&cluster.admin, super::MANIFEST, &[]);
    let pods = wait_for("both pods run", SOON, || {
        let pods = cluster.fleet.pods_of_labels(NAMESPACE, "app.kubernetes.io/name=reboot-manager");
        let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        if running == 2 { Ok(pods) } else { Err(format!("{running} of {}", pods.len())) }
    });
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    assert_ne!(node(&pods[0]), node(&pods[1]), "both replicas on one node");
    let here = pods.iter().find(|pod| node(pod) == "n1").unwrap();
    let spec = &here["spec"];
    assert_eq!(
        (&spec["priorityClassName"], &spec["containers"][0]["resources"]["requests"]["memory"]),
        (&json!("system-cluster-critical"), &json!("16Mi"))
    );
    // With two nodes the other replica keeps the one that is evicted from the other node, so it comes back to this one.
    let server = server_in(&cluster, here, "60s");
    one.until_approved(&server);
    assert!(evicted(&cluster).iter().any(|name| here["metadata"]["name"] == name.as_str()), "our own pod was not asked to go");
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
}
