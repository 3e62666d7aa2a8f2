//! Takes everything a scenario may have left out of a control plane, so that the next one finds it as new.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::wait::wait_for;

/// Empties the cluster and waits until it is empty.
pub(super) fn empty(admin: &Api) {
    // Each namespace keeps a ConfigMap of Kubernetes' own, so this one goes by its name; it may not be there.
    admin.delete("/api/v1/namespaces/reboot-manager/configmaps/reboot-manager-ca", None);
    wait_for("an empty cluster", EMPTY_MAX, || {
        let left: Vec<String> = KINDS.into_iter().filter_map(|kind| sweep(admin, kind)).chain(secrets(admin)).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
}

/// Deletes all objects of a kind in all namespaces; returns their number as a message.
fn sweep(admin: &Api, (group, kind): (&str, &str)) -> Option<String> {
    let items = items(admin, &format!("{group}/{kind}"));
    let namespaces: BTreeSet<Option<&str>> = items.iter().map(|item| item["metadata"]["namespace"].as_str()).collect();
    for namespace in namespaces {
        let place = namespace.map_or_else(String::new, |name| format!("namespaces/{name}/"));
        delete(admin, &format!("{group}/{place}{kind}"));
    }
    if ["nodes", "pods"].contains(&kind) {
        items.iter().for_each(|item| release(admin, kind, item));
    }
    (!items.is_empty()).then(|| format!("{} {kind}", items.len()))
}

/// Leases and Secrets are everywhere; only those of the program under test and of kubelets go.
fn secrets(admin: &Api) -> Vec<String> {
    let places = [
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
        "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases",
        "/api/v1/namespaces/reboot-manager/secrets",
    ];
    places.into_iter().filter(|place| !items(admin, place).is_empty()).inspect(|place| delete(admin, place)).map(str::to_owned).collect()
}

/// Removes the finalizers of a pod or node. Without its controller, a pod of a Job keeps its finalizer.
fn release(admin: &Api, kind: &str, item: &Value) {
    let metadata = &item["metadata"];
    if let (true, Some(name)) = (metadata["finalizers"].is_array(), metadata["name"].as_str()) {
        let place = metadata["namespace"].as_str().map_or_else(String::new, |namespace| format!("namespaces/{namespace}/"));
        admin.merge(&format!("/api/v1/{place}{kind}/{name}"), &json!({"metadata": {"finalizers": null}}));
    }
}

fn items(admin: &Api, path: &str) -> Vec<Value> {
    match admin.get(path).ok()["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn delete(admin: &Api, path: &str) {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"});
    admin.call("DELETE", path, "application/json", Some(&options)).ok();
}

/// Owners come before the objects that they own.
const KINDS: [(&str, &str); 13] = [
    ("/apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    ("/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"),
    ("/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/batch/v1", "cronjobs"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "statefulsets"),
    ("/apis/apps/v1", "daemonsets"),
    ("/apis/batch/v1", "jobs"),
    ("/apis/apps/v1", "replicasets"),
    ("/api/v1", "nodes"),
    ("/api/v1", "pods"),
];

/// Limit of a reset, which takes less than two seconds on an idle machine.
const EMPTY_MAX: Duration = Duration::from_secs(30);
