//! Nodes that run the control plane: of each, as much as decides whether it is missing.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Node, NodeName, Readiness, Status};

/// Labels of a node that runs the control plane, or the etcd that it depends on. kubeadm and k3s set the first; RKE2 and k3s
/// set the second, too, on nodes that may not have the first.
pub const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"];

/// One node with a label of [`CONTROL_PLANE`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "Node")]
pub struct ControlPlaneNode {
    /// `metadata.name`.
    pub name: NodeName,
    /// Why it counts as unavailable, if it does.
    pub unavailable: Option<Unavailable>,
}

/// Why a node counts as unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unavailable {
    /// `spec.unschedulable`, set by anyone.
    Cordoned,
    /// Its condition `Ready` is `False` or `Unknown`.
    NotReady,
    /// It has the annotation `rebootmanager/status: Rebooting`.
    Rebooting,
}

/// The labels of [`CONTROL_PLANE`]. Presence alone counts; the value is usually empty.
#[derive(Default, Deserialize)]
pub(super) struct Labels {
    #[serde(default, rename = "node-role.kubernetes.io/control-plane")]
    control_plane: Option<IgnoredAny>,
    #[serde(default, rename = "node-role.kubernetes.io/etcd")]
    etcd: Option<IgnoredAny>,
}

impl Labels {
    /// One of them is there.
    pub(super) fn name_the_control_plane(&self) -> bool {
        self.control_plane.is_some() || self.etcd.is_some()
    }
}

impl From<Node> for ControlPlaneNode {
    fn from(node: Node) -> Self {
        let unavailable = match () {
            () if node.mark.status == Status::Rebooting => Some(Unavailable::Rebooting),
            () if node.readiness == Readiness::NotReady => Some(Unavailable::NotReady),
            () if node.unschedulable => Some(Unavailable::Cordoned),
            () => None,
        };
        Self { name: node.mark.name, unavailable }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(wire: &Value) -> ControlPlaneNode {
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
            assert_eq!(read(&wire), ControlPlaneNode { name: NodeName("cp".to_owned()), unavailable }, "{wire}");
        }
    }

    #[test]
    fn either_label_makes_a_control_plane_node_whatever_its_value() {
        for (label, is) in [(CONTROL_PLANE[0], true), (CONTROL_PLANE[1], true), ("node-role.kubernetes.io/worker", false)] {
            for value in ["", "true", "false"] {
                let node: Node = serde_json::from_value(json!({"metadata": {"name": "n", "labels": {label: value}}})).unwrap();
                assert_eq!(node.control_plane, is, "{label}={value}");
            }
        }
    }
}
