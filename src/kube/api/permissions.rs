//! The rights this program needs, as kubernetes/deployment.yaml grants them, and the names of the objects it keeps.

use std::fmt;

use serde_json::{Value, json};

/// The Lease's name.
pub const LEASE: &str = "reboot-manager";

/// Name of the Secret with the CA's certificate and key, and of the ConfigMap with its certificate alone.
pub const CA: &str = "reboot-manager-ca";

/// Name of the Secret with the server's certificate and key.
pub const TLS: &str = "reboot-manager-tls";

/// A right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// `get`, `list`, `watch`, `create`, `patch`.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: &'static str,
    /// `nodes`, `pods/eviction`.
    pub resource: &'static str,
    /// The objects that the right covers.
    pub scope: Scope,
}

/// The objects that a right covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every object, whatever its namespace.
    Cluster,
    /// The Lease, by name, in its namespace.
    Lease,
    /// An object, by name, in the Lease's namespace.
    Named(String),
    /// Every object in the Lease's namespace: a create cannot be limited to a name.
    Namespace,
}

/// All of them. `service` is the Service for which this program keeps a certificate itself, if it does.
pub fn needed(service: Option<&str>) -> Vec<Permission> {
    ALWAYS.iter().cloned().chain(service.into_iter().flat_map(certificate)).collect()
}

const ALWAYS: &[Permission] = &[
    core("get", "nodes", Scope::Cluster),
    core("list", "nodes", Scope::Cluster),
    core("watch", "nodes", Scope::Cluster),
    core("patch", "nodes", Scope::Cluster),
    core("list", "pods", Scope::Cluster),
    core("create", "pods/eviction", Scope::Cluster),
    lease("create", Scope::Namespace),
    lease("get", Scope::Lease),
    lease("patch", Scope::Lease),
];

impl Permission {
    /// The SelfSubjectAccessReview that asks for this right.
    pub fn review(&self, namespace: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let mut attributes = json!({"verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource});
        if self.scope != Scope::Cluster {
            attributes["namespace"] = json!(namespace);
        }
        match &self.scope {
            Scope::Lease => attributes["name"] = json!(LEASE),
            Scope::Named(name) => attributes["name"] = json!(name),
            Scope::Cluster | Scope::Namespace => {}
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}})
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Scope::Named(name) = &self.scope { write!(f, " {name}") } else { Ok(()) }
    }
}

const fn lease(verb: &'static str, scope: Scope) -> Permission {
    Permission { verb, group: "coordination.k8s.io", resource: "leases", scope }
}

/// The rights to keep a CA and a certificate in Secrets. None of them covers another Secret.
fn certificate(service: &str) -> [Permission; 8] {
    let named = |name: &str| Scope::Named(name.to_owned());
    [
        core("create", "secrets", Scope::Namespace),
        core("get", "secrets", named(CA)),
        core("get", "secrets", named(TLS)),
        core("patch", "secrets", named(TLS)),
        core("create", "configmaps", Scope::Namespace),
        core("get", "configmaps", named(CA)),
        core("patch", "configmaps", named(CA)),
        core("get", "services", named(service)),
    ]
}

const fn core(verb: &'static str, resource: &'static str, scope: Scope) -> Permission {
    Permission { verb, group: "", resource, scope }
}
