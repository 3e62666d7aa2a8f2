//! The real control plane: scheduling, controllers, refusals and restarts. Not run where its programs are absent.
#![expect(clippy::disallowed_methods, reason = "it measures how long a reset takes")]

use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_cluster::api::{Answer, Api};
use test_cluster::fleet::{Fleet, wait_for};
use test_cluster::kubelet::Kubelet;
use test_cluster::objects::Placement;
use test_cluster::real::{ControlPlane, Guard};

/// Prints a line past the harness, which hides the output of a passing test.
fn say(line: &str) {
    // The reader may have gone, which is no error.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prepares the cluster of one test with its kubelets; prints a line and returns `None` where the programs are absent.
fn cluster(test: &str) -> Option<(Kubelet, Fleet, Guard)> {
    if !ControlPlane::is_available() {
        say(&format!("NOT RUN: {test}: neither REBOOT_MANAGER_CONTROL_PLANE nor KUBEBUILDER_ASSETS is set"));
        return None;
    }
    let guard = ControlPlane::exclusive();
    let fleet = Fleet::new(guard.admin());
    fleet.ensure_namespace("shop");
    Some((Kubelet::start(guard.admin()), fleet, guard))
}

fn nodes(fleet: &Fleet, names: &[&str]) {
    for (number, name) in names.iter().enumerate() {
        fleet.node(name, &format!("{number:032x}"), &format!("boot-{name}")).create();
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[track_caller]
fn wait_until_ready(fleet: &Fleet, app: &str, wanted: usize) -> Vec<Value> {
    wait_for(&format!("{wanted} ready pods of {app}"), PATIENCE, || {
        let pods: Vec<Value> = fleet.pods_of("shop", app).into_iter().filter(is_ready).collect();
        if pods.len() == wanted { Ok(pods) } else { Err(format!("{} ready", pods.len())) }
    })
}

fn evict(api: &Api, pod: &Value) -> Answer {
    let (name, uid) = (&pod["metadata"]["name"], &pod["metadata"]["uid"]);
    let path = format!("/api/v1/namespaces/shop/pods/{}/eviction", name.as_str().unwrap_or_default());
    let options = json!({"preconditions": {"uid": uid}});
    api.create(&path, &json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}))
}

#[test]
fn budget_holds_and_the_api_server_restarts() {
    let Some((_kubelet, fleet, plane)) = cluster("budget_holds_and_the_api_server_restarts") else { return };
    nodes(&fleet, &["n1", "n2"]);
    fleet.budget("shop", "web", 3, "web");
    fleet.deployment("shop", "web", 4, Placement::On("n1"));
    let pods = wait_until_ready(&fleet, "web", 4);
    wait_for("a budget of one", PATIENCE, || {
        let budget = fleet.api().get("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web").ok();
        if budget["status"]["disruptionsAllowed"] == 1 { Ok(()) } else { Err(budget["status"].to_string()) }
    });

    // A pod that comes in the place of the first finds none, and so makes no room for the second.
    let cordon = |unschedulable: bool| fleet.api().merge("/api/v1/nodes/n1", &json!({"spec": {"unschedulable": unschedulable}})).ok();
    cordon(true);
    assert_eq!(evict(fleet.api(), &pods[0]).status, 201);
    let refusal = evict(fleet.api(), &pods[1]);
    assert_eq!(refusal.status, 429, "{}", refusal.body);
    assert_eq!(refusal.body["details"]["causes"][0]["reason"], "DisruptionBudget");
    cordon(false);

    plane.stop_api_server();
    assert!(fleet.api().try_call("GET", "/readyz", "", None).is_err());
    plane.start_api_server();
    let left = wait_until_ready(&fleet, "web", 4);
    assert!(left.iter().all(|pod| pod["metadata"]["uid"] != pods[0]["metadata"]["uid"]));

    let start = Instant::now();
    fleet.deployment("shop", "late", 1, Placement::Free);
    wait_until_ready(&fleet, "late", 1);
    say(&format!("the controllers were back {:?} after the API server", start.elapsed()));

    let output = plane.kubectl().args(["get", "nodes", "--output=name"]).output().expect("kubectl");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "node/n1\nnode/n2\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn etcd_keeps_its_data_over_a_restart() {
    let Some((_kubelet, fleet, plane)) = cluster("etcd_keeps_its_data_over_a_restart") else { return };
    nodes(&fleet, &["n1"]);
    plane.stop_etcd();
    assert!(!plane.pids().contains_key("etcd"));
    plane.start_etcd();
    plane.start_api_server();
    assert_eq!(fleet.read_node("n1")["metadata"]["name"], "n1");
    fleet.node("n2", "22222222222222222222222222222222", "boot-n2").create();
}

#[test]
fn service_account_has_the_rights_of_its_manifest() {
    let Some((_kubelet, fleet, plane)) = cluster("service_account_has_the_rights_of_its_manifest") else { return };
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../kubernetes/deployment.yaml")).expect("the manifest");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&manifest).expect("documents of YAML");
    let is_access = |object: &&Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind == "Namespace" || kind == "ServiceAccount" || kind.contains("Role")
    };
    objects.iter().filter(is_access).for_each(|object| fleet.ensure(object));
    nodes(&fleet, &["n1"]);

    let token = plane.token_for("reboot-manager", "reboot-manager");
    let own = Api::new(fleet.api().base(), Some(plane.ca_pem().as_bytes()), Some(&token));
    wait_for("the roles to hold", PATIENCE, || match own.get("/api/v1/nodes/n1").status {
        200 => Ok(()),
        status => Err(status),
    });
    assert_eq!(own.merge("/api/v1/nodes/n1", &json!({"spec": {"unschedulable": true}})).status, 200);
    assert_eq!(own.delete("/api/v1/nodes/n1", None).status, 403);
    let kubeconfig = plane.kubeconfig(&token);
    let output = plane.kubectl().env("KUBECONFIG", kubeconfig).args(["auth", "can-i", "delete", "pods"]).output().expect("kubectl");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "no");
}

#[test]
fn every_kind_of_workload_runs_and_ends() {
    let Some((kubelet, fleet, _plane)) = cluster("every_kind_of_workload_runs_and_ends") else { return };
    nodes(&fleet, &["n1", "n2"]);
    fleet.node("n3", "33333333333333333333333333333333", "boot-n3").label("zone", "a").taint("test/no").padded().create();
    fleet.stateful_set("shop", "database", 2, Placement::Free);
    fleet.daemon_set("shop", "agent");
    fleet.bare_pod("shop", "lonely", Placement::On("n2"));
    fleet.mirror_pod("kube-system", "proxy", "n1");
    fleet.job("shop", "backup", Placement::Free);

    wait_until_ready(&fleet, "database", 2);
    wait_until_ready(&fleet, "agent", 2);
    let lonely = wait_until_ready(&fleet, "lonely", 1);
    wait_for("the job to succeed", PATIENCE, || {
        let job = fleet.api().get("/apis/batch/v1/namespaces/shop/jobs/backup").ok();
        if job["status"]["succeeded"] == 1 { Ok(()) } else { Err(job["status"].to_string()) }
    });
    assert!(fleet.pods_on("n1").iter().any(|pod| pod["metadata"]["name"] == "proxy-n1"));

    kubelet.power_off("n2");
    assert_eq!(evict(fleet.api(), &lonely[0]).status, 201);
    let boot_id = fleet.reboot("n2");
    fleet.set_ready("n2", false);
    assert_eq!(fleet.read_node("n2")["status"]["nodeInfo"]["bootID"], boot_id);
    assert_eq!(fleet.pods_of("shop", "lonely").len(), 1, "a pod stays until it is ended");
    kubelet.power_on("n2");
    wait_for("the pod to go", PATIENCE, || match fleet.pods_of("shop", "lonely").len() {
        0 => Ok(()),
        left => Err(left),
    });
}

#[test]
fn two_hundred_pods_start_and_a_reset_is_quick() {
    let Some((kubelet, fleet, plane)) = cluster("two_hundred_pods_start_and_a_reset_is_quick") else { return };
    nodes(&fleet, &["n1", "n2", "n3"]);
    let start = Instant::now();
    fleet.deployment("shop", "many", 200, Placement::Free);
    wait_until_ready(&fleet, "many", 200);
    let started = start.elapsed();
    drop((kubelet, plane));

    let start = Instant::now();
    let _plane = ControlPlane::exclusive();
    let reset = start.elapsed();
    say(&format!("200 pods ready after {started:?}, gone after {reset:?}"));
    assert!(fleet.api().get("/api/v1/pods").ok()["items"].as_array().is_some_and(Vec::is_empty));
    assert!(reset < Duration::from_secs(15), "{reset:?}");
}

/// Limit of one wait; most take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);
