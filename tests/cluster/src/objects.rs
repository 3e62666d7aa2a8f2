//! Kubernetes objects as a test wants them: small pods, Nodes of a realistic size. Values only; [`crate::fleet`] creates them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::kubelet::TERMINATION_MS;

/// Nodes on which pods may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// Any node.
    Free,
    /// Only this node, by its hostname label.
    On(&'a str),
}

/// A Deployment whose pods carry the label `app` with its name.
pub fn deployment(namespace: &str, name: &str, replicas: u32, placement: Placement<'_>) -> Value {
    let spec = json!({"replicas": replicas, "selector": selector(name), "template": template(name, placement)});
    object("apps/v1", "Deployment", Some(namespace), name, &spec)
}

/// A StatefulSet whose pods all start at once.
pub fn stateful_set(namespace: &str, name: &str, replicas: u32, placement: Placement<'_>) -> Value {
    let spec = json!({
        "replicas": replicas, "selector": selector(name), "template": template(name, placement),
        "serviceName": name, "podManagementPolicy": "Parallel",
    });
    object("apps/v1", "StatefulSet", Some(namespace), name, &spec)
}

/// A DaemonSet: a pod on each node.
pub fn daemon_set(namespace: &str, name: &str) -> Value {
    let spec = json!({"selector": selector(name), "template": template(name, Placement::Free)});
    object("apps/v1", "DaemonSet", Some(namespace), name, &spec)
}

/// A pod without an owner on `node` that takes `ends_after` to end, once it is evicted.
pub fn slow_pod(namespace: &str, name: &str, node: &str, ends_after: Duration) -> Value {
    let mut pod = bare_pod(namespace, name, Placement::On(node));
    pod["metadata"]["annotations"] = json!({ TERMINATION_MS: ends_after.as_millis().to_string() });
    pod["spec"]["terminationGracePeriodSeconds"] = json!(ends_after.as_secs() + 10);
    pod
}

/// A pod without a controller.
pub fn bare_pod(namespace: &str, name: &str, placement: Placement<'_>) -> Value {
    let mut pod = object("v1", "Pod", Some(namespace), name, &template(name, placement)["spec"]);
    pod["metadata"]["labels"] = labels(name);
    pod
}

/// A Node without its status.
pub fn node(name: &str, more_labels: &Map<String, Value>, taints: &[Value]) -> Value {
    let mut node = object("v1", "Node", None, name, &json!({"taints": taints}));
    node["metadata"]["labels"] = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
    for (key, value) in more_labels {
        node["metadata"]["labels"][key] = value.clone();
    }
    node
}

/// The status that the kubelet of a node reports.
pub fn node_status(name: &str, machine_id: &str, boot_id: &str) -> Value {
    let resources = json!({"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "nodeInfo": {
            "machineID": machine_id, "systemUUID": machine_id, "bootID": boot_id, "kernelVersion": "6.12.0", "osImage": "Fedora CoreOS",
            "containerRuntimeVersion": "containerd://2.1.0", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "capacity": resources,
        "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": name}],
        "conditions": node_conditions("True"),
    })
}

/// The conditions of a node: its readiness as given, no pressure.
pub fn node_conditions(ready: &str) -> Value {
    let now = now();
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now});
    json!([
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        condition("Ready", ready, if ready == "True" { "KubeletReady" } else { "KubeletNotReady" }),
    ])
}

/// Thirty images, as a node that has run for a while reports them: most of what a Node weighs.
pub fn images() -> Value {
    let image = |number: u64| {
        let repository = format!("registry.example/platform/component-{number:02}");
        let digest = format!("{number:016x}").repeat(4);
        let names = [format!("{repository}@sha256:{digest}"), format!("{repository}-with-a-longer-name-as-they-have:v1.{number}.0")];
        let more = format!("registry.example/mirror/of/platform/with/a/long/path/component-{number:02}:v1.{number}.0");
        json!({"names": [names[0], names[1], more], "sizeBytes": 50_000_000 + number})
    };
    (0..30).map(image).collect()
}

/// The current time as the API writes it.
pub fn now() -> String {
    clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The current time of the simulated cluster and of the kubelets.
pub(crate) fn clock() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(AHEAD.load(Ordering::Relaxed))
}

/// Sets the clock of all simulated clusters and kubelets of this process to `seconds` from now, as [`crate::server::Start::clock`] does for
/// a server.
pub fn set_clock(seconds: i64) {
    AHEAD.store(seconds, Ordering::Relaxed);
}

static AHEAD: AtomicI64 = AtomicI64::new(0);

pub(crate) fn object(version: &str, kind: &str, namespace: Option<&str>, name: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
}

fn labels(app: &str) -> Value {
    json!({ "app": app })
}

pub(crate) fn selector(app: &str) -> Value {
    json!({ "matchLabels": labels(app) })
}

pub(crate) fn template(app: &str, placement: Placement<'_>) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "registry.example/test/main:1"}],
    });
    if let Placement::On(node) = placement {
        spec["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
    }
    json!({"metadata": {"labels": labels(app)}, "spec": spec})
}
