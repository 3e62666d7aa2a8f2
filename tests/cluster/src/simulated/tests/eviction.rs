//! Every answer of the eviction subresource. The scenarios run against the same answers of the real API server.

use super::*;

/// Cluster of one node with ready pods whose label `app` is `web`.
struct Evictions {
    _cluster: Simulated,
    api: Api,
}

impl Evictions {
    fn of_pods(names: &[&str]) -> Self {
        let cluster = Simulated::start();
        let api = cluster.admin();
        node(&api, "a");
        names.iter().for_each(|name| drop(pod(&api, name, "a")));
        Self { _cluster: cluster, api }
    }

    fn evict(&self, name: &str, options: &Value, query: &str) -> crate::api::Answer {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
        self.api.create(&format!("{PODS}/{name}/eviction{query}"), &body)
    }

    fn status(&self, name: &str) -> u16 {
        self.evict(name, &Value::Null, "").status
    }

    fn budget(&self, name: &str, field: &str, value: u32) -> Value {
        let spec = json!({field: value, "selector": {"matchLabels": {"app": "web"}}});
        let budget = json!({"kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec});
        self.api.create(BUDGETS, &budget).ok();
        self.api.get(&format!("{BUDGETS}/{name}")).ok()["status"].clone()
    }
}

#[test]
fn pod_without_budget_terminates_with_its_grace_period() {
    let cluster = Evictions::of_pods(&["p"]);
    let read = || cluster.api.get(&format!("{PODS}/p"));
    let uid = read().ok()["metadata"]["uid"].clone();
    let answer = cluster.evict("p", &json!({"preconditions": {"uid": uid}}), "");
    assert_eq!((answer.status, &answer.body["status"]), (201, &json!("Success")));
    let left = read().ok();
    assert_eq!(left["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(left["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.status("p"), 201, "a second eviction of a terminating pod");
    cluster.api.delete(&format!("{PODS}/p"), Some(0)).ok();
    assert_eq!(cluster.status("p"), 404);
}

#[test]
fn other_uid_is_a_conflict() {
    let answer = Evictions::of_pods(&["p"]).evict("p", &json!({"preconditions": {"uid": "other"}}), "");
    assert_eq!((answer.status, &answer.body["reason"]), (409, &json!("Conflict")));
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("the UID in the precondition (other) does not match the UID in record"), "{message}");
}

#[test]
fn dry_run_evicts_nothing_and_spends_no_budget() {
    let cluster = Evictions::of_pods(&["p"]);
    cluster.budget("b", "minAvailable", 0);
    assert_eq!(cluster.evict("p", &Value::Null, "?dryRun=All").status, 201);
    assert_eq!(cluster.evict("p", &json!({"dryRun": ["All"]}), "").status, 201);
    assert!(cluster.api.get(&format!("{PODS}/p")).ok()["metadata"].get("deletionTimestamp").is_none());
    assert_eq!(cluster.api.get(&format!("{BUDGETS}/b")).ok()["status"]["disruptionsAllowed"], 1);
}

#[test]
fn spent_budget_refuses_and_names_what_it_needs() {
    let cluster = Evictions::of_pods(&["p", "q"]);
    let status = cluster.budget("b", "minAvailable", 1);
    assert_eq!(["expectedPods", "desiredHealthy", "disruptionsAllowed"].map(|field| status[field].as_i64()), [Some(2), Some(1), Some(1)]);
    assert_eq!(cluster.status("p"), 201);
    for query in ["", "?dryRun=All"] {
        let answer = cluster.evict("q", &Value::Null, query);
        assert_eq!((answer.status, &answer.body["reason"]), (429, &json!("TooManyRequests")));
        assert_eq!(answer.body["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
        let cause = json!({"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"});
        assert_eq!(answer.body["details"], json!({"causes": [cause]}));
    }
}

#[test]
fn max_unavailable_counts_from_the_replicas_of_the_controller() {
    let cluster = Evictions::of_pods(&[]);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
    let spec = json!({"replicas": 5, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    cluster.api.create("/apis/apps/v1/namespaces/default/deployments", &deployment).ok();
    let pods = cluster.api.get(PODS).ok()["items"].take();
    pods.as_array().unwrap().iter().for_each(|pod| run(&cluster.api, pod["metadata"]["name"].as_str().unwrap(), true));
    let status = cluster.budget("b", "maxUnavailable", 1);
    assert_eq!(["expectedPods", "desiredHealthy", "disruptionsAllowed"].map(|field| status[field].as_i64()), [Some(5), Some(4), Some(1)]);
}

#[test]
fn two_budgets_for_one_pod_are_an_error() {
    let cluster = Evictions::of_pods(&["p"]);
    ["b", "c"].iter().for_each(|name| drop(cluster.budget(name, "minAvailable", 0)));
    let answer = cluster.evict("p", &Value::Null, "");
    assert_eq!((answer.status, answer.body.get("reason")), (500, None));
    assert!(answer.body["message"].as_str().unwrap().starts_with("This pod has more than one PodDisruptionBudget"));
}

#[test]
fn finished_and_pending_pods_are_evicted_whatever_the_budget_allows() {
    let cluster = Evictions::of_pods(&["p", "q", "r"]);
    cluster.budget("b", "minAvailable", 3);
    for (name, phase) in [("p", "Succeeded"), ("q", "Failed"), ("r", "Pending")] {
        cluster.api.merge(&format!("{PODS}/{name}/status"), &json!({"status": {"phase": phase}})).ok();
        assert_eq!(cluster.status(name), 201, "{phase}");
    }
}

#[test]
fn unready_pod_is_evicted_only_while_the_budget_is_met_without_it() {
    let cluster = Evictions::of_pods(&["p"]);
    run(&cluster.api, "p", false);
    cluster.budget("b", "minAvailable", 1);
    assert_eq!(cluster.status("p"), 429);
    pod(&cluster.api, "q", "a");
    assert_eq!(cluster.status("p"), 201);
}
