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
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// `metadata.uid`.
    pub uid: Uid,
    /// The owner reference with `controller: true`.
    pub controller: Option<Controller>,
    /// The mirror of a static pod.
    pub mirror: bool,
    /// `metadata.creationTimestamp`, whole seconds.
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`: when its grace period ends; set once it is terminating.
    pub ends: Option<Timestamp>,
    /// `status.phase`.
    pub phase: Phase,
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

/// The controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// `apiVersion`, as `apps/v1`.
    pub api_version: String,
    /// `kind`, as `DaemonSet`.
    pub kind: String,
    /// `name`.
    pub name: String,
}

/// `status.phase`, as far as a drain needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// `Succeeded` or `Failed`: its containers have ended for good.
    Finished,
    /// Anything else.
    #[default]
    Live,
}

#[derive(Deserialize)]
struct WirePod {
    metadata: WireMetadata,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Deserialize)]
struct WireMetadata {
    name: String,
    namespace: String,
    #[serde(default)]
    uid: Uid,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "ownerReferences")]
    owners: Option<Vec<WireOwner>>,
    #[serde(default, rename = "creationTimestamp")]
    created: Option<Timestamp>,
    #[serde(default, rename = "deletionTimestamp")]
    ends: Option<Timestamp>,
    #[serde(default, rename = "managedFields")]
    managed_fields: Option<Vec<WireManager>>,
}

/// The fields that one client has written. All but `f:nodeName` are skipped while they are read: they are half of what a pod weighs.
#[derive(Deserialize)]
struct WireManager {
    #[serde(default, rename = "fieldsV1")]
    fields: Option<WireFields>,
}

#[derive(Deserialize)]
struct WireFields {
    #[serde(default, rename = "f:spec")]
    spec: Option<WireSpecFields>,
}

#[derive(Deserialize)]
struct WireSpecFields {
    #[serde(default, rename = "f:nodeName")]
    node_name: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireOwner {
    #[serde(default)]
    controller: Option<bool>,
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct WireSpec {
    #[serde(default, rename = "serviceAccountName")]
    service_account: String,
    #[serde(default)]
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Default, Deserialize)]
struct WireStatus {
    #[serde(default)]
    phase: String,
}

impl From<WirePod> for Pod {
    fn from(wire: WirePod) -> Self {
        let (meta, tolerations) = (wire.metadata, wire.spec.tolerations.unwrap_or_default());
        let cordon = Taint::of_cordon();
        let controller = meta.owners.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
        Self {
            key: PodKey { namespace: meta.namespace, name: meta.name },
            uid: meta.uid,
            controller: controller.map(|WireOwner { api_version, kind, name, .. }| Controller { api_version, kind, name }),
            mirror: meta.annotations.unwrap_or_default().contains_key(MIRROR),
            created: meta.created,
            ends: meta.ends,
            phase: if matches!(wire.status.phase.as_str(), "Succeeded" | "Failed") { Phase::Finished } else { Phase::Live },
            service_account: wire.spec.service_account,
            tolerates_cordon: tolerations.iter().any(|toleration| toleration.tolerates(&cordon)),
            tolerations,
            bound_at_creation: meta.managed_fields.unwrap_or_default().iter().any(WireManager::named_the_node),
        }
    }
}

impl WireManager {
    fn named_the_node(&self) -> bool {
        self.fields.as_ref().and_then(|fields| fields.spec.as_ref()).is_some_and(|spec| spec.node_name.is_some())
    }
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
    fn one_toleration_of_the_cordon_is_enough() {
        let (not_ready, all) = (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}), json!({"operator": "Exists"}));
        for (tolerations, tolerates) in [(json!([]), false), (json!([not_ready]), false), (json!([not_ready, all]), true)] {
            assert_eq!(pod(&Value::Null, &tolerations).tolerates_cordon, tolerates, "{tolerations}");
        }
    }
}
