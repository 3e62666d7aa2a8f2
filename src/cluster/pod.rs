//! Pods: who made one, and whether it is on its way out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{PodKey, Uid};

/// The annotation the kubelet puts on the mirror of a static pod: the API cannot end such a pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// One Pod.
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
}

/// What controls a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// `apiVersion`, as `apps/v1`.
    pub api_version: String,
    /// `kind`, as `DaemonSet`.
    pub kind: String,
    /// `name`.
    pub name: String,
}

/// As much of `status.phase` as a drain asks for.
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
}

#[derive(Default, Deserialize)]
struct WireStatus {
    #[serde(default)]
    phase: String,
}

impl From<WirePod> for Pod {
    fn from(wire: WirePod) -> Self {
        let meta = wire.metadata;
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
        }
    }
}
