//! Deployments and ReplicaSets. A changed template replaces all pods at once: there are no rollouts in steps.

use serde_json::{Value, json};

use super::{active, all, create, create_pod, delete_pod, owned, reference};
use crate::resources::Resource;
use crate::simulated::store::{Key, Store, controller, number, ready, text};

pub(super) fn deployments(store: &mut Store) {
    for deployment in all(store, "deployments") {
        let namespace = text(&deployment, "/metadata/namespace");
        let hash = hash(&deployment["spec"]["template"]);
        let current = format!("{}-{hash}", text(&deployment, "/metadata/name"));
        let sets = owned(store, "replicasets", &deployment);
        for set in &sets {
            let wanted = if text(set, "/metadata/name") == current { deployment["spec"]["replicas"].clone() } else { json!(0) };
            store.change(&Key::of("replicasets", set), |set| {
                if set["spec"]["replicas"] != wanted {
                    set["spec"]["replicas"] = wanted;
                    set["metadata"]["generation"] = json!(number(set, "/metadata/generation").unwrap_or(0) + 1);
                }
            });
        }
        if !sets.iter().any(|set| text(set, "/metadata/name") == current) {
            create(store, "replicasets", namespace, replicaset(&deployment, &current, &hash));
        }
        let count = sets.iter().map(|set| count(store, set)).fold(Count::default(), |sum, set| sum.plus(set));
        write_status(store, "deployments", &deployment, count, "updatedReplicas");
    }
}

fn replicaset(deployment: &Value, name: &str, hash: &str) -> Value {
    let mut spec = json!({
        "replicas": deployment["spec"]["replicas"], "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"],
    });
    spec["selector"]["matchLabels"]["pod-template-hash"] = json!(hash);
    spec["template"]["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let owners = json!([reference(Resource::plural("deployments"), deployment)]);
    json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1", "spec": spec,
        "metadata": {"name": name, "labels": spec["template"]["metadata"]["labels"], "ownerReferences": owners},
    })
}

pub(super) fn replicasets(store: &mut Store) {
    for set in all(store, "replicasets") {
        let present = count(store, &set).active;
        let wanted = usize::try_from(number(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        for _ in present..wanted {
            create_pod(store, "replicasets", &set, "", "");
        }
        if present > wanted {
            shrink(store, &set, wanted);
        }
        let count = count(store, &set);
        write_status(store, "replicasets", &set, count, "fullyLabeledReplicas");
    }
}

fn shrink(store: &mut Store, set: &Value, wanted: usize) {
    let mut pods = owned(store, "pods", set);
    pods.retain(active);
    // Those go first that do the least: without a node, not Ready, and of those the ones written last.
    pods.sort_by_key(|pod| {
        let revision = text(pod, "/metadata/resourceVersion").parse::<u64>().unwrap_or(0);
        (text(pod, "/spec/nodeName").is_empty(), !ready(pod), revision)
    });
    for pod in pods.iter().skip(wanted) {
        delete_pod(store, pod);
    }
}

/// The pods of an owner, counted where they are: copying them takes too long in a big cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) active: usize,
    pub(super) ready: usize,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { active: self.active + other.active, ready: self.ready + other.ready }
    }
}

pub(super) fn count(store: &Store, owner: &Value) -> Count {
    let uid = &owner["metadata"]["uid"];
    let pods = store.list("pods", text(owner, "/metadata/namespace")).map(|(_, pod)| pod);
    let ours = pods.filter(|pod| controller(pod).is_some_and(|reference| reference["uid"] == *uid) && active(pod));
    ours.fold(Count::default(), |sum, pod| sum.plus(Count { active: 1, ready: usize::from(ready(pod)) }))
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

/// Ten letters and digits that identify a template.
fn hash(template: &Value) -> String {
    let mixed =
        template.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{:010x}", mixed & 0xff_ffff_ffff)
}
