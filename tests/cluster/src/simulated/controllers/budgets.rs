//! The status of PodDisruptionBudgets, counted as the disruption controller counts it
//! (Kubernetes, `pkg/controller/disruption/disruption.go`), except that a disruption is never forgotten by time.
//!
//! Left out: percentages, and pods whose controller is no ReplicaSet or StatefulSet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{all, set_condition};
use crate::simulated::selector;
use crate::simulated::store::{Key, Store, controller, number, ready, terminating, text};

pub(super) fn run(store: &mut Store) {
    for budget in all(store, "poddisruptionbudgets") {
        let namespace = text(&budget, "/metadata/namespace");
        let selected = |pod: &&Value| selector::matches(&budget["spec"]["selector"], &pod["metadata"]["labels"]);
        let pods: Vec<&Value> = store.list("pods", namespace).map(|(_, pod)| pod).filter(selected).collect();
        let (expected, desired) = count(store, &budget, &pods);
        let disrupted = still_disrupted(&budget, &pods);
        let healthy = pods.iter().filter(|pod| !terminating(pod) && ready(pod) && !disrupted.contains_key(text(pod, "/metadata/name")));
        let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        store.change(&Key::of("poddisruptionbudgets", &budget), |budget| {
            let mut status = json!({
                "conditions": budget["status"]["conditions"], "currentHealthy": healthy, "desiredHealthy": desired,
                "disruptionsAllowed": allowed, "expectedPods": expected, "observedGeneration": budget["metadata"]["generation"],
            });
            if !disrupted.is_empty() {
                status["disruptedPods"] = Value::Object(disrupted);
            }
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            set_condition(&mut status, "DisruptionAllowed", allowed > 0, reason, "");
            budget["status"] = status;
        });
    }
}

/// Returns the pods of the budget that were evicted and are not terminating yet.
fn still_disrupted(budget: &Value, pods: &[&Value]) -> Map<String, Value> {
    let before = budget["status"]["disruptedPods"].as_object().cloned().unwrap_or_default();
    let waits = |name: &str| pods.iter().any(|pod| text(pod, "/metadata/name") == name && !terminating(pod));
    before.into_iter().filter(|(name, _)| waits(name)).collect()
}

/// Counts the pods that are expected, and those of them that must stay healthy.
fn count(store: &Store, budget: &Value, pods: &[&Value]) -> (i64, i64) {
    let present = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    match (number(budget, "/spec/maxUnavailable"), number(budget, "/spec/minAvailable")) {
        (Some(most), _) => {
            let expected = scale(store, pods);
            (expected, (expected - most).max(0))
        }
        (None, least) => (present, least.unwrap_or(1)),
    }
}

/// Returns the sum of the replicas that the controllers of these pods must have. Pods without a controller do not count.
fn scale(store: &Store, pods: &[&Value]) -> i64 {
    let mut wanted = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller(pod) else { continue };
        let namespace = text(pod, "/metadata/namespace");
        let plural = if text(owner, "/kind") == "StatefulSet" { "statefulsets" } else { "replicasets" };
        let Some(mut scaled) = store.get(&Key::new(plural, namespace, text(owner, "/name"))) else { continue };
        let above = controller(scaled).and_then(|above| store.get(&Key::new("deployments", namespace, text(above, "/name"))));
        if let Some(deployment) = above {
            scaled = deployment;
        }
        wanted.insert(text(scaled, "/metadata/uid").to_owned(), number(scaled, "/spec/replicas").unwrap_or(1));
    }
    wanted.values().sum()
}
