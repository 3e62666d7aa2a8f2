//! The simulated API server as its clients see it. Workloads, the scheduler, rights and outages are left to the scenarios, which run on the simulated
//! and on the real cluster.

mod answers;
mod eviction;
mod watches;

use serde_json::{Value, json};

use super::Simulated;
use crate::api::Api;

fn start() -> (Simulated, Api) {
    let cluster = Simulated::start();
    let api = cluster.admin();
    (cluster, api)
}

fn node(api: &Api, name: &str) {
    api.create("/api/v1/nodes", &json!({"kind": "Node", "metadata": {"name": name}, "spec": {}})).ok();
}

/// Creates a ready pod without a controller on a node.
fn pod(api: &Api, name: &str, node: &str) -> Value {
    let metadata = json!({"name": name, "labels": {"app": "web"}});
    let body = json!({"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": []}});
    let created = api.create(PODS, &body).ok();
    run(api, name, true);
    created
}

/// Reports a pod as running, in the role of the kubelet.
fn run(api: &Api, name: &str, ready: bool) {
    let ready = if ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    api.merge(&format!("{PODS}/{name}/status"), &status).ok();
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
