//! Every call this program makes, by name. What is not here it cannot do; kubernetes/deployment.yaml grants just this.

use serde::de::{Deserialize, IgnoredAny};
use serde_json::{Value, json};

use super::permissions::{NEEDED, Permission};
use super::{ApiError, Call, Client, Content, Form, Verb};
use crate::cluster::{Complete, Host, Lease, Node, NodeIdentity, NodeMark, NodeName, NodePatch, Pod, PodKey, Status, Uid};

/// The Lease's name.
pub const LEASE: &str = "reboot-manager";

/// The API as this program uses it.
pub struct Kube {
    client: Client,
    namespace: String,
}

impl Kube {
    /// `namespace` is where the Lease lives.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// Name and machine of every node, added one at a time: a whole Node is 10 KB and more, so none is kept.
    pub fn identities<A>(&self, empty: impl Fn() -> A, add: impl FnMut(&mut A, NodeIdentity)) -> Result<Complete<A>, ApiError> {
        self.client.list(&list("nodes", "the machine-ids of all nodes", "/api/v1/nodes".to_owned(), Form::Whole), empty, add)
    }

    /// One Node.
    pub fn node(&self, name: &NodeName) -> Result<Option<Node>, ApiError> {
        found(self.client.read(&get("nodes", &format!("node {name}"), format!("/api/v1/nodes/{name}"), Form::Whole)))
    }

    /// One Node's metadata.
    pub fn node_mark(&self, name: &NodeName) -> Result<Option<NodeMark>, ApiError> {
        found(self.client.read(&get("nodes", &format!("node {name}"), format!("/api/v1/nodes/{name}"), Form::Metadata)))
    }

    /// The nodes marked `Rebooting`, or with a record of our cordon. Annotations cannot be selected by, so this reads the
    /// metadata of all.
    pub fn marked_nodes(&self) -> Result<Complete<Vec<NodeMark>>, ApiError> {
        let call = list("nodes", "the marks of all nodes", "/api/v1/nodes".to_owned(), Form::Metadata);
        self.client.list(&call, Vec::new, |marked, mark: NodeMark| {
            if mark.status == Status::Rebooting || mark.record.is_some() {
                marked.push(mark);
            }
        })
    }

    /// Writes a Node's mark and cordon, at the version it was read at.
    pub fn patch_node(&self, patch: &NodePatch) -> Result<Node, ApiError> {
        let (object, path) = (format!("node {}", patch.name), format!("/api/v1/nodes/{}", patch.name));
        self.client.write(&write(Verb::Patch, "nodes", &object, path), Content::MergePatch, &patch.merge())
    }

    /// Whether a node other than `but` is Ready, schedulable, and has no taint that keeps our own pods away.
    pub fn another_node_can_run_us(&self, but: &NodeName) -> Result<bool, ApiError> {
        let path = "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse".to_owned();
        let call = list("nodes", "the nodes that take pods", path, Form::Whole);
        let able = self.client.list(&call, || false, |able, host: Host| *able |= host.name != *but && host.takes_us)?;
        Ok(able.into_inner())
    }

    /// The pods bound to a node, of all namespaces.
    pub fn pods_on(&self, node: &NodeName) -> Result<Complete<Vec<Pod>>, ApiError> {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        self.client.list(&list("pods", &format!("the pods of node {node}"), path, Form::Whole), Vec::new, Vec::push)
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
        found(self.client.read(&get("leases", &self.lease_object(), format!("{}/{LEASE}", self.leases()), Form::Whole)))
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
    pub fn missing_permissions(&self) -> Result<Vec<&'static Permission>, ApiError> {
        let mut missing = Vec::new();
        for permission in NEEDED {
            let object = format!("access review for {permission}");
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned();
            let call = write(Verb::Create, "selfsubjectaccessreviews", &object, path);
            let Allowed(allowed) = self.client.write(&call, Content::Json, &permission.review(&self.namespace, LEASE))?;
            if !allowed {
                missing.push(permission);
            }
        }
        Ok(missing)
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn lease_object(&self) -> String {
        format!("lease {}/{LEASE}", self.namespace)
    }
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

fn get<'a>(resource: &'static str, object: &'a str, path: String, form: Form) -> Call<'a> {
    Call { verb: Verb::Get, resource, object, path, form }
}

fn list<'a>(resource: &'static str, object: &'a str, path: String, form: Form) -> Call<'a> {
    Call { verb: Verb::List, resource, object, path, form }
}

fn write<'a>(verb: Verb, resource: &'static str, object: &'a str, path: String) -> Call<'a> {
    Call { verb, resource, object, path, form: Form::Whole }
}

fn found<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(ApiError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
