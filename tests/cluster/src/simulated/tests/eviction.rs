//! What a budget allows, where no scenario asks it. scenarios::drain has the answers of the eviction subresource.

use super::*;

/// Cluster of one node with ready pods whose label `app` is `web`.
struct Evictions {
    _cluster: Simulated,
    api: Api,
}

impl Evictions {
    fn of_pods(names: &[&str]) -> Self {
        let (cluster, api) = start();
        node(&api, "a");
        names.iter().for_each(|name| drop(pod(&api, name, "a")));
        Self { _cluster: cluster, api }
    }

    fn evict(&self, name: &str) -> u16 {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        self.api.create(&format!("{PODS}/{name}/eviction"), &body).status
    }

    fn budget(&self, name: &str, field: &str, value: u32) -> Value {
        let spec = json!({field: value, "selector": {"matchLabels": {"app": "web"}}});
        let budget = json!({"kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec});
        self.api.create(BUDGETS, &budget).ok();
        self.api.get(&format!("{BUDGETS}/{name}")).ok()["status"].clone()
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
fn finished_and_pending_pods_are_evicted_whatever_the_budget_allows() {
    let cluster = Evictions::of_pods(&["p", "q", "r"]);
    cluster.budget("b", "minAvailable", 3);
    for (name, phase) in [("p", "Succeeded"), ("q", "Failed"), ("r", "Pending")] {
        cluster.api.merge(&format!("{PODS}/{name}/status"), &json!({"status": {"phase": phase}})).ok();
        assert_eq!(cluster.evict(name), 201, "{phase}");
    }
}

#[test]
fn unready_pod_is_evicted_only_while_the_budget_is_met_without_it() {
    let cluster = Evictions::of_pods(&["p"]);
    run(&cluster.api, "p", false);
    cluster.budget("b", "minAvailable", 1);
    assert_eq!(cluster.evict("p"), 429);
    pod(&cluster.api, "q", "a");
    assert_eq!(cluster.evict("p"), 201);
}
