//! Every call of this program, by name, and the rights for them. kubernetes/deployment.yaml grants these and no others.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use crate::cluster::{
    CaBundle, CaMap, CaSecret, Complete, Host, Hosts, Lease, Member, NEXT_CA_FROM, Node, NodeEvent, NodeMeta, NodeName, NodePatch, Pair,
    Pod, PodKey, ResourceVersion, Service, TlsSecret, Uid, without_nulls,
};
use crate::kube::client::{ApiError, Call, Client, Verb};

/// The Lease's name.
pub const LEASE: &str = "reboot-manager";

/// Name of the Secret with our CA and its key, and of the ConfigMap with its certificate alone.
pub const CA: &str = "reboot-manager-ca";

/// Name of the Secret with the server's certificate and key.
pub const TLS: &str = "reboot-manager-tls";

/// Name of access reviews in metrics.
pub const REVIEWS: &str = "selfsubjectaccessreviews";

/// Kubernetes API as this program uses it.
pub struct Kube {
    client: Client,
    namespace: String,
    service: Option<String>,
}

impl Kube {
    /// Creates the API for the Lease in `namespace`. `service`: the Service for which this program keeps a certificate in Secrets, which
    /// needs more rights.
    pub fn new(client: Client, namespace: String, service: Option<String>) -> Self {
        Self { client, namespace, service }
    }

    /// Returns the namespace of the Lease and the Secrets.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads all Nodes, one at a time because a Node has 10 KB and more, and returns them with the version of the list.
    pub fn nodes<A>(&self, empty: impl Fn() -> A, add: impl FnMut(&mut A, Member)) -> Result<(Complete<A>, ResourceVersion), ApiError> {
        self.client.list(&call(Verb::List, "nodes", "all nodes", format!("{NODES}?{PAGE}")), empty, add)
    }

    /// Reads a Node.
    pub fn node(&self, name: &NodeName) -> Result<Option<Node>, ApiError> {
        self.find(&node(Verb::Get, name))
    }

    /// Reads the metadata of a Node.
    pub fn node_meta(&self, name: &NodeName) -> Result<Option<NodeMeta>, ApiError> {
        self.find(&Call { metadata_only: true, ..node(Verb::Get, name) })
    }

    /// Watches all Nodes from `version` on, for `time`. Once the server has accepted, `open` is called and returns whether to continue.
    /// Then `take` gets each event. `Ok`: `take` or the server ended the watch in order.
    pub fn watch_nodes(
        &self,
        version: u128,
        time: Duration,
        open: impl FnOnce() -> bool,
        take: impl FnMut(NodeEvent) -> ControlFlow<()>,
    ) -> Result<(), ApiError> {
        let path = format!("{NODES}?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        self.client.watch(&call(Verb::Watch, "nodes", "all nodes", path), time, open, take)
    }

    /// Writes the annotations and the cordon of a Node over the version that was read.
    pub fn patch_node(&self, patch: &NodePatch) -> Result<Node, ApiError> {
        self.client.write(&node(Verb::Patch, &patch.name), &patch.merge())
    }

    /// Lists the nodes in service other than `but`, which may run a pod that is evicted from `but`.
    pub fn hosts_besides(&self, but: &NodeName) -> Result<Hosts, ApiError> {
        let path = format!("{NODES}?fieldSelector=spec.unschedulable%3Dfalse&{PAGE}");
        let call = call(Verb::List, "nodes", "the nodes that take pods", path);
        let add = |hosts: &mut Hosts, host: Host| {
            if host.name != *but {
                hosts.add(host)
            }
        };
        self.client.list(&call, Hosts::default, add).map(|(hosts, _)| hosts.into_inner())
    }

    /// Lists the pods of a node, of all namespaces. Tolerations are kept only for a pod that `is_own`.
    pub fn pods_on(&self, node: &NodeName, is_own: impl Fn(&Pod) -> bool) -> Result<Complete<Vec<Pod>>, ApiError> {
        // Without a limit: Kubernetes 1.31 to 1.33 can answer from a cache that is indexed by node. With one they read the pods of all nodes
        // from etcd. A node has a few hundred pods at most.
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let add = |pods: &mut Vec<Pod>, mut pod: Pod| {
            if !is_own(&pod) {
                pod.tolerations = Vec::new();
            }
            pods.push(pod);
        };
        let call = call(Verb::List, "pods", format!("the pods of node {node}"), path);
        self.client.list(&call, Vec::new, add).map(|(pods, _)| pods)
    }

    /// Evicts a pod, unless another pod has its name by now (Eviction API, policy/v1).
    pub fn evict(&self, pod: &PodKey, uid: &Uid) -> Result<(), ApiError> {
        let PodKey { namespace, name } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}}});
        let call = call(Verb::Create, "pods/eviction", format!("eviction of pod {pod}"), path);
        self.client.write(&call, &body).map(|IgnoredAny| ())
    }

    /// Reads the Lease with the lock; `None`: the Lease does not exist.
    pub fn lease(&self) -> Result<Option<Lease>, ApiError> {
        self.find(&self.own(Verb::Get, "leases", LEASE))
    }

    /// Writes the Lease by a JSON merge patch, over the version in the patch, or creates it.
    pub fn write_lease(&self, patch: &Value, new: bool) -> Result<Lease, ApiError> {
        if !new {
            return self.client.write(&self.own(Verb::Patch, "leases", LEASE), patch);
        }
        let mut lease = patch.clone();
        lease["apiVersion"] = json!("coordination.k8s.io/v1");
        lease["kind"] = json!("Lease");
        lease["metadata"]["name"] = json!(LEASE);
        self.client.write(&self.own(Verb::Create, "leases", LEASE), &lease)
    }

    /// Reports whether the namespace of the Lease exists, by a dry run of creating the Lease, which changes nothing. Reading a Lease gives the
    /// same answer in a missing namespace as in an empty one.
    pub fn has_namespace(&self) -> Result<bool, ApiError> {
        let mut call = self.own(Verb::Create, "leases", LEASE);
        call.path.push_str("?dryRun=All");
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}});
        match self.client.write(&call, &lease) {
            Ok(IgnoredAny) | Err(ApiError::Conflict(..)) => Ok(true),
            Err(ApiError::NotFound(_, status)) if status.is_not_found("namespaces", &self.namespace) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the rights that this program needs and does not have (SelfSubjectAccessReview).
    pub fn missing_permissions(&self) -> Result<Vec<Permission>, ApiError> {
        let mut missing = Vec::new();
        for permission in permissions(self.service.as_deref()) {
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let call = call(Verb::Create, REVIEWS, format!("access review for {permission}"), path);
            let review: Review = self.client.write(&call, &permission.review(&self.namespace))?;
            if review.status["allowed"] != true {
                missing.push(permission);
            }
        }
        Ok(missing)
    }

    /// Reads a Service.
    pub fn service(&self, name: &str) -> Result<Option<Service>, ApiError> {
        self.find(&self.own(Verb::Get, "services", name))
    }

    /// Reads the server's certificate and its key.
    pub fn tls_secret(&self) -> Result<Option<TlsSecret>, ApiError> {
        self.find(&self.own(Verb::Get, "secrets", TLS))
    }

    /// Stores the server's certificate and its key, unless the Secret exists already.
    pub fn create_tls_secret(&self, pair: &Pair) -> Result<TlsSecret, ApiError> {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": TLS, "labels": labels()}, "data": pair.data()});
        self.client.write(&self.own(Verb::Create, "secrets", TLS), &body)
    }

    /// Replaces a certificate and key that were read at `version`.
    pub fn patch_tls_secret(&self, version: &ResourceVersion, pair: &Pair) -> Result<TlsSecret, ApiError> {
        let body = json!({"metadata": {"resourceVersion": version}, "data": pair.data()});
        self.client.write(&self.own(Verb::Patch, "secrets", TLS), &body)
    }

    /// Reads the Secret with our CA.
    pub fn ca_secret(&self) -> Result<Option<CaSecret>, ApiError> {
        self.find(&self.own(Verb::Get, "secrets", CA))
    }

    /// Stores our CA, unless the Secret exists already.
    pub fn create_ca_secret(&self, bundle: &CaBundle) -> Result<CaSecret, ApiError> {
        let (annotations, data) = bundle.fields();
        let metadata = json!({"name": CA, "labels": labels(), "annotations": without_nulls(annotations)});
        let body =
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": without_nulls(data)});
        self.client.write(&self.own(Verb::Create, "secrets", CA), &body)
    }

    /// Replaces our CA that was read at `version`.
    pub fn patch_ca_secret(&self, version: &ResourceVersion, bundle: &CaBundle) -> Result<CaSecret, ApiError> {
        let (annotations, data) = bundle.fields();
        let body = json!({"metadata": {"resourceVersion": version, "annotations": annotations}, "data": data});
        self.client.write(&self.own(Verb::Patch, "secrets", CA), &body)
    }

    /// Reads the ConfigMap with the certificates of our CAs.
    pub fn ca_map(&self) -> Result<Option<CaMap>, ApiError> {
        self.find(&self.own(Verb::Get, "configmaps", CA))
    }

    /// Creates the ConfigMap with the certificates of our CAs, unless it exists.
    pub fn create_ca_map(&self, certificates: &str) -> Result<CaMap, ApiError> {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CA, "labels": labels()}, "data": CaMap::data(certificates)});
        self.client.write(&self.own(Verb::Create, "configmaps", CA), &body)
    }

    /// Replaces the certificates that were read at `version`; with `is_done` also removes the annotation that asked for another CA.
    pub fn patch_ca_map(&self, version: &ResourceVersion, certificates: &str, is_done: bool) -> Result<CaMap, ApiError> {
        let mut body = json!({"metadata": {"resourceVersion": version}, "data": CaMap::data(certificates)});
        if is_done {
            body["metadata"]["annotations"] = json!({NEXT_CA_FROM: null});
        }
        self.client.write(&self.own(Verb::Patch, "configmaps", CA), &body)
    }

    /// Reads one object. `None` only if the API server itself answered that this object does not exist. A slot may be freed because of
    /// that, so the 404 of a proxy or of a missing namespace is an error.
    fn find<T: DeserializeOwned>(&self, call: &Call) -> Result<Option<T>, ApiError> {
        let name = call.path.rsplit('/').next().unwrap_or_default();
        match self.client.read(call) {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::NotFound(_, status)) if status.is_not_found(call.resource, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a call for one object of our own namespace. A new object is sent to the path of the collection.
    fn own(&self, verb: Verb, resource: &'static str, name: &str) -> Call {
        let group = if resource == "leases" { "apis/coordination.k8s.io" } else { "api" };
        let namespace = &self.namespace;
        let all = format!("/{group}/v1/namespaces/{namespace}/{resource}");
        let path = if verb == Verb::Create { all } else { format!("{all}/{name}") };
        call(verb, resource, format!("{} {namespace}/{name}", resource.trim_end_matches('s')), path)
    }
}

fn node(verb: Verb, name: &NodeName) -> Call {
    call(verb, "nodes", format!("node {name}"), format!("{NODES}/{name}"))
}

fn call(verb: Verb, resource: &'static str, object: impl Into<String>, path: impl Into<String>) -> Call {
    Call { verb, resource, object: object.into(), path: path.into(), metadata_only: false }
}

/// The labels by which `kubectl get -l` finds our objects.
fn labels() -> Value {
    json!({"app.kubernetes.io/name": "reboot-manager"})
}

/// SelfSubjectAccessReview.
#[derive(Deserialize)]
struct Review {
    status: Value,
}

const NODES: &str = "/api/v1/nodes";

/// Limit of the items of a page, as kubectl and client-go request them.
const PAGE: &str = "limit=500";

/// Right that this program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    verb: &'static str,
    resource: &'static str,
    scope: Scope,
}

/// Objects that a right covers; all but those of the cluster are in the Lease's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Cluster,
    Named(String),
    /// All objects: a create cannot be limited to a name.
    Namespace,
}

/// Lists the rights that this program needs. `service`: the Service for which this program keeps a certificate itself, if it does.
pub fn permissions(service: Option<&str>) -> Vec<Permission> {
    let named = |name: &str| Scope::Named(name.to_owned());
    let mut needed = vec![
        ("get", "nodes", Scope::Cluster),
        ("list", "nodes", Scope::Cluster),
        ("watch", "nodes", Scope::Cluster),
        ("patch", "nodes", Scope::Cluster),
        ("list", "pods", Scope::Cluster),
        ("create", "pods/eviction", Scope::Cluster),
        ("create", "leases", Scope::Namespace),
        ("get", "leases", named(LEASE)),
        ("patch", "leases", named(LEASE)),
    ];
    if let Some(service) = service {
        // None of these covers another Secret.
        needed.extend([
            ("create", "secrets", Scope::Namespace),
            ("get", "secrets", named(CA)),
            ("patch", "secrets", named(CA)),
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
    fn review(&self, namespace: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let mut attributes = json!({"verb": self.verb, "group": group(resource), "resource": resource, "subresource": subresource});
        if self.scope != Scope::Cluster {
            attributes["namespace"] = json!(namespace);
        }
        if let Scope::Named(name) = &self.scope {
            attributes["name"] = json!(name);
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}})
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (group(self.resource), &self.scope) {
            ("", Scope::Named(name)) => write!(f, " {name}"),
            ("", _) => Ok(()),
            (group, _) => write!(f, ".{group}"),
        }
    }
}

/// Returns the API group of a resource; empty for core.
fn group(resource: &str) -> &'static str {
    if resource == "leases" { "coordination.k8s.io" } else { "" }
}
