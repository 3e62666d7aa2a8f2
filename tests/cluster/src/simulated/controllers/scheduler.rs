//! The scheduler: taints and tolerations, cordons, node selectors, required anti-affinity to pods of the same namespace and node; then the
//! emptiest node, then the first by name.
//!
//! It does not look at resources, priorities, node affinity or topology spread.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{active, all};
use crate::simulated::selector;
use crate::simulated::store::{Key, Store, finished, items, text};

pub(super) fn run(store: &mut Store) {
    let waiting = |pod: &Value| {
        text(pod, "/spec/nodeName").is_empty() && active(pod) && ["", "default-scheduler"].contains(&text(pod, "/spec/schedulerName"))
    };
    let pending: Vec<Value> = store.list("pods", "").map(|(_, pod)| pod).filter(|pod| waiting(pod)).cloned().collect();
    if pending.is_empty() {
        return;
    }
    let nodes = all(store, "nodes");
    for pod in pending {
        if let Some(node) = choose(store, &pod, &nodes) {
            store.change(&Key::of("pods", &pod), |pod| pod["spec"]["nodeName"] = json!(node));
        }
    }
}

fn choose<'a>(store: &Store, pod: &Value, nodes: &'a [Value]) -> Option<&'a str> {
    let placed: Vec<&Value> =
        store.list("pods", "").map(|(_, pod)| pod).filter(|pod| !text(pod, "/spec/nodeName").is_empty() && !finished(pod)).collect();
    let mut load: HashMap<&str, usize> = HashMap::new();
    for pod in &placed {
        *load.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    let namespace = text(pod, "/metadata/namespace");
    let keeps_apart = |rule: &Value, name: &str| {
        let beside = placed.iter().filter(|other| text(other, "/spec/nodeName") == name && text(other, "/metadata/namespace") == namespace);
        beside.into_iter().any(|other| selector::matches(&rule["labelSelector"], &other["metadata"]["labels"]))
    };
    let fits = |node: &Value, name: &str| {
        let alone = !items(pod, ANTI_AFFINITY).iter().any(|rule| keeps_apart(rule, name));
        tolerates_taints(pod, node) && tolerates_cordon(pod, node) && selected(pod, node) && alone
    };
    let names = nodes.iter().map(|node| (node, text(node, "/metadata/name"))).filter(|(node, name)| fits(node, name));
    names.map(|(_, name)| name).min_by_key(|name| (load.get(name).copied().unwrap_or(0), *name))
}

/// Reports whether a pod (or a pod template) tolerates the `NoSchedule` and `NoExecute` taints of a node.
pub(super) fn tolerates_taints(pod: &Value, node: &Value) -> bool {
    let hard = |taint: &&Value| ["NoSchedule", "NoExecute"].contains(&text(taint, "/effect"));
    items(node, "/spec/taints").iter().filter(hard).all(|taint| tolerates(pod, taint))
}

fn tolerates_cordon(pod: &Value, node: &Value) -> bool {
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    node["spec"]["unschedulable"] != true || tolerates(pod, &cordon)
}

fn tolerates(pod: &Value, taint: &Value) -> bool {
    items(pod, "/spec/tolerations").iter().any(|toleration| {
        let (effect, key) = (text(toleration, "/effect"), text(toleration, "/key"));
        let exists = text(toleration, "/operator") == "Exists";
        let right_key = key == text(taint, "/key") || key.is_empty() && exists;
        let right_effect = effect.is_empty() || effect == text(taint, "/effect");
        right_key && right_effect && (exists || text(toleration, "/value") == text(taint, "/value"))
    })
}

fn selected(pod: &Value, node: &Value) -> bool {
    let wanted = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| value.as_str() == Some(domain(node, key)))
}

/// The value of a node's label; a node without a host name label is called as it is named.
fn domain<'a>(node: &'a Value, key: &str) -> &'a str {
    match node["metadata"]["labels"].get(key).and_then(Value::as_str) {
        Some(value) => value,
        None if key == "kubernetes.io/hostname" => text(node, "/metadata/name"),
        None => "",
    }
}

const ANTI_AFFINITY: &str = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
