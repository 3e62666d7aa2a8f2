//! `POST pods/NAME/eviction`: the order of the checks and the wording are those of the real server
//! (Kubernetes, `pkg/registry/core/pod/storage/eviction.go`).
//!
//! The budget is asked before the preconditions, as there: a wrong uid under a spent budget is a 429, and under a budget with room it costs a
//! disruption. Left out: the ten seconds for which the real server repeats an eviction of a Pending pod with a wrong uid.

use serde_json::{Value, json};

use super::delete::{self, Options};
use super::selector;
use super::status::{self, Refusal};
use super::store::{Key, Store, finished, now, number, ready, terminating, text};
use crate::resources::Resource;

/// Evicts the pod, or returns the refusal.
pub(super) fn evict(store: &mut Store, namespace: &str, name: &str, eviction: &Value) -> Result<Value, Refusal> {
    if text(eviction, "/metadata/name") != name {
        return Err(Refusal::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = Options::read(&eviction["deleteOptions"]);
    let key = Key::new("pods", namespace, name);
    let Some(pod) = store.get(&key).cloned() else { return Err(Refusal::not_found(Resource::plural("pods"), name)) };
    let unprotected = finished(&pod) || text(&pod, "/status/phase") == "Pending" || terminating(&pod);
    if !unprotected {
        ask_budget(store, &pod)?;
    }
    if let Some(why) = options.unmet(&pod) {
        // This conflict names the kind where the others name the resource.
        let message = format!("Operation cannot be fulfilled on Pod \"{name}\": {why}");
        return Err(Refusal::new(409, "Conflict", &message, &json!({"name": name, "kind": "Pod"})));
    }
    delete::delete(store, Resource::plural("pods"), &key, &options)?;
    Ok(status::success(&Value::Null))
}

fn ask_budget(store: &mut Store, pod: &Value) -> Result<(), Refusal> {
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
        _ => {
            // The server does not know which budget to ask. The real one gives no reason either.
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Refusal::new(500, "", message, &Value::Null));
        }
    };
    let [healthy, desired, allowed] = ["currentHealthy", "desiredHealthy", "disruptionsAllowed"].map(|field| status_number(budget, field));
    if !ready(pod) && healthy >= desired && desired > 0 {
        return Ok(());
    }
    if allowed <= 0 {
        let name = &key.name;
        let cause = match healthy <= desired {
            true => format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"),
            false => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        let details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        return Err(Refusal::new(429, "TooManyRequests", message, &details));
    }
    let name = text(pod, "/metadata/name").to_owned();
    store.change(key, |budget| {
        budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
        budget["status"]["disruptedPods"][name] = json!(now());
    });
    Ok(())
}

fn status_number(budget: &Value, field: &str) -> i64 {
    number(budget, &format!("/status/{field}")).unwrap_or(0)
}
