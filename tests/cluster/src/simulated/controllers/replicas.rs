//! Deployments and ReplicaSets. A changed Deployment is left alone: rollouts and scaling are not simulated.

use serde_json::{Value, json};

use super::{active, all, create, create_pod, owned, reference};
use crate::resources::Resource;
use crate::simulated::store::{Key, Store, controller, number, ready, text};

pub(super) fn deployments(store: &mut Store) {
    for deployment in all(store, "deployments") {
        let sets = owned(store, "replicasets", &deployment);
        let Some(set) = sets.first() else {
            let resource = Resource::plural("deployments");
            let metadata = json!({
                "generateName": format!("{}-", text(&deployment, "/metadata/name")), "ownerReferences": [reference(resource, &deployment)],
            });
            let set = json!({"kind": "ReplicaSet", "apiVersion": "apps/v1", "spec": deployment["spec"], "metadata": metadata});
            create(store, "replicasets", text(&deployment, "/metadata/namespace"), set);
            continue;
        };
        let count = count(store, set);
        write_status(store, "deployments", &deployment, count, "updatedReplicas");
    }
}

pub(super) fn replicasets(store: &mut Store) {
    for set in all(store, "replicasets") {
        let wanted = usize::try_from(number(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        for _ in count(store, &set).active..wanted {
            create_pod(store, "replicasets", &set, "", "");
        }
        let count = count(store, &set);
        write_status(store, "replicasets", &set, count, "fullyLabeledReplicas");
    }
}

/// The pods of an owner, counted where they are: copying them takes too long in a big cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) active: usize,
    pub(super) ready: usize,
}

pub(super) fn count(store: &Store, owner: &Value) -> Count {
    let uid = &owner["metadata"]["uid"];
    let pods = store.list("pods", text(owner, "/metadata/namespace")).map(|(_, pod)| pod);
    let ours = pods.filter(|pod| controller(pod).is_some_and(|reference| reference["uid"] == *uid) && active(pod));
    ours.fold(Count::default(), |sum, pod| Count { active: sum.active + 1, ready: sum.ready + usize::from(ready(pod)) })
}

/// Writes the counts into the status of an owner.
pub(super) fn write_status(store: &mut Store, plural: &'static str, owner: &Value, count: Count, further: &str) {
    store.change(&Key::of(plural, owner), |owner| {
        let mut status = json!({"replicas": count.active, "observedGeneration": owner["metadata"]["generation"]});
        status[further] = json!(count.active);
        status["readyReplicas"] = json!(count.ready);
        status["availableReplicas"] = json!(count.ready);
        owner["status"] = status;
    });
}
