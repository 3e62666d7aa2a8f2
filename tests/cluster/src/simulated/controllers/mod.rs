//! The controllers: each reads the whole store and writes its changes. They run in turn until none has a change. The only status that they
//! write is that of budgets: no test reads another one.

mod budgets;
mod garbage;
mod scheduler;
mod workloads;

use serde_json::{Map, Value, json};

use super::store::{Store, controller, finished, terminating, text};
use super::write::{self, Place};
use crate::resources::Resource;

/// Runs until nothing changes any more.
pub(super) fn settle(store: &mut Store) {
    for _ in 0..ROUNDS {
        let (touched, removed) = store.take_changes();
        if touched.is_empty() && removed.is_empty() {
            return;
        }
        let touched = |plurals: &[&str]| plurals.iter().any(|plural| touched.contains(plural));
        garbage::collect(store, &removed);
        if touched(&["deployments", "pods", "replicasets"]) {
            workloads::deployments(store);
            workloads::replicasets(store);
        }
        if touched(&["pods", "statefulsets"]) {
            workloads::stateful_sets(store);
        }
        if touched(&["daemonsets", "nodes", "pods"]) {
            workloads::daemon_sets(store);
        }
        if touched(&["jobs", "pods"]) {
            workloads::jobs(store);
        }
        if touched(&["nodes", "pods"]) {
            scheduler::run(store);
        }
        if touched(&["deployments", "poddisruptionbudgets", "pods", "replicasets", "statefulsets"]) {
            budgets::run(store);
        }
    }
    panic!("the controllers do not come to rest");
}

/// All objects of a resource, copied so that the store can be written meanwhile.
fn all(store: &Store, plural: &'static str) -> Vec<Value> {
    store.list(plural, "").map(|(_, object)| object.clone()).collect()
}

/// The objects of a resource that this object controls.
fn owned(store: &Store, plural: &'static str, owner: &Value) -> Vec<Value> {
    let namespace = text(owner, "/metadata/namespace");
    let uid = &owner["metadata"]["uid"];
    let ours = |object: &&Value| controller(object).is_some_and(|reference| reference["uid"] == *uid);
    store.list(plural, namespace).map(|(_, object)| object).filter(ours).cloned().collect()
}

/// The reference that makes `owner` the controller of an object.
fn reference(resource: &Resource, owner: &Value) -> Value {
    json!({
        "apiVersion": resource.api_version(), "kind": resource.kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Creates a pod from the template of its owner. An empty name lets the store choose one; `node` may be empty.
fn create_pod(store: &mut Store, plural: &'static str, owner: &Value, name: &str, node: &str) {
    let resource = Resource::plural(plural);
    let template = &owner["spec"]["template"];
    let mut metadata = template["metadata"].as_object().cloned().unwrap_or_else(Map::new);
    if name.is_empty() {
        metadata.insert("generateName".to_owned(), json!(format!("{}-", text(owner, "/metadata/name"))));
    } else {
        metadata.insert("name".to_owned(), json!(name));
    }
    metadata.insert("ownerReferences".to_owned(), json!([reference(resource, owner)]));
    let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"]});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    create(store, "pods", text(owner, "/metadata/namespace"), pod);
}

/// Creates an object. That its namespace is gone, or that it is there already, shows in the next round.
fn create(store: &mut Store, plural: &'static str, namespace: &str, object: Value) {
    let place = Place { resource: Resource::plural(plural), namespace, name: "", subresource: "", dry_run: false };
    let _ = write::create(store, &place, object);
}

/// Reports whether a pod counts as a replica of its owner.
fn active(pod: &Value) -> bool {
    !terminating(pod) && !finished(pod)
}

/// More rounds than any chain of effects has steps; a StatefulSet takes one round a pod.
const ROUNDS: usize = 10_000;
