//! The status of PodDisruptionBudgets, counted as the disruption controller counts it
//! (Kubernetes, `pkg/controller/disruption/disruption.go`), except that a disruption is never forgotten by time.

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
        let counted = count(store, &budget, &pods);
        let disrupted = still_disrupted(&budget, &pods);
        let healthy = pods.iter().filter(|pod| !terminating(pod) && ready(pod) && !disrupted.contains_key(text(pod, "/metadata/name")));
        let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
        store.change(&Key::of("poddisruptionbudgets", &budget), |budget| write(budget, healthy, disrupted, counted));
    }
}

/// The pods of the budget that were evicted and are not yet going.
fn still_disrupted(budget: &Value, pods: &[&Value]) -> Map<String, Value> {
    let before = budget["status"]["disruptedPods"].as_object().cloned().unwrap_or_default();
    let waits = |name: &str| pods.iter().any(|pod| text(pod, "/metadata/name") == name && !terminating(pod));
    before.into_iter().filter(|(name, _)| waits(name)).collect()
}

fn write(budget: &mut Value, healthy: i64, disrupted: Map<String, Value>, counted: Result<(i64, i64), String>) {
    let generation = budget["metadata"]["generation"].clone();
    let status = &mut budget["status"];
    let (expected, desired, failure) = match counted {
        Ok((expected, desired)) => (expected, desired, None),
        Err(why) => (0, 0, Some(why)),
    };
    let allowed = if failure.is_some() || expected <= 0 { 0 } else { (healthy - desired).max(0) };
    for (field, value) in
        [("currentHealthy", healthy), ("desiredHealthy", desired), ("disruptionsAllowed", allowed), ("expectedPods", expected)]
    {
        status[field] = json!(value);
    }
    status["observedGeneration"] = generation;
    status["disruptedPods"] = Value::Object(disrupted);
    if status["disruptedPods"] == json!({})
        && let Some(fields) = status.as_object_mut()
    {
        fields.remove("disruptedPods");
    }
    match failure {
        Some(why) => set_condition(status, "DisruptionAllowed", false, "SyncFailed", &why),
        None if allowed > 0 => set_condition(status, "DisruptionAllowed", true, "SufficientPods", ""),
        None => set_condition(status, "DisruptionAllowed", false, "InsufficientPods", ""),
    }
}

/// How many pods there should be, and how many of them have to stay healthy.
fn count(store: &Store, budget: &Value, pods: &[&Value]) -> Result<(i64, i64), String> {
    let present = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let spec = &budget["spec"];
    if let Some(most) = spec.get("maxUnavailable").filter(|value| !value.is_null()) {
        let expected = scale(store, pods)?;
        return Ok((expected, (expected - part(most, expected)).max(0)));
    }
    match spec.get("minAvailable").filter(|value| !value.is_null()) {
        Some(Value::Number(least)) => Ok((present, least.as_i64().unwrap_or(0))),
        Some(least) => scale(store, pods).map(|expected| (expected, part(least, expected))),
        None => Ok((present, 1)),
    }
}

/// A number, or a percentage of the whole rounded up.
fn part(value: &Value, whole: i64) -> i64 {
    match value {
        Value::String(percent) => {
            let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or(0);
            (whole * percent + 99) / 100
        }
        value => value.as_i64().unwrap_or(0),
    }
}

/// The sum of the replicas that the controllers of these pods are asked for. Pods without a controller do not count.
fn scale(store: &Store, pods: &[&Value]) -> Result<i64, String> {
    let mut asked = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller(pod) else { continue };
        let namespace = text(pod, "/metadata/namespace");
        let plural = match text(owner, "/kind") {
            "ReplicaSet" => "replicasets",
            "StatefulSet" => "statefulsets",
            kind => return Err(format!("{} does not implement the scale subresource", kind.to_lowercase() + "s.apps")),
        };
        let name = text(owner, "/name");
        let Some(mut scaled) = store.get(&Key::new(plural, namespace, name)) else { continue };
        let above = controller(scaled).and_then(|above| store.get(&Key::new("deployments", namespace, text(above, "/name"))));
        if let Some(deployment) = above {
            scaled = deployment;
        }
        asked.insert(text(scaled, "/metadata/uid").to_owned(), number(scaled, "/spec/replicas").unwrap_or(1));
    }
    Ok(asked.values().sum())
}
