//! The kinds of objects that are known, and where in the API each is: one table, and the way a path is read.

use serde_json::Value;

/// Kind of object and its place in the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// Name in paths and in RBAC rules.
    pub plural: &'static str,
    /// Name in objects.
    pub kind: &'static str,
    pub namespaced: bool,
}

impl Resource {
    pub fn named(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|known| known.group == group && known.version == version && known.plural == plural)
    }

    pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// Returns the resource of this plural; no two groups here share a plural.
    pub(crate) fn plural(plural: &str) -> &'static Self {
        RESOURCES.iter().find(|known| known.plural == plural).expect("a plural of the table")
    }

    /// Returns `group/version`, as in objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns `plural.group`, as in the API server's messages.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Returns the path of the collection.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let scope = if self.namespaced { format!("namespaces/{namespace}/") } else { String::new() };
        format!("{root}/{}/{scope}{}", self.api_version(), self.plural)
    }
}

/// Returns the path at which an object is created; without a namespace it goes to `default`.
#[track_caller]
pub(crate) fn collection(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let resource = Resource::of_kind(&version, &kind).unwrap_or_else(|| panic!("{version} {kind} is not a kind that is known here"));
    resource.path(object["metadata"]["namespace"].as_str().unwrap_or("default"))
}

/// Parts of an API path. A part that is absent is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub plural: String,
    pub name: String,
    pub subresource: String,
}

impl Target {
    /// Reads a path without its query.
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let group = match *parts.first()? {
            "api" => "",
            "apis" if parts.len() > 1 => parts.remove(1),
            _ => return None,
        };
        let version = *parts.get(1)?;
        let (namespace, rest) = match parts.get(2..)? {
            ["namespaces", name, part @ ("status" | "finalize")] => ("", vec!["namespaces", *name, *part]),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest.to_vec()),
            rest => ("", rest.to_vec()),
        };
        let [plural, rest @ ..] = rest.as_slice() else { return None };
        let (name, subresource) = match rest {
            [] => ("", ""),
            [name] => (*name, ""),
            [name, part] => (*name, *part),
            _ => return None,
        };
        let own = str::to_owned;
        Some(Self {
            group: own(group),
            version: own(version),
            namespace: own(namespace),
            plural: own(plural),
            name: own(name),
            subresource: own(subresource),
        })
    }

    /// Returns `resource` or `resource/subresource`, as in RBAC rules.
    pub fn resource(&self) -> String {
        if self.subresource.is_empty() { self.plural.clone() } else { format!("{}/{}", self.plural, self.subresource) }
    }

    /// Returns the RBAC verb of a method on this target, with this query.
    pub fn verb(&self, method: &str, query: &str) -> &'static str {
        match (method, self.name.is_empty()) {
            ("GET" | "HEAD", false) => "get",
            ("GET", true) if query.split('&').any(|part| part == "watch=true" || part == "watch=1") => "watch",
            ("GET" | "HEAD", true) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", false) => "delete",
            ("DELETE", true) => "deletecollection",
            _ => "",
        }
    }
}

const fn resource(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str, namespaced: bool) -> Resource {
    Resource { group, version, plural, kind, namespaced }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

pub const RESOURCES: &[Resource] = &[
    resource("", "v1", "configmaps", "ConfigMap", true),
    resource("", "v1", "events", "Event", true),
    resource("", "v1", "namespaces", "Namespace", false),
    resource("", "v1", "nodes", "Node", false),
    resource("", "v1", "pods", "Pod", true),
    resource("", "v1", "secrets", "Secret", true),
    resource("", "v1", "serviceaccounts", "ServiceAccount", true),
    resource("", "v1", "services", "Service", true),
    resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false),
    resource(ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false),
    resource("apps", "v1", "daemonsets", "DaemonSet", true),
    resource("apps", "v1", "deployments", "Deployment", true),
    resource("apps", "v1", "replicasets", "ReplicaSet", true),
    resource("apps", "v1", "statefulsets", "StatefulSet", true),
    resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    resource("batch", "v1", "jobs", "Job", true),
    resource("coordination.k8s.io", "v1", "leases", "Lease", true),
    resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
    resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", false),
    resource(RBAC, "v1", "clusterroles", "ClusterRole", false),
    resource(RBAC, "v1", "rolebindings", "RoleBinding", true),
    resource(RBAC, "v1", "roles", "Role", true),
    resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, namespace: &str, resource: &str, name: &str) {
        let target = Target::parse(path).unwrap();
        assert_eq!((target.namespace.as_str(), target.resource().as_str(), target.name.as_str()), (namespace, resource, name));
    }

    #[test]
    fn path_is_split_into_its_parts() {
        check("/api/v1/nodes", "", "nodes", "");
        check("/api/v1/nodes/a/status", "", "nodes/status", "a");
        check("/api/v1/pods", "", "pods", "");
        check("/api/v1/namespaces/x", "", "namespaces", "x");
        check("/api/v1/namespaces/x/status", "", "namespaces/status", "x");
        check("/api/v1/namespaces/x/pods/p/eviction", "x", "pods/eviction", "p");
        check("/apis/coordination.k8s.io/v1/namespaces/x/leases/l", "x", "leases", "l");
        let nodes = Target::parse("/api/v1/nodes").unwrap();
        assert_eq!(
            (nodes.verb("GET", ""), nodes.verb("GET", "limit=5&watch=true"), nodes.verb("GET", "watch=false")),
            ("list", "watch", "list")
        );
        for path in ["/", "/version", "/api/v1", "/apis/apps/v1", "/api/v1/pods/a/b/c"] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
