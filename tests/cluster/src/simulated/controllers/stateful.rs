//! StatefulSets: pods in order, each under its own name; a name is free again when its pod is gone.

use serde_json::Value;

use super::replicas::{count, write_status};
use super::{active, all, create_pod, delete_pod, owned};
use crate::simulated::store::{Store, finished, number, ready, terminating, text};

pub(super) fn run(store: &mut Store) {
    for set in all(store, "statefulsets") {
        reconcile(store, &set);
        let count = count(store, &set);
        write_status(store, "statefulsets", &set, count, "currentReplicas");
    }
}

fn reconcile(store: &mut Store, set: &Value) {
    let pods = owned(store, "pods", set);
    let wanted = number(set, "/spec/replicas").unwrap_or(1);
    let parallel = text(set, "/spec/podManagementPolicy") == "Parallel";
    for index in 0..wanted {
        let name = format!("{}-{index}", text(set, "/metadata/name"));
        match pods.iter().find(|pod| text(pod, "/metadata/name") == name) {
            None => create_pod(store, "statefulsets", set, &name, ""),
            Some(pod) if finished(pod) && !terminating(pod) => delete_pod(store, pod),
            Some(pod) if active(pod) && ready(pod) => continue,
            Some(_) => {}
        }
        // The next one waits until this one is Ready.
        if !parallel {
            return;
        }
    }
    let last = pods.iter().filter(|pod| ordinal(pod) >= wanted).max_by_key(|pod| ordinal(pod));
    if let Some(pod) = last.filter(|pod| !terminating(pod)) {
        delete_pod(store, pod);
    }
}

fn ordinal(pod: &Value) -> i64 {
    text(pod, "/metadata/name").rsplit('-').next().and_then(|index| index.parse().ok()).unwrap_or(0)
}
