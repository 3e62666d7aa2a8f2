//! Deployments and ReplicaSets. A changed Deployment is left alone: rollouts and scaling are not simulated.

use serde_json::{Value, json};

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

/// Counts the active pods of an owner where they are: copying them takes too long in a big cluster.
fn count(store: &Store, owner: &Value) -> usize {
    let uid = &owner["metadata"]["uid"];
    let pods = store.list("pods", text(owner, "/metadata/namespace")).map(|(_, pod)| pod);
    pods.filter(|pod| controller(pod).is_some_and(|reference| reference["uid"] == *uid) && active(pod)).count()
}
