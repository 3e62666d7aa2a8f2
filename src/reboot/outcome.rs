//! Result of the rules, and the reply to the client. Only this module makes a 200.

use super::Approval;
use crate::cluster::{HexId, NodeName, join_names};
use crate::drain::{Progress, came_back_clause};
use crate::fleetlock::{Kind, Refusal, Reply};
use crate::lock::KeepReason;

/// Answer of the rules to a caller.
#[derive(Debug)]
pub enum Outcome {
    /// Pre-reboot: the node may reboot. Only an [`Approval`] makes one.
    Approved(Approval, NodeName),
    /// The request is refused.
    Refused(Refusal),
    /// Steady-state: the node is in service.
    Settled(Settled),
    /// No node has the id of the caller. The view of the fleet may have shown an older node.
    UnknownNode(HexId),
}

/// Reason to answer steady-state with 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The node is marked `Ready`. If it still has a slot, the reconciler frees it.
    InService(NodeName),
    /// The node is marked Ready; its slot is kept for this reason, and freed by the reconciler once `lock::release` finds the evidence.
    SlotKept(NodeName, KeepReason),
    /// No Node has this id, so there is no Node to restore. The reconciler decides about the slot of a deleted Node.
    Unknown(HexId),
}

impl Outcome {
    /// Refuses with `kind`.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(kind, message))
    }

    /// Refuses a request whose time is over while its node is still being drained.
    pub fn draining(node: &NodeName, progress: Option<&Progress>) -> Self {
        let kind = match progress {
            Some(Progress { error: Some(error), .. }) if error.is_refused => Kind::KubernetesRefused,
            Some(Progress { error: Some(_), .. }) => Kind::KubernetesUnavailable,
            Some(progress) if progress.is_blocked() => Kind::DrainBlocked,
            _ => Kind::Draining,
        };
        let clause = progress.map_or_else(|| "is being drained".to_owned(), Progress::to_string);
        Self::refused(kind, format!("node {node} {clause}; the drain continues, ask again"))
    }

    /// Refuses a held request whose drain was stopped.
    pub fn drain_ended(node: &NodeName) -> Self {
        Self::refused(Kind::Superseded, format!("the drain of node {node} was ended: it has checked in, or its slot was freed"))
    }

    /// Refuses an id that two or more nodes have.
    pub fn duplicate(id: HexId, nodes: &[NodeName]) -> Self {
        let nodes = join_names(nodes);
        let message = format!("the nodes {nodes} have the same machine-id (id {id}), as cloned machines do; give each its own");
        Self::refused(Kind::DuplicateId, message)
    }
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Approved(approval, node) => {
                let came_back = came_back_clause(approval.came_back());
                Self::ok(Kind::Approved, format!("node {node} is cordoned and empty and holds a slot: it may reboot{came_back}"))
            }
            Outcome::Refused(refusal) => refusal.into(),
            Outcome::UnknownNode(id) => {
                let message = format!("no node has a machine-id that matches the id {id}; has this machine joined the cluster?");
                Self::refusal(Kind::UnknownNode, message)
            }
            Outcome::Settled(Settled::InService(node)) => Self::ok(Kind::SteadyState, format!("node {node} is in service")),
            Outcome::Settled(Settled::SlotKept(node, why)) => {
                let once = match why {
                    KeepReason::CheckedInNotReady => "its kubelet is Ready",
                    KeepReason::Unproven => "two minutes have passed",
                    KeepReason::Unreported => {
                        "its kubelet has reported another boot, or has reported again two minutes after this check-in"
                    }
                    _ => "its reboot is known to be over",
                };
                Self::ok(Kind::SteadyState, format!("node {node} is in service; its slot is freed once {once}"))
            }
            Outcome::Settled(Settled::Unknown(id)) => {
                Self::ok(Kind::SteadyState, format!("no node has a machine-id that matches the id {id}, so there is no Node to restore"))
            }
        }
    }
}
