//! Pods: the controller, the binding to the node, and the phase of each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::toleration::{Taint, Toleration};
use super::{PodKey, Uid};

/// The annotation that the kubelet sets on the mirror of a static pod. The API cannot end that pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WirePod")]
#[serde(expecting = "an object")]
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// `metadata.uid`.
    pub uid: Uid,
    /// The owner reference with `controller: true`.
    pub controller: Option<Owner>,
    /// The mirror of a static pod.
    pub mirror: bool,
    /// `metadata.creationTimestamp`, whole seconds.
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`: when its grace period ends; set once it is terminating.
    pub ends: Option<Timestamp>,
    /// `metadata.finalizers`, which keep the object after its containers have ended; kept for terminating pods only.
    pub finalizers: Vec<String>,
    /// `status.phase` is `Succeeded` or `Failed`: all containers have ended for good.
    pub finished: bool,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `spec.tolerations`: the scheduler may place it on a cordoned node.
    pub tolerates_cordon: bool,
    /// `spec.tolerations`; kept for pods of this program only.
    pub tolerations: Vec<Toleration>,
    /// Created with `spec.nodeName`, so bound without the scheduler. `metadata.managedFields` shows it: the API server records the field for
    /// whatever created the pod with it, and not for a binding.
    pub bound_at_creation: bool,
}

/// An owner of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
pub struct Owner {
    /// `controller`: true for the one owner that looks after the pod.
    pub controller: Option<bool>,
    /// `apiVersion`, as `apps/v1`.
    pub api_version: String,
    /// `kind`, as `DaemonSet`.
    pub kind: String,
    /// `name`.
    pub name: String,
    /// `uid`: distinguishes the owner from a later one of the same name.
    #[serde(default)]
    pub uid: Uid,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WirePod {
    metadata: WireMetadata,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
struct WireMetadata {
    name: String,
    namespace: String,
    #[serde(default)]
    uid: Uid,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    finalizers: Option<Vec<String>>,
    managed_fields: Option<Vec<WireManager>>,
}

/// The fields that one client has written. All but `f:nodeName` are skipped while they are read: they are half of what a pod weighs.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireManager {
    #[serde(rename = "fieldsV1")]
    fields: Option<WireFields>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireFields {
    #[serde(rename = "f:spec")]
    spec: Option<WireSpecFields>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireSpecFields {
    #[serde(rename = "f:nodeName")]
    node_name: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[serde(expecting = "an object")]
struct WireSpec {
    service_account_name: String,
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[serde(expecting = "an object")]
struct WireStatus {
    phase: String,
}

impl From<WirePod> for Pod {
    fn from(wire: WirePod) -> Self {
        let (meta, tolerations) = (wire.metadata, wire.spec.tolerations.unwrap_or_default());
        let cordon = Taint::of_cordon();
        Self {
            key: PodKey { namespace: meta.namespace, name: meta.name },
            uid: meta.uid,
            controller: meta.owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true)),
            mirror: meta.annotations.unwrap_or_default().contains_key(MIRROR),
            created: meta.creation_timestamp,
            ends: meta.deletion_timestamp,
            finalizers: meta.finalizers.filter(|_| meta.deletion_timestamp.is_some()).unwrap_or_default(),
            finished: matches!(wire.status.phase.as_str(), "Succeeded" | "Failed"),
            service_account: wire.spec.service_account_name,
            tolerates_cordon: tolerations.iter().any(|toleration| toleration.tolerates(&cordon)),
            tolerations,
            bound_at_creation: meta.managed_fields.into_iter().flatten().any(names_the_node),
        }
    }
}

fn names_the_node(manager: WireManager) -> bool {
    manager.fields.and_then(|fields| fields.spec).is_some_and(|spec| spec.node_name.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(managed_fields: &Value, tolerations: &Value) -> Pod {
        let pod = json!({"metadata": {"name": "p", "namespace": "shop", "managedFields": managed_fields},
            "spec": {"nodeName": "n1", "tolerations": tolerations}});
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[test]
    fn a_pod_is_bound_at_creation_when_a_client_wrote_its_node_name() {
        let manager = |fields: Value| json!({"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let containers = json!({"k:{\"name\":\"main\"}": {".": {}, "f:image": {}}});
        let by_controller = manager(json!({"f:metadata": {"f:labels": {".": {}}}, "f:spec": {"f:containers": containers}}));
        let by_kubelet = manager(json!({"f:status": {"f:phase": {}, "f:nominatedNodeName": {}}}));
        let with_node = manager(json!({"f:spec": {"f:containers": containers, "f:nodeName": {}}}));
        let elsewhere = manager(json!({"f:nodeName": {}, "f:spec": {"f:affinity": {"f:nodeName": {}}}, "f:status": {"f:nodeName": {}}}));
        let cases = [
            (Value::Null, false),
            (json!([]), false),
            (json!([{"manager": "m"}, {"manager": "m", "fieldsV1": null}]), false),
            (json!([by_controller, by_kubelet]), false),
            (json!([elsewhere]), false),
            (json!([with_node]), true),
            (json!([by_kubelet, with_node]), true),
        ];
        for (managed_fields, bound) in cases {
            assert_eq!(pod(&managed_fields, &Value::Null).bound_at_creation, bound, "{managed_fields}");
        }
    }

    #[test]
    fn finalizers_are_kept_of_a_terminating_pod() {
        let pod = |ends: &Value, finalizers: &Value| -> Vec<String> {
            let pod = json!({"metadata": {"name": "p", "namespace": "shop", "deletionTimestamp": ends, "finalizers": finalizers}});
            serde_json::from_value::<Pod>(pod).unwrap().finalizers
        };
        let (ends, finalizers) = (json!("2026-01-01T00:00:00Z"), json!(["a.example/x", "b.example/y"]));
        assert_eq!(pod(&ends, &finalizers), ["a.example/x", "b.example/y"]);
        assert!(pod(&ends, &Value::Null).is_empty() && pod(&Value::Null, &finalizers).is_empty());
    }

    #[test]
    fn one_toleration_of_the_cordon_is_enough() {
        let (not_ready, all) = (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}), json!({"operator": "Exists"}));
        for (tolerations, tolerates) in [(json!([]), false), (json!([not_ready]), false), (json!([not_ready, all]), true)] {
            assert_eq!(pod(&Value::Null, &tolerations).tolerates_cordon, tolerates, "{tolerations}");
        }
    }
}
