//! One Node, read whole: its machine, its readiness, and the owner of its cordon.

use core::net::IpAddr;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::address::gateways;
use super::node_meta::Metadata;
use super::toleration::Taint;
use super::{Before, MachineId, NodeMeta, NodeName, Status, Term};

/// Labels of a node that runs the control plane, or the etcd that it depends on. kubeadm and k3s set the first; RKE2 and k3s
/// set the second, too, on nodes that may not have the first.
pub const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"];

/// A Node, read whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireNode")]
#[serde(expecting = "an object")]
pub struct Node {
    /// Name, identity and annotations.
    pub meta: NodeMeta,
    /// `spec.unschedulable`: the node is cordoned, by this program or by another client.
    pub unschedulable: bool,
    /// `status.nodeInfo.machineID`; `None` if invalid.
    pub machine_id: Option<MachineId>,
    /// `status.nodeInfo.bootID`: another one after each boot.
    pub boot_id: String,
    /// The condition `Ready`, which the kubelet reports.
    pub readiness: ReadyCondition,
    /// `lastTransitionTime` of that condition.
    pub readiness_since: Option<Timestamp>,
    /// `lastHeartbeatTime` of that condition: when the kubelet last reported it.
    pub heartbeat: Option<Timestamp>,
    /// `status.nodeInfo.osImage`; empty if it is not reported.
    pub os_image: String,
    /// Presence of a label of [`super::CONTROL_PLANE`].
    pub control_plane: bool,
    /// `status.addresses` of the types `InternalIP` and `ExternalIP`.
    pub addresses: Vec<IpAddr>,
    /// First two addresses of each of `spec.podCIDRs`, which the node itself uses.
    pub gateways: Vec<IpAddr>,
    /// Addresses in the annotations of [`super::ADDRESS_ANNOTATIONS`].
    pub recorded: Vec<IpAddr>,
}

impl Node {
    /// Returns `metadata.name`.
    pub fn name(&self) -> &NodeName {
        &self.meta.name
    }

    /// Reports whether the node is cordoned and marked for `term`, so that no write is needed.
    pub fn is_cordoned_for(&self, term: &Term) -> bool {
        self.meta.is_marked_for(term) && self.unschedulable
    }

    /// Returns the state to record when the node is cordoned now. An existing cordon belongs to another client, unless a record of
    /// ours, or the rebooting annotation without a record (set by hand or by an annotation-only manager), says otherwise.
    pub fn state_to_record(&self) -> Before {
        match (&self.meta.record, self.unschedulable) {
            (_, false) => Before::Schedulable,
            (Some(record), true) => record.before,
            (None, true) if self.meta.status == Status::Rebooting => Before::Schedulable,
            (None, true) => Before::Unschedulable,
        }
    }

    /// Returns the state to restore; `Schedulable` means uncordon. Without a record only the status `Rebooting` shows that a cordon was
    /// made for a reboot; any other cordon belongs to an administrator.
    pub fn state_to_restore(&self) -> Before {
        match &self.meta.record {
            Some(record) => record.before,
            None if self.meta.status == Status::Rebooting => Before::Schedulable,
            None => Before::Unschedulable,
        }
    }

    /// Reports whether the node is Ready in another boot than `boot`: evidence that the machine has rebooted and is back.
    pub fn is_back_from(&self, boot: &str) -> bool {
        self.readiness == ReadyCondition::Ready && self.boot_id != boot
    }
}

/// The condition `Ready` of a Node, which the kubelet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyCondition {
    /// The condition is absent.
    Absent,
    /// `False` or `Unknown`.
    NotReady,
    /// `True`.
    Ready,
}

/// The fields of a Node that this program reads.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct WireNode {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: WireSpec,
    #[serde(default)]
    pub(super) status: WireStatus,
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct WireSpec {
    pub(super) unschedulable: Option<bool>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
    pub(super) taints: Option<Vec<Taint>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[serde(expecting = "an object")]
pub(super) struct WireStatus {
    #[serde(rename = "nodeInfo")]
    pub(super) info: WireInfo,
    pub(super) conditions: Conditions,
    addresses: Option<Vec<WireAddress>>,
}

/// `status.conditions`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Conditions(Option<Vec<Condition>>);

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default, rename = "lastTransitionTime")]
    since: Option<Timestamp>,
    #[serde(default, rename = "lastHeartbeatTime")]
    heartbeat: Option<Timestamp>,
}

impl Conditions {
    /// Returns the condition `Ready` and the time of its last transition.
    pub(super) fn readiness(&self) -> (ReadyCondition, Option<Timestamp>) {
        match self.ready() {
            None => (ReadyCondition::Absent, None),
            Some(condition) if condition.status == "True" => (ReadyCondition::Ready, condition.since),
            Some(condition) => (ReadyCondition::NotReady, condition.since),
        }
    }

    fn ready(&self) -> Option<&Condition> {
        self.0.iter().flatten().find(|condition| condition.kind == "Ready")
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[serde(expecting = "an object")]
pub(super) struct WireInfo {
    #[serde(rename = "machineID")]
    pub(super) machine_id: String,
    #[serde(rename = "bootID")]
    pub(super) boot_id: String,
    pub(super) os_image: String,
}

/// The labels of a Node that this program reads. Of those of [`CONTROL_PLANE`] presence alone counts; the value is usually empty.
#[derive(Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Labels {
    #[serde(rename = "node-role.kubernetes.io/control-plane")]
    control_plane: Option<IgnoredAny>,
    #[serde(rename = "node-role.kubernetes.io/etcd")]
    etcd: Option<IgnoredAny>,
    /// The failure domain, a well-known label.
    #[serde(rename = "topology.kubernetes.io/zone")]
    pub(super) zone: Option<String>,
}

impl Labels {
    /// Reports whether one of the control-plane labels is set.
    pub(super) fn include_control_plane(&self) -> bool {
        self.control_plane.is_some() || self.etcd.is_some()
    }
}

impl From<WireNode> for Node {
    fn from(wire: WireNode) -> Self {
        let (readiness, readiness_since) = wire.status.conditions.readiness();
        let control_plane = wire.metadata.labels.as_ref().is_some_and(Labels::include_control_plane);
        let is_numeric = |address: &WireAddress| ["InternalIP", "ExternalIP"].contains(&address.kind.as_str());
        let addresses = wire.status.addresses.into_iter().flatten().filter(is_numeric);
        let mut metadata = wire.metadata;
        let recorded = metadata.annotations.as_mut().map(|annotations| core::mem::take(&mut annotations.addresses));
        Self {
            meta: metadata.into(),
            unschedulable: wire.spec.unschedulable.unwrap_or(false),
            machine_id: MachineId::parse(&wire.status.info.machine_id),
            boot_id: wire.status.info.boot_id,
            readiness,
            readiness_since,
            heartbeat: wire.status.conditions.ready().and_then(|ready| ready.heartbeat),
            os_image: wire.status.info.os_image,
            control_plane,
            addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
            gateways: wire.spec.pod_cidrs.into_iter().flatten().flat_map(|cidr| gateways(&cidr)).collect(),
            recorded: recorded.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{CORDON, CordonRecord, NodePatch, STATUS, Uid, WAITING, Waiting};

    fn node(status: Option<&str>, record: Option<Before>, unschedulable: bool) -> Node {
        let mut annotations = serde_json::Map::new();
        if let Some(status) = status {
            annotations.insert(STATUS.to_owned(), json!(status));
        }
        if let Some(before) = record {
            let record = CordonRecord { before, term: Term { lease: Uid("l".to_owned()), term: 4 }, drained: None };
            annotations.insert(CORDON.to_owned(), json!(serde_json::to_string(&record).unwrap()));
        }
        let wire = json!({"metadata": {"name": "n", "annotations": annotations}, "spec": {"unschedulable": unschedulable}});
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn the_record_decides_who_owns_the_cordon() {
        use Before::{Schedulable, Unschedulable};
        let cases = [
            (node(None, None, false), Schedulable, Unschedulable),
            (node(None, None, true), Unschedulable, Unschedulable),
            (node(Some("Ready"), None, true), Unschedulable, Unschedulable),
            (node(Some("Maintenance"), None, true), Unschedulable, Unschedulable),
            (node(Some("Rebooting"), None, true), Schedulable, Schedulable),
            (node(Some("Rebooting"), Some(Schedulable), true), Schedulable, Schedulable),
            (node(Some("Rebooting"), Some(Unschedulable), true), Unschedulable, Unschedulable),
            (node(Some("Rebooting"), Some(Unschedulable), false), Schedulable, Unschedulable),
        ];
        for (node, before, owner) in cases {
            assert_eq!(node.state_to_record(), before, "{node:?}");
            assert_eq!(node.state_to_restore(), owner, "{node:?}");
        }
    }

    #[test]
    fn patches_are_conditional_and_leave_an_administrators_cordon() {
        let ours = NodePatch::restore(&node(Some("Rebooting"), Some(Before::Schedulable), true)).merge();
        assert_eq!(ours["spec"], json!({"unschedulable": null}));
        assert_eq!(ours["metadata"]["annotations"], json!({STATUS: "Ready", CORDON: null, WAITING: null}));
        assert!(ours["metadata"].get("resourceVersion").is_some());
        let theirs = NodePatch::restore(&node(Some("Rebooting"), Some(Before::Unschedulable), true)).merge();
        assert!(theirs.get("spec").is_none());
    }

    #[test]
    fn the_record_of_a_wait_changes_nothing_else_and_reads_back() {
        let mut node = node(Some("Maintenance"), Some(Before::Unschedulable), true);
        let waiting = Waiting { since: "2026-01-01T00:00:00.5Z".parse().unwrap(), reason: "slots_taken".to_owned() };
        let merge = NodePatch::waiting(&node.meta, Some(waiting.clone())).merge();
        assert_eq!(merge["metadata"]["annotations"].as_object().unwrap().keys().collect::<Vec<_>>(), [WAITING]);
        assert!(merge.get("spec").is_none() && merge["metadata"].get("resourceVersion").is_some());
        node.meta = serde_json::from_value(json!({"metadata": {"name": "n", "annotations": merge["metadata"]["annotations"]}})).unwrap();
        assert_eq!(node.meta.waiting, Some(waiting));
        assert_eq!(NodePatch::waiting(&node.meta, None).merge()["metadata"]["annotations"], json!({WAITING: null}));
    }

    #[test]
    fn the_drained_patch_only_adds_the_time_to_the_record() {
        let node = node(Some("Rebooting"), Some(Before::Unschedulable), true);
        let record = node.meta.record.clone().unwrap();
        let at: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let patch = NodePatch::drained(&node, &record, at);
        assert_eq!(patch.record, Some(CordonRecord { drained: Some(at), ..record }));
        let merge = patch.merge();
        assert_eq!(merge["metadata"]["annotations"][STATUS], "Rebooting");
        assert!(merge["metadata"]["annotations"][CORDON].as_str().unwrap().contains("2026-01-01T00:00:00.5Z"), "{merge}");
        assert!(merge.get("spec").is_none());
    }

    #[test]
    fn a_record_reads_back_as_it_is_written() {
        let node = node(Some("Rebooting"), Some(Before::Unschedulable), true);
        assert!(node.is_cordoned_for(&Term { lease: Uid("l".to_owned()), term: 4 }));
        assert!(!node.is_cordoned_for(&Term { lease: Uid("l".to_owned()), term: 5 }));
        assert!(!node.is_cordoned_for(&Term { lease: Uid("m".to_owned()), term: 4 }));
    }

    #[test]
    fn missing_and_invalid_fields_are_no_error() {
        let wire = json!({"metadata": {"name": "n", "annotations": {CORDON: "{"}}, "status": {"nodeInfo": {"machineID": "invalid"},
            "conditions": [{"type": "Ready", "status": "Unknown"}]}});
        let node: Node = serde_json::from_value(wire).unwrap();
        assert_eq!((node.machine_id, node.readiness, node.meta.record), (None, ReadyCondition::NotReady, None));
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!((node.readiness, node.meta.status, node.unschedulable), (ReadyCondition::Absent, Status::Unset, false));
    }

    #[test]
    fn readiness_is_that_of_the_condition_ready() {
        let read = |text: &str| serde_json::from_str::<Conditions>(text).unwrap().readiness();
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let cases = [
            ("null", (ReadyCondition::Absent, None)),
            ("[]", (ReadyCondition::Absent, None)),
            (r#"[{"type": "DiskPressure", "status": "True"}]"#, (ReadyCondition::Absent, None)),
            (r#"[{"type": "Ready", "status": "True"}]"#, (ReadyCondition::Ready, None)),
            (
                r#"[{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}]"#,
                (ReadyCondition::NotReady, Some(since)),
            ),
            (
                r#"[{"type": "PIDPressure", "status": "True"}, {"type": "Ready", "status": "False", "lastTransitionTime": null}]"#,
                (ReadyCondition::NotReady, None),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
