//! The answer to a client: a status, a `kind` for its metrics and a message for its journal.
//!
//! Zincati takes every 2xx for "granted" and reads no body then; some clients take only 200. A success is therefore
//! exactly 200, and nothing else is ever 2xx. On any other status Zincati logs `value` and counts `kind`.

use serde_json::json;

/// Defines [`Kind`]: one row a kind, with its word on the wire and its HTTP status, in the order of the words.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal;)*) => {
        /// Every `kind` there is, for answers, metrics and documents alike (docs/protocol.md explains each).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them, in order of their names.
            pub const ALL: [Self; [$($status),*].len()] = [$(Self::$kind),*];

            /// Returns the word on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Returns the HTTP status of the answer.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$kind => $status,)*
                }
            }
        }
    };
}

kinds! {
    /// The node may reboot now.
    Approved = "approved", 200;
    /// The request is not one of FleetLock's.
    BadRequest = "bad_request", 400;
    /// Too much changed at once to decide; ask again.
    Contended = "contended", 503;
    /// The caller is a control-plane node, and another one is unavailable.
    ControlPlaneUnavailable = "control_plane_unavailable", 404;
    /// The node gave its slot back, and must wait before it may take one again.
    Deferred = "deferred", 404;
    /// A pod is kept on the node by a PodDisruptionBudget, an admission webhook or a missing right.
    DrainBlocked = "drain_blocked", 404;
    /// Pods are leaving the node.
    Draining = "draining", 404;
    /// Two nodes have the machine-id of the caller.
    DuplicateId = "duplicate_id", 404;
    /// The caller's credential does not cover the group it names.
    ForbiddenGroup = "forbidden_group", 403;
    /// The caller's credential does not cover the node that its id names.
    ForbiddenNode = "forbidden_node", 403;
    /// The caller's address is not one of the node that its id names.
    ForbiddenSource = "forbidden_source", 403;
    /// A defect of this program.
    InternalError = "internal_error", 500;
    /// Kubernetes refuses what this program needs (RBAC, or a Lease that cannot be read).
    KubernetesRefused = "kubernetes_refused", 503;
    /// The Kubernetes API cannot be reached, or fails.
    KubernetesUnavailable = "kubernetes_unavailable", 503;
    /// Not a POST.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The caller's own node is not Ready.
    NodeNotReady = "node_not_ready", 404;
    /// No such path.
    NotFound = "not_found", 404;
    /// Another node is marked as rebooting, by hand or by another manager.
    OtherRebooting = "other_rebooting", 404;
    /// A slot is free for a node that has waited longer.
    Queued = "queued", 404;
    /// The replica is stopping; another one answers.
    ShuttingDown = "shutting_down", 404;
    /// All slots are held by other nodes.
    SlotsTaken = "slots_taken", 404;
    /// The node is in service.
    SteadyState = "steady_state", 200;
    /// Another request of the same node overtook this one.
    Superseded = "superseded", 404;
    /// Head or body is too long.
    TooLarge = "too_large", 413;
    /// No credential, or a wrong one.
    Unauthorized = "unauthorized", 401;
    /// No node has the machine-id of the caller.
    UnknownNode = "unknown_node", 404;
}

/// Reason for which a request is not granted. A decision that may be refused is a `ControlFlow<Refusal, …>`, no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For machines.
    pub kind: Kind,
    /// For a person: which node, the reason, and the remedy. No secret that a client sent is repeated.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// An answer: [`Kind`] and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    kind: Kind,
    value: String,
}

impl Reply {
    /// Makes a 200. Only `reboot::outcome` may call this, which an architecture test checks.
    pub fn ok(kind: Kind, value: String) -> Self {
        Self { kind, value }
    }

    /// Makes an answer other than 200. A kind with status 200 becomes [`Kind::InternalError`].
    pub fn refusal(kind: Kind, value: String) -> Self {
        let kind = if kind.status() == 200 { Kind::InternalError } else { kind };
        Self { kind, value }
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the message for a person.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the body: `{"kind": …, "value": …}`.
    pub fn json(&self) -> String {
        json!({"kind": self.kind.name(), "value": self.value}).to_string()
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::refusal(refusal.kind, refusal.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_and_ordered_by_their_words() {
        assert!(Kind::ALL.map(Kind::name).is_sorted_by(|one, next| one < next));
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
