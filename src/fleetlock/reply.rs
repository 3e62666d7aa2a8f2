//! What a client is told: a status, a `kind` for its metrics and a message for its journal.
//!
//! Zincati takes every 2xx for "granted" and reads no body then; some clients take only 200. So a success is exactly
//! 200 and nothing else is ever 2xx. On any other status Zincati logs `value` and counts `kind`.

use serde::Serialize;

use super::Refusal;

/// Every `kind` there is, for answers, metrics and documents alike (docs/protocol.md explains each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 200: the node may reboot now.
    Approved,
    /// 400: the request is not one of FleetLock's.
    BadRequest,
    /// 503: too much changed at once to decide; ask again.
    Contended,
    /// 404: the caller is a control-plane node, and another one is unavailable.
    ControlPlaneUnavailable,
    /// 404: a pod is kept on the node by a PodDisruptionBudget, an admission webhook or a missing right.
    DrainBlocked,
    /// 404: pods are leaving the node.
    Draining,
    /// 404: two nodes have the machine-id of the caller.
    DuplicateId,
    /// 403: the caller's credential does not cover the group it names.
    ForbiddenGroup,
    /// 403: the caller's credential does not cover the node that its id names.
    ForbiddenNode,
    /// 403: the caller's address is not one of the node that its id names.
    ForbiddenSource,
    /// 500: a defect of this program.
    InternalError,
    /// 503: Kubernetes refuses what this program needs (RBAC, or a Lease that cannot be read).
    KubernetesRefused,
    /// 503: the Kubernetes API cannot be reached, or fails.
    KubernetesUnavailable,
    /// 405: not a POST.
    MethodNotAllowed,
    /// 404: the caller's own node is not Ready.
    NodeNotReady,
    /// 404: no such path.
    NotFound,
    /// 404: another node is marked as rebooting, by hand or by another manager.
    OtherRebooting,
    /// 404: this replica is stopping; another answers.
    ShuttingDown,
    /// 404: all slots are held by other nodes.
    SlotsTaken,
    /// 200: the node is in service.
    SteadyState,
    /// 404: another request of the same node overtook this one.
    Superseded,
    /// 413: head or body is too long.
    TooLarge,
    /// 401: no credential, or a wrong one.
    Unauthorized,
    /// 404: no node has the machine-id of the caller.
    UnknownNode,
}

/// An answer: [`Kind`] and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    kind: Kind,
    value: String,
}

impl Kind {
    /// All of them, in order of their names.
    pub const ALL: [Self; 24] = [
        Self::Approved,
        Self::BadRequest,
        Self::Contended,
        Self::ControlPlaneUnavailable,
        Self::DrainBlocked,
        Self::Draining,
        Self::DuplicateId,
        Self::ForbiddenGroup,
        Self::ForbiddenNode,
        Self::ForbiddenSource,
        Self::InternalError,
        Self::KubernetesRefused,
        Self::KubernetesUnavailable,
        Self::MethodNotAllowed,
        Self::NodeNotReady,
        Self::NotFound,
        Self::OtherRebooting,
        Self::ShuttingDown,
        Self::SlotsTaken,
        Self::SteadyState,
        Self::Superseded,
        Self::TooLarge,
        Self::Unauthorized,
        Self::UnknownNode,
    ];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::BadRequest => "bad_request",
            Self::Contended => "contended",
            Self::ControlPlaneUnavailable => "control_plane_unavailable",
            Self::DrainBlocked => "drain_blocked",
            Self::Draining => "draining",
            Self::DuplicateId => "duplicate_id",
            Self::ForbiddenGroup => "forbidden_group",
            Self::ForbiddenNode => "forbidden_node",
            Self::ForbiddenSource => "forbidden_source",
            Self::InternalError => "internal_error",
            Self::KubernetesRefused => "kubernetes_refused",
            Self::KubernetesUnavailable => "kubernetes_unavailable",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NodeNotReady => "node_not_ready",
            Self::NotFound => "not_found",
            Self::OtherRebooting => "other_rebooting",
            Self::ShuttingDown => "shutting_down",
            Self::SlotsTaken => "slots_taken",
            Self::SteadyState => "steady_state",
            Self::Superseded => "superseded",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::UnknownNode => "unknown_node",
        }
    }

    /// The HTTP status it goes with.
    pub fn status(self) -> u16 {
        match self {
            Self::Approved | Self::SteadyState => 200,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::ForbiddenGroup | Self::ForbiddenNode | Self::ForbiddenSource => 403,
            Self::ControlPlaneUnavailable
            | Self::DrainBlocked
            | Self::Draining
            | Self::DuplicateId
            | Self::NodeNotReady
            | Self::NotFound
            | Self::OtherRebooting
            | Self::ShuttingDown
            | Self::SlotsTaken
            | Self::Superseded
            | Self::UnknownNode => 404,
            Self::MethodNotAllowed => 405,
            Self::TooLarge => 413,
            Self::InternalError => 500,
            Self::Contended | Self::KubernetesRefused | Self::KubernetesUnavailable => 503,
        }
    }
}

impl Reply {
    /// A 200. Only `reboot::outcome` may call this: a test reads the sources to see that nobody else does.
    pub fn ok(kind: Kind, value: String) -> Self {
        Self { kind, value }
    }

    /// Anything but a 200. A kind that would be one becomes [`Kind::InternalError`].
    pub fn refusal(kind: Kind, value: String) -> Self {
        let kind = if kind.status() == 200 { Kind::InternalError } else { kind };
        Self { kind, value }
    }

    /// What kind of answer.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message for a person.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The body: `{"kind": …, "value": …}`.
    pub fn json(&self) -> String {
        let wire = WireReply { kind: self.kind.name(), value: &self.value };
        // Two strings always have a JSON form.
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::refusal(refusal.kind, refusal.message)
    }
}

#[derive(Serialize)]
struct WireReply<'a> {
    kind: &'static str,
    value: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_ordered_and_in_the_protocol_document() {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }

    #[test]
    fn a_refusal_is_never_a_success() {
        for kind in Kind::ALL {
            let reply = Reply::refusal(kind, "because \"so\"".to_owned());
            assert_ne!(reply.kind().status() / 100, 2, "{kind:?}");
            let json: serde_json::Value = serde_json::from_str(&reply.json()).unwrap();
            assert_eq!(json["kind"], reply.kind().name());
            assert_eq!(json["value"], "because \"so\"");
        }
    }
}
