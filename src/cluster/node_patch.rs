//! The one write to a Node: its annotations and its cordon.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Before, CORDON, CordonRecord, Node, NodeMeta, NodeName, ResourceVersion, STATUS, Status, WAITING, Waiting};

/// A change of a Node's annotations and cordon. The API server refuses it when the Node has changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePatch {
    /// `metadata.name`.
    pub name: NodeName,
    /// Version at which the Node was read. Versions are never reused, so a recreated Node has another.
    pub version: ResourceVersion,
    /// The annotation [`STATUS`] to be; `None` leaves it, and [`CORDON`], too.
    pub status: Option<Status>,
    /// The annotation [`CORDON`] to be; `None` removes it.
    pub record: Option<CordonRecord>,
    /// The annotation [`WAITING`] to be; `None` removes it.
    pub waiting: Option<Waiting>,
    /// `spec.unschedulable` to be; `None` leaves it.
    pub unschedulable: Option<bool>,
}

impl NodePatch {
    /// Records in `record`, that of the node's cordon, that the node was seen empty at `at`.
    pub fn drained(node: &Node, record: &CordonRecord, at: Timestamp) -> Self {
        Self::of(node, Status::Rebooting, Some(CordonRecord { drained: Some(at), ..record.clone() }), None)
    }

    /// Marks and cordons.
    pub fn mark(node: &Node, record: CordonRecord) -> Self {
        Self::of(node, Status::Rebooting, Some(record), Some(true))
    }

    /// Puts back in service; an administrator's cordon stays.
    pub fn restore(node: &Node) -> Self {
        let unschedulable = (node.unschedulable && node.state_to_restore() == Before::Schedulable).then_some(false);
        Self::of(node, Status::Ready, None, unschedulable)
    }

    /// Records since when the node waits for a slot, and why; `None`: it waits no longer. Nothing else is changed.
    pub fn waiting(node: &NodeMeta, waiting: Option<Waiting>) -> Self {
        let NodeMeta { name, version, .. } = node.clone();
        Self { name, version, status: None, record: None, waiting, unschedulable: None }
    }

    /// Returns the patch as a JSON merge patch (RFC 7396): `null` removes a field.
    pub fn merge(&self) -> Value {
        // Records of words and numbers always have a JSON form.
        let waiting = self.waiting.as_ref().and_then(|waiting| serde_json::to_string(waiting).ok());
        let mut annotations = json!({WAITING: waiting});
        if let Some(status) = self.status {
            annotations[STATUS] = json!(if status == Status::Rebooting { "Rebooting" } else { "Ready" });
            annotations[CORDON] = json!(self.record.as_ref().and_then(|record| serde_json::to_string(record).ok()));
        }
        // The version alone distinguishes this object from a recreated one. A wrong UID is answered 422, not 409.
        let mut patch = json!({"metadata": {"resourceVersion": self.version, "annotations": annotations}});
        if let Some(unschedulable) = self.unschedulable {
            patch["spec"] = json!({"unschedulable": unschedulable.then_some(true)});
        }
        patch
    }

    fn of(node: &Node, status: Status, record: Option<CordonRecord>, unschedulable: Option<bool>) -> Self {
        let NodeMeta { name, version, .. } = node.meta.clone();
        Self { name, version, status: Some(status), record, waiting: None, unschedulable }
    }
}
