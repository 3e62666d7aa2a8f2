//! The rights this program needs, as kubernetes/deployment.yaml grants them, and the names of the objects it keeps.

use std::fmt;

use serde_json::{Value, json};

/// The Lease's name.
pub const LEASE: &str = "reboot-manager";

/// Name of the Secret with the CA's certificate and key, and of the ConfigMap with its certificate alone.
pub const CA: &str = "reboot-manager-ca";

/// Name of the Secret with the server's certificate and key.
pub const TLS: &str = "reboot-manager-tls";

/// Right that this program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// `get`, `list`, `watch`, `create`, `patch`.
    verb: &'static str,
    /// `nodes`, `pods/eviction`.
    resource: &'static str,
    scope: Scope,
}

/// Objects that a right covers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// Every object, whatever its namespace.
    Cluster,
    /// The Lease, by name, in its namespace.
    Lease,
    /// An object, by name, in the Lease's namespace.
    Named(String),
    /// Every object in the Lease's namespace: a create cannot be limited to a name.
    Namespace,
}

/// Lists the rights. `service`: the Service for which this program keeps a certificate itself, if it does.
pub(super) fn needed(service: Option<&str>) -> Vec<Permission> {
    let named = |name: &str| Scope::Named(name.to_owned());
    let mut needed = vec![
        ("get", "nodes", Scope::Cluster),
        ("list", "nodes", Scope::Cluster),
        ("watch", "nodes", Scope::Cluster),
        ("patch", "nodes", Scope::Cluster),
        ("list", "pods", Scope::Cluster),
        ("create", "pods/eviction", Scope::Cluster),
        ("create", "leases", Scope::Namespace),
        ("get", "leases", Scope::Lease),
        ("patch", "leases", Scope::Lease),
    ];
    if let Some(service) = service {
        // None of these covers another Secret.
        needed.extend([
            ("create", "secrets", Scope::Namespace),
            ("get", "secrets", named(CA)),
            ("get", "secrets", named(TLS)),
            ("patch", "secrets", named(TLS)),
            ("create", "configmaps", Scope::Namespace),
            ("get", "configmaps", named(CA)),
            ("patch", "configmaps", named(CA)),
            ("get", "services", named(service)),
        ]);
    }
    needed.into_iter().map(|(verb, resource, scope)| Permission { verb, resource, scope }).collect()
}

impl Permission {
    /// Returns the SelfSubjectAccessReview for this right.
    pub(super) fn review(&self, namespace: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let group = group(resource);
        let mut attributes = json!({"verb": self.verb, "group": group, "resource": resource, "subresource": subresource});
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
        match (&self.scope, group(self.resource)) {
            (Scope::Named(name), _) => write!(f, " {name}"),
            (_, "") => Ok(()),
            (_, group) => write!(f, ".{group}"),
        }
    }
}

/// Returns the API group of a resource; empty for core.
pub(super) fn group(resource: &str) -> &'static str {
    if resource == "leases" { "coordination.k8s.io" } else { "" }
}
