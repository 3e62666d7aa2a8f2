//! DaemonSets: one pod on every node whose taints it tolerates, also on cordoned nodes. Node selectors are not simulated.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::scheduler::tolerates_taints;
use super::{all, create_pod, delete_pod, owned};
use crate::simulated::store::{Store, finished, terminating, text};

pub(super) fn run(store: &mut Store) {
    let sets = all(store, "daemonsets");
    if sets.is_empty() {
        return;
    }
    let nodes = all(store, "nodes");
    for mut set in sets {
        tolerate(&mut set);
        let pods = owned(store, "pods", &set);
        let by_node: HashMap<&str, &Value> = pods.iter().map(|pod| (text(pod, "/spec/nodeName"), pod)).collect();
        for node in &nodes {
            let name = text(node, "/metadata/name");
            let belongs = tolerates_taints(&set["spec"]["template"], node);
            match by_node.get(name) {
                None if belongs => create_pod(store, "daemonsets", &set, "", name),
                Some(pod) if !terminating(pod) && (finished(pod) || !belongs) => delete_pod(store, pod),
                _ => {}
            }
        }
    }
}

/// Adds the tolerations that every pod of a DaemonSet has.
fn tolerate(set: &mut Value) {
    let own = set["spec"]["template"]["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let given = ["disk-pressure", "memory-pressure", "not-ready", "pid-pressure", "unreachable", "unschedulable"];
    let given = given.iter().map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists"}));
    set["spec"]["template"]["spec"]["tolerations"] = own.into_iter().chain(given).collect();
}
