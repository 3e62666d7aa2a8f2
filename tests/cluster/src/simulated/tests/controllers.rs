//! What the controllers and the scheduler do by themselves.

use super::*;

fn cordon(api: &Api, name: &str) {
    api.merge(&format!("/api/v1/nodes/{name}"), &json!({"spec": {"unschedulable": true}})).ok();
}

fn on(api: &Api, node: &str) -> usize {
    placed(api).iter().filter(|(_, there)| there == node).count()
}

#[test]
fn a_deleted_pod_of_a_deployment_is_replaced_where_there_is_no_cordon() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    nodes(&api, &["a", "b", "c"]);
    workload(&api, "deployments", "Deployment", 3);
    kubelet(&api);
    assert_eq!(["a", "b", "c"].map(|node| on(&api, node)), [1, 1, 1]);
    cordon(&api, "a");
    let (name, _) = placed(&api).into_iter().find(|(_, node)| node == "a").unwrap();
    api.delete(&format!("{PODS}/{name}"), None).ok();
    assert_eq!(placed(&api).len(), 4, "the replacement does not wait for the old one");
    kubelet(&api);
    assert_eq!(["a", "b", "c"].map(|node| on(&api, node)), [0, 2, 1]);
    let status = api.get("/apis/apps/v1/namespaces/default/deployments/web").ok()["status"].clone();
    assert_eq!((&status["readyReplicas"], &status["replicas"]), (&json!(3), &json!(3)));
    api.delete("/apis/apps/v1/namespaces/default/deployments/web", None).ok();
    assert_eq!(placed(&api), []);
    assert_eq!(api.get("/apis/apps/v1/replicasets").ok()["items"], json!([]));
}

#[test]
fn a_deployment_follows_its_scale_and_its_template() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    node(&api, "a");
    workload(&api, "deployments", "Deployment", 3);
    kubelet(&api);
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    api.merge(path, &json!({"spec": {"replicas": 1}})).ok();
    kubelet(&api);
    let before = placed(&api);
    assert_eq!(before.len(), 1);
    api.merge(path, &json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}})).ok();
    kubelet(&api);
    assert_eq!(placed(&api).len(), 1);
    assert_ne!(placed(&api), before);
}

#[test]
fn a_statefulset_gives_a_name_to_a_new_pod_only_when_the_old_one_is_gone() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    nodes(&api, &["a", "b"]);
    workload(&api, "statefulsets", "StatefulSet", 2);
    assert_eq!(placed(&api), [("web-0".to_owned(), "a".to_owned())], "the second waits for the first to be Ready");
    kubelet(&api);
    let uid = |name: &str| api.get(&format!("{PODS}/{name}")).ok()["metadata"]["uid"].clone();
    let before = [uid("web-0"), uid("web-1")];
    cordon(&api, "a");
    api.delete(&format!("{PODS}/web-0"), None).ok();
    assert_eq!(uid("web-0"), before[0]);
    kubelet(&api);
    assert_ne!(uid("web-0"), before[0]);
    assert_eq!(uid("web-1"), before[1]);
    assert_eq!(on(&api, "b"), 2);
}

#[test]
fn a_daemonset_is_on_every_node_cordoned_or_not() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    nodes(&api, &["a", "b"]);
    cordon(&api, "b");
    workload(&api, "daemonsets", "DaemonSet", 1);
    assert_eq!(["a", "b"].map(|node| on(&api, node)), [1, 1]);
    node(&api, "c");
    assert_eq!(on(&api, "c"), 1);
    api.delete("/api/v1/nodes/c", None).ok();
    assert_eq!(on(&api, "c"), 0);
}

#[test]
fn a_job_runs_until_enough_pods_have_succeeded() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    node(&api, "a");
    let spec = json!({"completions": 2, "template": {"spec": {"restartPolicy": "Never", "containers": []}}});
    api.create("/apis/batch/v1/namespaces/default/jobs", &json!({"kind": "Job", "metadata": {"name": "j"}, "spec": spec})).ok();
    let end = |phase: &str| {
        let running = pods(&api).into_iter().find(|pod| pod["status"]["phase"] == "Pending").unwrap();
        let path = format!("{PODS}/{}/status", running["metadata"]["name"].as_str().unwrap());
        api.merge(&path, &json!({"status": {"phase": phase}})).ok();
    };
    end("Failed");
    end("Succeeded");
    end("Succeeded");
    let status = api.get("/apis/batch/v1/namespaces/default/jobs/j").ok()["status"].clone();
    assert_eq!((&status["succeeded"], &status["failed"], &status["active"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(status["conditions"][0]["type"], "Complete");
}

#[test]
fn the_scheduler_respects_anti_affinity_taints_and_selectors() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    nodes(&api, &["a", "b"]);
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    node(&api, "c");
    api.merge("/api/v1/nodes/c", &taint).ok();
    let bare = |name: &str, spec: &Value| {
        let body = json!({"kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec});
        api.create(PODS, &body).ok();
        api.get(&format!("{PODS}/{name}")).ok()["spec"]["nodeName"].as_str().unwrap_or("").to_owned()
    };
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let alone = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    assert_eq!(bare("one", &alone), "a");
    assert_eq!(bare("two", &alone), "b");
    assert_eq!(bare("three", &alone), "", "the taint keeps it away from c");
    assert_eq!(bare("four", &json!({})), "", "and the others keep it away from a and b");
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Equal", "value": "v"}]});
    assert_eq!(bare("five", &tolerant), "c");
    let chosen = json!({"nodeSelector": {"kubernetes.io/hostname": "c"}, "tolerations": [{"operator": "Exists"}]});
    assert_eq!(bare("six", &chosen), "c");
    cordon(&api, "c");
    assert_eq!(bare("seven", &tolerant), "");
    assert_eq!(bare("eight", &chosen), "c", "who tolerates everything tolerates a cordon");
    for name in ["four", "seven", "one"] {
        api.delete(&format!("{PODS}/{name}"), Some(0)).ok();
    }
    assert_eq!(api.get(&format!("{PODS}/three")).ok()["spec"]["nodeName"], "a", "who waits is placed when there is room");
}
