//! `POST pods/NAME/eviction`: the order of the checks and the wording are those of the real server
//! (Kubernetes, `pkg/registry/core/pod/storage/eviction.go`).
//!
//! The budget is asked before the preconditions, as there: a wrong uid under a spent budget is a 429, and under a budget with room it costs a
//! disruption. Left out: the ten seconds for which the real server repeats an eviction of a Pending pod with a wrong uid.

use serde_json::{Value, json};

use super::delete::{self, Options};
use super::selector;
use super::status::{self, Refusal};
use super::store::{Key, Store, finished, items, now, number, ready, terminating, text};
use crate::resources::Resource;

/// Evicts the pod, or says why not.
pub(super) fn evict(store: &mut Store, namespace: &str, name: &str, eviction: &Value, dry_run: bool) -> Result<Value, Refusal> {
    if text(eviction, "/metadata/name") != name {
        return Err(Refusal::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = Options::read(&eviction["deleteOptions"]);
    options.dry_run |= dry_run;
    let key = Key::new("pods", namespace, name);
    let Some(pod) = store.get(&key).cloned() else { return Err(Refusal::not_found(Resource::plural("pods"), name)) };
    let unprotected = finished(&pod) || text(&pod, "/status/phase") == "Pending" || terminating(&pod);
    if !unprotected {
        ask_budget(store, &pod, &options)?;
    }
    if let Some(why) = options.unmet(&pod) {
        return Err(Refusal::eviction_conflict(name, &why));
    }
    if !options.dry_run {
        store.change(&key, mark_disrupted);
        options.version.clear();
    }
    delete::delete(store, Resource::plural("pods"), &key, &options)?;
    Ok(status::success(&Value::Null))
}

fn ask_budget(store: &mut Store, pod: &Value, options: &Options) -> Result<(), Refusal> {
    let namespace = text(pod, "/metadata/namespace");
    let labels = &pod["metadata"]["labels"];
    let budgets: Vec<(Key, Value)> = store
        .list("poddisruptionbudgets", namespace)
        .filter(|(_, budget)| selector::matches(&budget["spec"]["selector"], labels))
        .map(|(key, budget)| (key.clone(), budget.clone()))
        .collect();
    let (key, budget) = match budgets.as_slice() {
        [] => return Ok(()),
        [only] => only,
        _ => return Err(Refusal::two_budgets()),
    };
    let [healthy, desired, allowed] = ["currentHealthy", "desiredHealthy", "disruptionsAllowed"].map(|field| status_number(budget, field));
    if !ready(pod) && (text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" || healthy >= desired && desired > 0) {
        return Ok(());
    }
    if status_number(budget, "observedGeneration") < number(budget, "/metadata/generation").unwrap_or(0) {
        let cause = format!("The disruption budget {} is still being processed by the server.", key.name);
        return Err(Refusal::budget(10, &cause));
    }
    if allowed <= 0 {
        return Err(Refusal::budget(0, &cause(&key.name, budget, healthy, desired)));
    }
    if !options.dry_run {
        let name = text(pod, "/metadata/name").to_owned();
        store.change(key, |budget| {
            budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
            budget["status"]["disruptedPods"][name] = json!(now());
        });
    }
    Ok(())
}

fn cause(name: &str, budget: &Value, healthy: i64, desired: i64) -> String {
    let no = |condition: &&Value| condition["type"] == "DisruptionAllowed" && condition["status"] == "False";
    let condition = items(budget, "/status/conditions").iter().find(no).filter(|found| !text(found, "/message").is_empty());
    match condition.map(|found| (text(found, "/reason"), text(found, "/message"))) {
        Some(("SyncFailed", message)) => {
            format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}")
        }
        _ if healthy <= desired => format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"),
        Some((reason, message)) => format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn mark_disrupted(pod: &mut Value) {
    let mark = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastTransitionTime": now(),
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            if !conditions.iter().any(|condition| condition["type"] == "DisruptionTarget") {
                conditions.push(mark);
            }
        }
        None => pod["status"]["conditions"] = json!([mark]),
    }
}

fn status_number(budget: &Value, field: &str) -> i64 {
    number(budget, &format!("/status/{field}")).unwrap_or(0)
}
