//! A Node as the fleet view keeps it: small, because there may be thousands.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::node::WireNode;
use super::{CordonRecord, MachineId, NodeMeta, NodeName, PackedId, ReadyCondition, Status, Waiting};

/// A Node of the fleet, decoded from the whole object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireNode")]
#[serde(expecting = "an object")]
pub struct Member {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: PackedId,
    /// `metadata.resourceVersion` as a number; `None`: this server's versions cannot be compared.
    pub version: Option<u128>,
    /// `status.nodeInfo.machineID`; `None` when it is invalid.
    pub machine_id: Option<MachineId>,
    /// `status.nodeInfo.bootID`.
    pub boot_id: PackedId,
    /// The condition `Ready`.
    pub readiness: ReadyCondition,
    /// `lastTransitionTime` of that condition.
    pub readiness_since: Option<Timestamp>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The annotation [`super::STATUS`].
    pub status: Status,
    /// The annotation [`super::CORDON`]; boxed, because few nodes have one.
    pub record: Option<Box<CordonRecord>>,
    /// The annotation [`super::WAITING`]; boxed, because few nodes wait at a time.
    pub waiting: Option<Box<Waiting>>,
    /// Presence of a label of [`super::CONTROL_PLANE`].
    pub control_plane: bool,
    /// The label `topology.kubernetes.io/zone`; shared by the members of a zone.
    pub zone: Option<Arc<str>>,
    /// `status.nodeInfo.osImage`; shared by the members that run it.
    pub os_image: Option<Arc<str>>,
}

/// Reason for which a node counts as unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unavailable {
    /// `spec.unschedulable`, set by anyone.
    Cordoned,
    /// The condition `Ready` is `False` or `Unknown`.
    NotReady,
    /// The annotation `rebootmanager/status` is `Rebooting`.
    Rebooting,
}

impl Member {
    /// Reports whether the rebooting annotation or a cordon record of ours is set: the node counts as rebooting, or must be restored.
    pub fn has_our_annotations(&self) -> bool {
        self.status == Status::Rebooting || self.record.is_some()
    }

    /// Returns why the node counts as unavailable; `None` if it is available. A Node without the condition `Ready` has no kubelet yet
    /// and counts as available.
    pub fn unavailable(&self) -> Option<Unavailable> {
        match () {
            () if self.status == Status::Rebooting => Some(Unavailable::Rebooting),
            () if self.readiness == ReadyCondition::NotReady => Some(Unavailable::NotReady),
            () if self.unschedulable => Some(Unavailable::Cordoned),
            () => None,
        }
    }

    /// Reports whether this is the state that the write of `own` made, or a later one of the same Node with the same record.
    pub fn shows(&self, own: &NodeMeta) -> bool {
        let same = self.uid == PackedId::from(own.uid.0.as_str()) && self.record.as_deref() == own.record.as_ref();
        same && self.version >= own.version.number()
    }
}

impl From<WireNode> for Member {
    fn from(mut wire: WireNode) -> Self {
        let (readiness, readiness_since) = wire.status.conditions.readiness();
        let labels = wire.metadata.labels.take().unwrap_or_default();
        let info = wire.status.info;
        let NodeMeta { name, uid, version, status, record, waiting } = wire.metadata.into();
        Self {
            name,
            uid: PackedId::from(uid.0.as_str()),
            version: version.number(),
            machine_id: MachineId::parse(&info.machine_id),
            boot_id: PackedId::from(info.boot_id.as_str()),
            readiness,
            readiness_since,
            unschedulable: wire.spec.unschedulable.unwrap_or(false),
            status,
            record: record.map(Box::new),
            waiting: waiting.map(Box::new),
            control_plane: labels.include_control_plane(),
            zone: labels.zone.map(Into::into),
            os_image: (!info.os_image.is_empty()).then(|| info.os_image.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::{CONTROL_PLANE, Node};

    fn read(wire: &Value) -> Member {
        serde_json::from_value(wire.clone()).unwrap()
    }

    #[test]
    fn a_control_plane_node_is_unavailable_for_one_of_three_reasons() {
        let node = |status: &str, ready: &str, unschedulable: bool| {
            json!({"metadata": {"name": "cp", "annotations": {"rebootmanager/status": status}}, "spec": {"unschedulable": unschedulable},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}})
        };
        let cases = [
            (node("Ready", "True", false), None),
            (node("Ready", "True", true), Some(Unavailable::Cordoned)),
            (node("Ready", "False", false), Some(Unavailable::NotReady)),
            (node("Ready", "Unknown", true), Some(Unavailable::NotReady)),
            (node("Rebooting", "True", true), Some(Unavailable::Rebooting)),
            (json!({"metadata": {"name": "cp"}}), None),
        ];
        for (wire, unavailable) in cases {
            assert_eq!(read(&wire).unavailable(), unavailable, "{wire}");
        }
    }

    #[test]
    fn either_label_makes_a_control_plane_node_whatever_its_value() {
        for (label, is) in [(CONTROL_PLANE[0], true), (CONTROL_PLANE[1], true), ("node-role.kubernetes.io/worker", false)] {
            for value in ["", "true", "false"] {
                let wire = json!({"metadata": {"name": "n", "labels": {label: value}}});
                let node: Node = serde_json::from_value(wire.clone()).unwrap();
                assert_eq!((node.control_plane, read(&wire).control_plane), (is, is), "{label}={value}");
            }
        }
    }
}
