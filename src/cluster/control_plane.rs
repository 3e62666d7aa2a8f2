//! Nodes that run the control plane, and what makes a node unavailable.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Labels of a node that runs the control plane, or the etcd that it depends on. kubeadm and k3s set the first; RKE2 and k3s
/// set the second, too, on nodes that may not have the first.
pub const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"];

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

/// The labels of a Node that this program reads. Of those of [`CONTROL_PLANE`] presence alone counts; the value is usually empty.
#[derive(Default, Deserialize)]
pub(super) struct Labels {
    #[serde(default, rename = "node-role.kubernetes.io/control-plane")]
    control_plane: Option<IgnoredAny>,
    #[serde(default, rename = "node-role.kubernetes.io/etcd")]
    etcd: Option<IgnoredAny>,
    /// The failure domain, a well-known label.
    #[serde(default, rename = "topology.kubernetes.io/zone")]
    pub(super) zone: Option<String>,
}

impl Labels {
    /// Reports whether one of the control-plane labels is set.
    pub(super) fn include_control_plane(&self) -> bool {
        self.control_plane.is_some() || self.etcd.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::{Member, Node};

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
