//! The status of PodDisruptionBudgets, counted as the disruption controller counts it
//! (Kubernetes, `pkg/controller/disruption/disruption.go`), except that a disruption is never forgotten by time.
//!
//! Left out: percentages and conditions. For `maxUnavailable` the pods are counted that are not terminating, not the replicas that their
//! controllers must have: here a controller replaces a pod at once.

use serde_json::{Map, Value, json};

use super::all;
use crate::simulated::selector;
use crate::simulated::store::{Key, Store, number, ready, terminating, text};

pub(super) fn run(store: &mut Store) {
    for budget in all(store, "poddisruptionbudgets") {
        let namespace = text(&budget, "/metadata/namespace");
        let selected = |pod: &&Value| selector::matches(&budget["spec"]["selector"], &pod["metadata"]["labels"]);
        let pods: Vec<&Value> = store.list("pods", namespace).map(|(_, pod)| pod).filter(selected).collect();
        let expected = as_number(match number(&budget, "/spec/maxUnavailable") {
            Some(_) => pods.iter().filter(|pod| !terminating(pod)).count(),
            None => pods.len(),
        });
        let desired = match (number(&budget, "/spec/maxUnavailable"), number(&budget, "/spec/minAvailable")) {
            (Some(most), _) => (expected - most).max(0),
            (None, least) => least.unwrap_or(1),
        };
        let disrupted = still_disrupted(&budget, &pods);
        let healthy = pods.iter().filter(|pod| !terminating(pod) && ready(pod) && !disrupted.contains_key(text(pod, "/metadata/name")));
        let healthy = as_number(healthy.count());
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        store.change(&Key::of("poddisruptionbudgets", &budget), |budget| {
            let mut status = json!({
                "currentHealthy": healthy, "desiredHealthy": desired,
                "disruptionsAllowed": allowed, "expectedPods": expected,
            });
            if !disrupted.is_empty() {
                status["disruptedPods"] = Value::Object(disrupted);
            }
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

fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
