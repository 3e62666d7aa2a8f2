//! Nodes: what marks one as rebooting, whose cordon it carries, and which machine it is.

use core::net::IpAddr;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::address::gateways;
use super::control_plane::Labels;
use super::readiness::{Conditions, Readiness};
use super::{MachineId, NodeName, ResourceVersion, Term, Uid};

/// The annotation that says whether a node is in service: `Ready` or `Rebooting`.
pub const STATUS: &str = "rebootmanager/status";

/// The annotation in which the cordon's owner is recorded: a [`CordonRecord`] as JSON.
pub const CORDON: &str = "rebootmanager/cordon";

/// What the annotation [`STATUS`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A word this program does not write.
    Other,
    /// In service.
    Ready,
    /// Being drained, or rebooting.
    Rebooting,
    /// There is no such annotation.
    Unset,
}

/// Whether a node took new pods before it was cordoned for its reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// It did: the cordon is ours, and goes with the mark.
    Schedulable,
    /// Somebody else had cordoned it: their cordon stays.
    Unschedulable,
}

/// Written by the patch that cordons, removed by the patch that restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonRecord {
    /// What to go back to.
    pub before: Before,
    /// The tenure of the slot it was written for.
    #[serde(flatten)]
    pub term: Term,
}

/// One Node, read whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireNode")]
pub struct Node {
    /// Its name, identity and mark.
    pub mark: NodeMark,
    /// `spec.unschedulable`: it is cordoned, by whomever.
    pub unschedulable: bool,
    /// `status.nodeInfo.machineID`; `None` when it is odd.
    pub machine_id: Option<MachineId>,
    /// `status.nodeInfo.bootID`: another one after each boot.
    pub boot_id: String,
    /// Whether the kubelet says that it is ready.
    pub readiness: Readiness,
    /// `lastTransitionTime` of the condition `Ready`: since when that holds.
    pub readiness_since: Option<Timestamp>,
    /// One of the labels [`super::CONTROL_PLANE`] is there.
    pub control_plane: bool,
    /// `status.addresses` of the types `InternalIP` and `ExternalIP`.
    pub addresses: Vec<IpAddr>,
    /// What it has of each of its `spec.podCIDRs` for itself.
    pub gateways: Vec<IpAddr>,
}

/// What a Node's metadata alone tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireMark")]
pub struct NodeMark {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: ResourceVersion,
    /// The annotation [`STATUS`].
    pub status: Status,
    /// The annotation [`CORDON`]; `None` also when it cannot be read.
    pub record: Option<CordonRecord>,
}

/// A change of a Node's mark and cordon, refused by the API server when the Node has changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePatch {
    /// Which Node.
    pub name: NodeName,
    /// The version it was read at; versions are not used twice, so a Node made anew under this name has another.
    pub version: ResourceVersion,
    /// The annotation [`STATUS`] to be.
    pub status: Status,
    /// The annotation [`CORDON`] to be; `None` removes it.
    pub record: Option<CordonRecord>,
    /// `spec.unschedulable` to be; `None` leaves it.
    pub unschedulable: Option<bool>,
}

/// Mark and machine of a Node: what the directory of ids is made from, and what a watch of marks begins with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireIdentity")]
pub struct NodeIdentity {
    /// Its name, identity and mark.
    pub mark: NodeMark,
    /// `status.nodeInfo.machineID`; `None` when it is odd.
    pub machine_id: Option<MachineId>,
}

impl Node {
    /// `metadata.name`.
    pub fn name(&self) -> &NodeName {
        &self.mark.name
    }

    /// Marked, cordoned, and both by the tenure `term`: nothing has to be written.
    pub fn is_cordoned_for(&self, term: &Term) -> bool {
        self.mark.is_marked_for(term) && self.unschedulable
    }

    /// What to go back to when the node is marked now. A cordon that is there already is somebody else's, unless our
    /// own record, or a mark without a record (made by hand or by a manager that keeps none), says otherwise.
    pub fn before_marking(&self) -> Before {
        match (&self.mark.record, self.unschedulable) {
            (_, false) => Before::Schedulable,
            (Some(record), true) => record.before,
            (None, true) if self.mark.status == Status::Rebooting => Before::Schedulable,
            (None, true) => Before::Unschedulable,
        }
    }

    /// What [`Node::before_marking`] says of a node that is to be put back in service: `Schedulable` means uncordon. Without
    /// a record only the status `Rebooting` says that a cordon was made for a reboot; any other belongs to an administrator.
    pub fn owner_of_cordon(&self) -> Before {
        match &self.mark.record {
            Some(record) => record.before,
            None if self.mark.status == Status::Rebooting => Before::Schedulable,
            None => Before::Unschedulable,
        }
    }

    /// Ready in another boot than `boot`: evidence that its machine has rebooted and is back.
    pub fn is_back_from(&self, boot: &str) -> bool {
        self.readiness == Readiness::Ready && self.boot_id != boot
    }
}

impl NodePatch {
    /// Marks and cordons.
    pub fn mark(node: &Node, record: CordonRecord) -> Self {
        Self::of(node, Status::Rebooting, Some(record), Some(true))
    }

    /// Puts back in service; an administrator's cordon stays.
    pub fn restore(node: &Node) -> Self {
        let unschedulable = (node.unschedulable && node.owner_of_cordon() == Before::Schedulable).then_some(false);
        Self::of(node, Status::Ready, None, unschedulable)
    }

    /// As a JSON merge patch (RFC 7386): `null` removes a field.
    pub fn merge(&self) -> Value {
        // A record of words and numbers always has a JSON form.
        let record = self.record.as_ref().and_then(|record| serde_json::to_string(record).ok());
        let status = if self.status == Status::Rebooting { "Rebooting" } else { "Ready" };
        // The version alone tells this object from one made anew; a wrong UID would be answered 422 and not 409.
        let mut patch = json!({"metadata": {"resourceVersion": self.version, "annotations": {STATUS: status, CORDON: record}}});
        if let Some(unschedulable) = self.unschedulable {
            patch["spec"] = json!({"unschedulable": unschedulable.then_some(true)});
        }
        patch
    }

    fn of(node: &Node, status: Status, record: Option<CordonRecord>, unschedulable: Option<bool>) -> Self {
        let NodeMark { name, version, .. } = node.mark.clone();
        Self { name, version, status, record, unschedulable }
    }
}

impl NodeMark {
    /// Marked as rebooting by the tenure `term`.
    pub fn is_marked_for(&self, term: &Term) -> bool {
        self.status == Status::Rebooting && self.record.as_ref().is_some_and(|record| record.term == *term)
    }

    /// Marked as rebooting, or with the record of a cordon of ours: it counts, or has to be put in order.
    pub fn is_marked(&self) -> bool {
        self.status == Status::Rebooting || self.record.is_some()
    }

    /// In service, with no record of a cordon left: nothing has to be restored.
    pub fn is_in_service(&self) -> bool {
        self.status == Status::Ready && self.record.is_none()
    }
}

#[derive(Deserialize)]
struct Metadata {
    name: NodeName,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    uid: Uid,
    #[serde(default, rename = "resourceVersion")]
    version: ResourceVersion,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The two that are ours; a node may have many kilobytes of others.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "rebootmanager/status")]
    status: Option<String>,
    #[serde(default, rename = "rebootmanager/cordon")]
    cordon: Option<String>,
}

#[derive(Deserialize)]
struct WireMark {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct WireNode {
    metadata: Metadata,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Deserialize)]
struct WireIdentity {
    metadata: Metadata,
    #[serde(default)]
    status: WireMachine,
}

#[derive(Default, Deserialize)]
struct WireSpec {
    #[serde(default)]
    unschedulable: Option<bool>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct WireMachine {
    #[serde(default, rename = "nodeInfo")]
    info: WireInfo,
}

#[derive(Default, Deserialize)]
struct WireStatus {
    #[serde(default, rename = "nodeInfo")]
    info: WireInfo,
    #[serde(default)]
    conditions: Conditions,
    #[serde(default)]
    addresses: Option<Vec<WireAddress>>,
}

#[derive(Deserialize)]
struct WireAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Default, Deserialize)]
struct WireInfo {
    #[serde(default, rename = "machineID")]
    machine_id: String,
    #[serde(default, rename = "bootID")]
    boot_id: String,
}

impl From<Metadata> for NodeMark {
    fn from(wire: Metadata) -> Self {
        let Annotations { status, cordon } = wire.annotations.unwrap_or_default();
        let status = match status.as_deref() {
            None => Status::Unset,
            Some("Ready") => Status::Ready,
            Some("Rebooting") => Status::Rebooting,
            Some(_) => Status::Other,
        };
        let record = cordon.and_then(|text| serde_json::from_str(&text).ok());
        Self { name: wire.name, uid: wire.uid, version: wire.version, status, record }
    }
}

impl From<WireMark> for NodeMark {
    fn from(wire: WireMark) -> Self {
        wire.metadata.into()
    }
}

impl From<WireNode> for Node {
    fn from(wire: WireNode) -> Self {
        let (readiness, readiness_since) = wire.status.conditions.readiness();
        let control_plane = wire.metadata.labels.as_ref().is_some_and(Labels::name_the_control_plane);
        let is_numeric = |address: &WireAddress| ["InternalIP", "ExternalIP"].contains(&address.kind.as_str());
        let addresses = wire.status.addresses.into_iter().flatten().filter(is_numeric);
        Self {
            mark: wire.metadata.into(),
            unschedulable: wire.spec.unschedulable.unwrap_or(false),
            machine_id: MachineId::parse(&wire.status.info.machine_id),
            boot_id: wire.status.info.boot_id,
            readiness,
            readiness_since,
            control_plane,
            addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
            gateways: wire.spec.pod_cidrs.into_iter().flatten().flat_map(|cidr| gateways(&cidr)).collect(),
        }
    }
}

impl From<WireIdentity> for NodeIdentity {
    fn from(wire: WireIdentity) -> Self {
        Self { mark: wire.metadata.into(), machine_id: MachineId::parse(&wire.status.info.machine_id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(status: Option<&str>, record: Option<Before>, unschedulable: bool) -> Node {
        let mut annotations = serde_json::Map::new();
        if let Some(status) = status {
            annotations.insert(STATUS.to_owned(), json!(status));
        }
        if let Some(before) = record {
            let record = CordonRecord { before, term: Term { lease: Uid("l".to_owned()), term: 4 } };
            annotations.insert(CORDON.to_owned(), json!(serde_json::to_string(&record).unwrap()));
        }
        let wire = json!({"metadata": {"name": "n", "annotations": annotations}, "spec": {"unschedulable": unschedulable}});
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn the_cordon_goes_back_to_its_owner() {
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
            assert_eq!(node.before_marking(), before, "{node:?}");
            assert_eq!(node.owner_of_cordon(), owner, "{node:?}");
        }
    }

    #[test]
    fn patches_are_conditional_and_leave_an_administrators_cordon() {
        let ours = NodePatch::restore(&node(Some("Rebooting"), Some(Before::Schedulable), true)).merge();
        assert_eq!(ours["spec"], json!({"unschedulable": null}));
        assert_eq!(ours["metadata"]["annotations"], json!({STATUS: "Ready", CORDON: null}));
        assert!(ours["metadata"].get("resourceVersion").is_some());
        let theirs = NodePatch::restore(&node(Some("Rebooting"), Some(Before::Unschedulable), true)).merge();
        assert!(theirs.get("spec").is_none());
    }

    #[test]
    fn a_record_reads_back_as_it_is_written() {
        let node = node(Some("Rebooting"), Some(Before::Unschedulable), true);
        assert!(node.is_cordoned_for(&Term { lease: Uid("l".to_owned()), term: 4 }));
        assert!(!node.is_cordoned_for(&Term { lease: Uid("l".to_owned()), term: 5 }));
        assert!(!node.is_cordoned_for(&Term { lease: Uid("m".to_owned()), term: 4 }));
    }

    #[test]
    fn missing_and_odd_fields_are_no_error() {
        let wire = json!({"metadata": {"name": "n", "annotations": {CORDON: "{"}}, "status": {"nodeInfo": {"machineID": "odd"},
            "conditions": [{"type": "Ready", "status": "Unknown"}]}});
        let node: Node = serde_json::from_value(wire).unwrap();
        assert_eq!((node.machine_id, node.readiness, node.mark.record), (None, Readiness::NotReady, None));
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!((node.readiness, node.mark.status, node.unschedulable), (Readiness::Unknown, Status::Unset, false));
    }
}
