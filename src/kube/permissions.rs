//! The rights this program needs, as kubernetes/deployment.yaml grants them.

use std::fmt;

use serde_json::{Value, json};

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// `get`, `list`, `create`, `patch`.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: &'static str,
    /// Resource.
    pub resource: &'static str,
    /// Subresource; empty for the object itself.
    pub subresource: &'static str,
    /// What it is asked of.
    pub scope: Scope,
}

/// What a right is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every object, whatever its namespace.
    Cluster,
    /// The Lease, by name, in its namespace.
    Lease,
    /// Every object in the Lease's namespace: a create cannot be limited to a name.
    Namespace,
}

/// All of them.
pub const NEEDED: &[Permission] = &[
    cluster("get", "nodes", ""),
    cluster("list", "nodes", ""),
    cluster("patch", "nodes", ""),
    cluster("list", "pods", ""),
    cluster("create", "pods", "eviction"),
    lease("create", Scope::Namespace),
    lease("get", Scope::Lease),
    lease("patch", Scope::Lease),
];

impl Permission {
    /// The SelfSubjectAccessReview that asks for it.
    pub fn review(&self, namespace: &str, lease: &str) -> Value {
        let mut asked = json!({"verb": self.verb, "group": self.group, "resource": self.resource, "subresource": self.subresource});
        if self.scope != Scope::Cluster {
            asked["namespace"] = json!(namespace);
        }
        if self.scope == Scope::Lease {
            asked["name"] = json!(lease);
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}})
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

const fn cluster(verb: &'static str, resource: &'static str, subresource: &'static str) -> Permission {
    Permission { verb, group: "", resource, subresource, scope: Scope::Cluster }
}

const fn lease(verb: &'static str, scope: Scope) -> Permission {
    Permission { verb, group: "coordination.k8s.io", resource: "leases", subresource: "", scope }
}
