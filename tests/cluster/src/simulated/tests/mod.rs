//! The simulated cluster as its clients see it.

mod answers;
mod budgets;
mod controllers;
mod eviction;
mod rights;
mod watches;

use serde_json::{Value, json};

use super::Simulated;
use crate::api::Api;

fn node(api: &Api, name: &str) {
    let labels = json!({"kubernetes.io/hostname": name});
    api.create("/api/v1/nodes", &json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}})).ok();
}

fn nodes(api: &Api, names: &[&str]) {
    for name in names {
        node(api, name);
    }
}

/// A pod on a node, without a controller.
fn pod(api: &Api, name: &str, node: &str) -> Value {
    let metadata = json!({"name": name, "labels": {"app": "web"}});
    let body = json!({"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": []}});
    let made = api.create("/api/v1/namespaces/default/pods", &body).ok();
    run(api, name, true);
    made
}

/// Plays the kubelet: the pod runs, and is Ready or not.
fn run(api: &Api, name: &str, ready: bool) {
    let ready = if ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    api.merge(&format!("{PODS}/{name}/status"), &status).ok();
}

/// Plays the kubelet: all pods that have a node run and are Ready, all that are terminating go.
fn kubelet(api: &Api) {
    loop {
        let mut idle = true;
        for pod in pods(api) {
            let name = pod["metadata"]["name"].as_str().unwrap();
            if pod["metadata"].get("deletionTimestamp").is_some() {
                api.delete(&format!("{PODS}/{name}"), Some(0)).ok();
                idle = false;
            } else if pod["status"]["phase"] == "Pending" && pod["spec"].get("nodeName").is_some() {
                run(api, name, true);
                idle = false;
            }
        }
        if idle {
            return;
        }
    }
}

fn pods(api: &Api) -> Vec<Value> {
    api.get(PODS).ok()["items"].as_array().unwrap().clone()
}

/// The pods as `name node`, sorted.
fn placed(api: &Api) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pods(api).iter().map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect()
}

fn workload(api: &Api, plural: &str, kind: &str, replicas: u32) {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let body = json!({"kind": kind, "metadata": {"name": "web"}, "spec": spec});
    api.create(&format!("/apis/apps/v1/namespaces/default/{plural}"), &body).ok();
}

fn budget(api: &Api, name: &str, spec: &Value) {
    let mut spec = spec.clone();
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    api.create(BUDGETS, &json!({"kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec})).ok();
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
