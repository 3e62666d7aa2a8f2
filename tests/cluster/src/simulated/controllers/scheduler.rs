//! The scheduler: taints and tolerations, cordons, node selectors, required anti-affinity; then the emptiest node, then the first by name.
//!
//! It does not look at resources, priorities, node affinity or topology spread.

use std::collections::{BTreeMap, HashMap};

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
    let by_name = nodes.iter().map(|node| (text(node, "/metadata/name"), node)).collect();
    for pod in pending {
        if let Some(node) = choose(store, &pod, &by_name) {
            store.change(&Key::of("pods", &pod), |pod| pod["spec"]["nodeName"] = json!(node));
        }
    }
}

fn choose<'a>(store: &Store, pod: &Value, nodes: &BTreeMap<&'a str, &'a Value>) -> Option<&'a str> {
    let placed: Vec<&Value> =
        store.list("pods", "").map(|(_, pod)| pod).filter(|pod| !text(pod, "/spec/nodeName").is_empty() && !finished(pod)).collect();
    let mut load: HashMap<&str, usize> = HashMap::new();
    for pod in &placed {
        *load.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    // Most pods have no anti-affinity; comparing those with every node takes minutes in a big cluster.
    let picky = |pod: &Value| !items(pod, ANTI_AFFINITY).is_empty();
    let watched: Vec<&Value> = placed.into_iter().filter(|other| picky(pod) || picky(other)).collect();
    let fits = |node: &Value| {
        let keeps_apart = |other: &&Value| {
            nodes.get(text(other, "/spec/nodeName")).is_some_and(|there| apart(pod, other, node, there) || apart(other, pod, there, node))
        };
        tolerates_taints(pod, node) && tolerates_cordon(pod, node) && selected(pod, node) && !watched.iter().any(keeps_apart)
    };
    let load = |name: &str| load.get(name).copied().unwrap_or(0);
    nodes.iter().filter(|(_, node)| fits(node)).map(|(name, _)| *name).min_by_key(|name| (load(name), *name))
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

/// Reports whether a required anti-affinity of `pod`, on `node`, excludes `other`, on `there`.
fn apart(pod: &Value, other: &Value, node: &Value, there: &Value) -> bool {
    let own_namespace = text(pod, "/metadata/namespace");
    let rules = items(pod, ANTI_AFFINITY);
    rules.iter().any(|rule| {
        let key = text(rule, "/topologyKey");
        let named = items(rule, "/namespaces");
        let namespace = &other["metadata"]["namespace"];
        let in_scope = if named.is_empty() { *namespace == own_namespace } else { named.contains(namespace) };
        let same_place = !domain(node, key).is_empty() && domain(node, key) == domain(there, key);
        in_scope && same_place && selector::matches(&rule["labelSelector"], &other["metadata"]["labels"])
    })
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
