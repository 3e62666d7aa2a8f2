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
    if !ready(pod) && healthy >= desired && desired > 0 {
        return Ok(());
    }
    if allowed <= 0 {
        return Err(Refusal::budget(&cause(&key.name, healthy, desired)));
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

fn cause(name: &str, healthy: i64, desired: i64) -> String {
    if healthy <= desired {
        return format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
    }
    format!("The disruption budget {name} does not allow evicting pods currently")
}

fn status_number(budget: &Value, field: &str) -> i64 {
    number(budget, &format!("/status/{field}")).unwrap_or(0)
}
