//! Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs create their pods. Rollouts, scaling, taints that come later and pods that fail are
//! not simulated.

use serde_json::{Value, json};

use super::scheduler::tolerates_taints;
use super::{active, all, create, create_pod, owned, reference};
use crate::resources::Resource;
use crate::simulated::store::{Store, controller, number, text};

pub(super) fn deployments(store: &mut Store) {
    for deployment in all(store, "deployments") {
        let sets = owned(store, "replicasets", &deployment);
        if sets.is_empty() {
            let resource = Resource::plural("deployments");
            let metadata = json!({
                "generateName": format!("{}-", text(&deployment, "/metadata/name")), "ownerReferences": [reference(resource, &deployment)],
            });
            let set = json!({"kind": "ReplicaSet", "apiVersion": "apps/v1", "spec": deployment["spec"], "metadata": metadata});
            create(store, "replicasets", text(&deployment, "/metadata/namespace"), set);
        }
    }
}

pub(super) fn replicasets(store: &mut Store) {
    for set in all(store, "replicasets") {
        let wanted = usize::try_from(number(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        for _ in count(store, &set)..wanted {
            create_pod(store, "replicasets", &set, "", "");
        }
    }
}

/// Creates all pods of a StatefulSet at once (`podManagementPolicy: Parallel`). A name is free again once its pod is gone.
pub(super) fn stateful_sets(store: &mut Store) {
    for set in all(store, "statefulsets") {
        let pods = owned(store, "pods", &set);
        for index in 0..number(&set, "/spec/replicas").unwrap_or(1) {
            let name = format!("{}-{index}", text(&set, "/metadata/name"));
            if !pods.iter().any(|pod| text(pod, "/metadata/name") == name) {
                create_pod(store, "statefulsets", &set, &name, "");
            }
        }
    }
}

/// Creates a pod on every node whose taints a DaemonSet tolerates, also on cordoned nodes.
pub(super) fn daemon_sets(store: &mut Store) {
    for mut set in all(store, "daemonsets") {
        tolerate(&mut set);
        let pods = owned(store, "pods", &set);
        for node in all(store, "nodes") {
            let name = text(&node, "/metadata/name");
            let runs = pods.iter().any(|pod| text(pod, "/spec/nodeName") == name);
            if !runs && tolerates_taints(&set["spec"]["template"], &node) {
                create_pod(store, "daemonsets", &set, "", name);
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

/// Creates as many pods of a Job as are allowed at once, until enough have succeeded.
pub(super) fn jobs(store: &mut Store) {
    for job in all(store, "jobs") {
        let pods = owned(store, "pods", &job);
        let succeeded = pods.iter().filter(|pod| text(pod, "/status/phase") == "Succeeded").count();
        let running = pods.iter().filter(|pod| active(pod)).count();
        let limit = |field: &str| usize::try_from(number(&job, field).unwrap_or(1)).unwrap_or(0);
        let wanted = limit("/spec/parallelism").min(limit("/spec/completions").saturating_sub(succeeded));
        for _ in running..wanted {
            create_pod(store, "jobs", &job, "", "");
        }
    }
}

/// Counts the active pods of an owner where they are: copying them takes too long in a big cluster.
fn count(store: &Store, owner: &Value) -> usize {
    let uid = &owner["metadata"]["uid"];
    let pods = store.list("pods", text(owner, "/metadata/namespace")).map(|(_, pod)| pod);
    pods.filter(|pod| controller(pod).is_some_and(|reference| reference["uid"] == *uid) && active(pod)).count()
}
