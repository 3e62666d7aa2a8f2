//! Every call this program makes, by name. kubernetes/deployment.yaml grants just these.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::permissions::{LEASE, Permission, needed};
use crate::cluster::{
    CaMap, Complete, Host, Hosts, Lease, Member, Node, NodeEvent, NodeMark, NodeName, NodePatch, Pair, Pod, PodKey, ResourceVersion,
    Service, TlsSecret, Uid,
};
use crate::kube::client::{ApiError, Call, Client, Content, Detail, Verb};

/// Name of access reviews in metrics.
pub const REVIEWS: &str = "selfsubjectaccessreviews";

/// The API as this program uses it.
pub struct Kube {
    client: Client,
    namespace: String,
    service: Option<String>,
}

impl Kube {
    /// `namespace` is where the Lease lives. `service` is the Service for which this program keeps a certificate in
    /// Secrets, if it does; it decides which rights are needed.
    pub fn new(client: Client, namespace: String, service: Option<String>) -> Self {
        Self { client, namespace, service }
    }

    /// Where the Lease and the Secrets live.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// All Nodes, added one at a time, and the version at which they were so. A whole Node is 10 KB and more, so none is kept.
    pub fn nodes<A>(&self, empty: impl Fn() -> A, add: impl FnMut(&mut A, Member)) -> Result<(Complete<A>, ResourceVersion), ApiError> {
        self.client.list_at(&list("nodes", "all nodes", "/api/v1/nodes".to_owned(), Detail::Whole), empty, add)
    }

    /// One Node.
    pub fn node(&self, name: &NodeName) -> Result<Option<Node>, ApiError> {
        self.find(&get("nodes", &format!("node {name}"), format!("/api/v1/nodes/{name}"), Detail::Whole))
    }

    /// One Node's metadata.
    pub fn node_mark(&self, name: &NodeName) -> Result<Option<NodeMark>, ApiError> {
        self.find(&get("nodes", &format!("node {name}"), format!("/api/v1/nodes/{name}"), Detail::Metadata))
    }

    /// Changes of all Nodes after `version`, for `time`. `open` is called when the server has agreed, and says whether to begin;
    /// then `take` gets each event. Ends well when `take` or the server has had enough.
    pub fn watch_nodes(
        &self,
        version: u128,
        time: Duration,
        open: impl FnOnce() -> bool,
        take: impl FnMut(NodeEvent) -> ControlFlow<()>,
    ) -> Result<(), ApiError> {
        let path = format!("/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let call = Call { verb: Verb::Watch, resource: "nodes", object: "all nodes", path, detail: Detail::Whole };
        self.client.watch(&call, time, open, take)
    }

    /// Writes a Node's mark and cordon, at the version it was read at.
    pub fn patch_node(&self, patch: &NodePatch) -> Result<Node, ApiError> {
        let (object, path) = (format!("node {}", patch.name), format!("/api/v1/nodes/{}", patch.name));
        self.client.write(&write(Verb::Patch, "nodes", &object, path), Content::MergePatch, &patch.merge())
    }

    /// The nodes in service other than `but`: where a pod that is evicted from `but` may go.
    pub fn hosts_besides(&self, but: &NodeName) -> Result<Hosts, ApiError> {
        let path = "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse".to_owned();
        let call = list("nodes", "the nodes that take pods", path, Detail::Whole);
        let add = |hosts: &mut Hosts, host: Host| {
            if host.name != *but {
                hosts.add(host)
            }
        };
        self.client.list(&call, Hosts::default, add).map(Complete::into_inner)
    }

    /// The pods bound to a node, of all namespaces. Only for a pod that `is_own` its tolerations are kept.
    pub fn pods_on(&self, node: &NodeName, is_own: impl Fn(&Pod) -> bool) -> Result<Complete<Vec<Pod>>, ApiError> {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let add = |pods: &mut Vec<Pod>, mut pod: Pod| {
            if !is_own(&pod) {
                pod.tolerations = Vec::new();
            }
            pods.push(pod);
        };
        self.client.list(&list("pods", &format!("the pods of node {node}"), path, Detail::Whole), Vec::new, add)
    }

    /// Asks a pod to go, unless another pod has its name by now (Eviction API, policy/v1).
    pub fn evict(&self, pod: &PodKey, uid: &Uid) -> Result<(), ApiError> {
        let PodKey { namespace, name } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}}});
        let object = format!("eviction of pod {pod}");
        self.client.write(&write(Verb::Create, "pods/eviction", &object, path), Content::Json, &body).map(|IgnoredAny| ())
    }

    /// The Lease that holds the lock; `None`: there is none yet.
    pub fn lease(&self) -> Result<Option<Lease>, ApiError> {
        self.find(&get("leases", &self.lease_object(), format!("{}/{LEASE}", self.leases()), Detail::Whole))
    }

    /// Writes the Lease by a JSON merge patch: over the version the patch names, or as a new one.
    pub fn write_lease(&self, patch: &Value, new: bool) -> Result<Lease, ApiError> {
        let object = self.lease_object();
        if !new {
            let path = format!("{}/{LEASE}", self.leases());
            return self.client.write(&write(Verb::Patch, "leases", &object, path), Content::MergePatch, patch);
        }
        let mut lease = patch.clone();
        lease["apiVersion"] = json!("coordination.k8s.io/v1");
        lease["kind"] = json!("Lease");
        lease["metadata"]["name"] = json!(LEASE);
        self.client.write(&write(Verb::Create, "leases", &object, self.leases()), Content::Json, &lease)
    }

    /// The rights this program needs and has not (SelfSubjectAccessReview); an empty list when all is well.
    pub fn missing_permissions(&self) -> Result<Vec<Permission>, ApiError> {
        let mut missing = Vec::new();
        for permission in needed(self.service.as_deref()) {
            let object = format!("access review for {permission}");
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned();
            let call = write(Verb::Create, REVIEWS, &object, path);
            let Allowed(allowed) = self.client.write(&call, Content::Json, &permission.review(&self.namespace))?;
            if !allowed {
                missing.push(permission);
            }
        }
        Ok(missing)
    }

    /// The Service with this name.
    pub fn service(&self, name: &str) -> Result<Option<Service>, ApiError> {
        let path = format!("{}/{name}", self.core("services"));
        self.find(&get("services", &self.named("service", name), path, Detail::Whole))
    }

    /// A certificate and its key.
    pub fn tls_secret(&self, name: &str) -> Result<Option<TlsSecret>, ApiError> {
        let path = format!("{}/{name}", self.core("secrets"));
        self.find(&get("secrets", &self.named("secret", name), path, Detail::Whole))
    }

    /// Stores a certificate and its key, unless the Secret exists already.
    pub fn create_tls_secret(&self, name: &str, pair: &Pair) -> Result<TlsSecret, ApiError> {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "labels": labels()}, "data": pair.data()});
        self.client.write(&write(Verb::Create, "secrets", &self.named("secret", name), self.core("secrets")), Content::Json, &body)
    }

    /// Puts another certificate and key in the place of what was read at `version`.
    pub fn patch_tls_secret(&self, name: &str, version: &ResourceVersion, pair: &Pair) -> Result<TlsSecret, ApiError> {
        let path = format!("{}/{name}", self.core("secrets"));
        let body = json!({"metadata": {"resourceVersion": version}, "data": pair.data()});
        self.client.write(&write(Verb::Patch, "secrets", &self.named("secret", name), path), Content::MergePatch, &body)
    }

    /// The ConfigMap that shows a CA's certificate.
    pub fn ca_map(&self, name: &str) -> Result<Option<CaMap>, ApiError> {
        let path = format!("{}/{name}", self.core("configmaps"));
        self.find(&get("configmaps", &self.named("configmap", name), path, Detail::Whole))
    }

    /// Shows a CA's certificate, unless the ConfigMap exists already.
    pub fn create_ca_map(&self, name: &str, certificate: &str) -> Result<CaMap, ApiError> {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels()}, "data": CaMap::data(certificate)});
        self.client.write(&write(Verb::Create, "configmaps", &self.named("configmap", name), self.core("configmaps")), Content::Json, &body)
    }

    /// Shows another certificate in the place of what was read at `version`.
    pub fn patch_ca_map(&self, name: &str, version: &ResourceVersion, certificate: &str) -> Result<CaMap, ApiError> {
        let path = format!("{}/{name}", self.core("configmaps"));
        let body = json!({"metadata": {"resourceVersion": version}, "data": CaMap::data(certificate)});
        self.client.write(&write(Verb::Patch, "configmaps", &self.named("configmap", name), path), Content::MergePatch, &body)
    }

    /// Reads one object. `None` only when Kubernetes itself says that this very object does not exist: what follows from that
    /// (a slot is freed, a node is unknown) must not follow from the 404 of a proxy, or of a missing namespace.
    fn find<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<Option<T>, ApiError> {
        let name = call.path.rsplit('/').next().unwrap_or_default();
        match self.client.read(call) {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::NotFound { status, .. }) if status.is_not_found(call.resource, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn core(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    fn named(&self, kind: &str, name: &str) -> String {
        format!("{kind} {}/{name}", self.namespace)
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn lease_object(&self) -> String {
        format!("lease {}/{LEASE}", self.namespace)
    }
}

/// The labels by which `kubectl get -l` finds our objects.
fn labels() -> Value {
    json!({"app.kubernetes.io/name": "reboot-manager"})
}

/// `status.allowed` of a SelfSubjectAccessReview.
struct Allowed(bool);

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Review {
            status: ReviewStatus,
        }
        #[derive(serde::Deserialize)]
        struct ReviewStatus {
            #[serde(default)]
            allowed: bool,
        }
        Review::deserialize(from).map(|review| Self(review.status.allowed))
    }
}

fn get<'a>(resource: &'static str, object: &'a str, path: String, detail: Detail) -> Call<'a> {
    Call { verb: Verb::Get, resource, object, path, detail }
}

fn list<'a>(resource: &'static str, object: &'a str, path: String, detail: Detail) -> Call<'a> {
    Call { verb: Verb::List, resource, object, path, detail }
}

fn write<'a>(verb: Verb, resource: &'static str, object: &'a str, path: String) -> Call<'a> {
    Call { verb, resource, object, path, detail: Detail::Whole }
}
