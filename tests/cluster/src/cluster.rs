//! The environment of a scenario: a cluster (simulated or real), a kubelet, a proxy with faults, and this program's rights.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::fleet::Fleet;
use crate::heartbeats::Heartbeats;
use crate::kubelet::Kubelet;
use crate::pipe::Pipe;
use crate::real::{ControlPlane, Guard};
use crate::scratch::Scratch;
use crate::server::Start;
use crate::wait::wait_for;
use crate::{Proxy, Simulated, apply};

/// The namespace of kubernetes/deployment.yaml.
pub const NAMESPACE: &str = "reboot-manager";

/// Limit of any wait, for a loaded machine.
pub const SOON: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
    Real,
    /// API server in this process.
    Simulated,
}

/// Cluster of one scenario.
pub struct TestCluster {
    pub fleet: Fleet,
    /// Kubelets of all nodes.
    pub kubelet: Kubelet,
    /// Proxy between the program and the API server.
    pub proxy: Proxy,
    /// Client with all rights.
    pub admin: Api,
    /// Token of the program.
    pub token: String,
    folder: Scratch,
    files: AtomicU32,
    api_server: ApiServer,
}

enum ApiServer {
    Real(Guard),
    Simulated(Box<Simulated>),
}

impl Backend {
    /// Reads the variable `CLUSTER`: `real` or `simulated` (default).
    pub fn chosen() -> Self {
        match std::env::var("CLUSTER").as_deref() {
            Ok("real") => Self::Real,
            Ok("simulated") | Err(_) => Self::Simulated,
            Ok(other) => panic!("CLUSTER is {other:?}; it must be real or simulated"),
        }
    }
}

impl TestCluster {
    /// Starts an empty cluster of the chosen kind, and grants the rights of `manifest` (kubernetes/deployment.yaml).
    pub fn new(manifest: &str) -> Self {
        Self::on(Backend::chosen(), manifest)
    }

    /// Starts an empty cluster of a given kind.
    pub fn on(backend: Backend, manifest: &str) -> Self {
        let (admin, api_server) = match backend {
            Backend::Real => {
                let plane = ControlPlane::exclusive();
                (plane.admin(), ApiServer::Real(plane))
            }
            Backend::Simulated => {
                let simulated = Box::new(Simulated::start());
                (simulated.admin(), ApiServer::Simulated(simulated))
            }
        };
        apply(&admin, manifest, &["Deployment", "PodDisruptionBudget"]);
        let token = api_server.token();
        let fleet = Fleet::new(admin.clone());
        fleet.ensure_namespace("shop");
        let kubelet = Kubelet::start(admin.clone());
        let proxy = Proxy::to(&admin);
        Self { fleet, kubelet, proxy, admin, token, folder: Scratch::new(), files: AtomicU32::new(0), api_server }
    }

    /// Prepares a server whose calls pass through the proxy.
    pub fn server(&self, binary: &Path) -> Start {
        self.server_through(&self.proxy, binary)
    }

    /// Prepares a server whose calls pass through another proxy to this cluster.
    pub fn server_through(&self, proxy: &Proxy, binary: &Path) -> Start {
        self.server_at(&proxy.base(), None, binary)
    }

    /// Prepares a server that calls the API server directly, over TLS on the real cluster.
    pub fn server_direct(&self, binary: &Path) -> Start {
        self.server_at(self.admin.base(), self.ca().as_deref(), binary)
    }

    /// Prepares a server that calls the API server through a pipe.
    pub fn server_via(&self, pipe: &Pipe, binary: &Path) -> Start {
        let scheme = self.admin.base().split("://").next().unwrap_or_default();
        self.server_at(&format!("{scheme}://{}", pipe.address()), self.ca().as_deref(), binary)
    }

    /// Prepares a server that calls the API at `base`.
    pub fn server_at(&self, base: &str, ca: Option<&Path>, binary: &Path) -> Start {
        let kubeconfig = self.kubeconfig(base, ca);
        Start::new(binary, &kubeconfig).arg("--namespace").arg(NAMESPACE)
    }

    /// Prepares a server that reads its token from a file.
    pub fn server_with_token_file(&self, file: &Path, binary: &Path) -> Start {
        let kubeconfig = self.kubeconfig_of(self.admin.base(), self.ca().as_deref(), &json!({"tokenFile": file}));
        Start::new(binary, &kubeconfig).arg("--namespace").arg(NAMESPACE)
    }

    /// Returns `host:port` of the API server.
    pub fn api_address(&self) -> String {
        self.admin.base().split("://").nth(1).unwrap_or_default().to_owned()
    }

    /// Creates a token of the program's account that can be revoked.
    pub fn revocable_token(&self) -> Revocable {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        match &self.api_server {
            ApiServer::Real(plane) => {
                let secret = format!("bound-{number}");
                Revocable { token: plane.token_bound_to(&secret), secret }
            }
            ApiServer::Simulated(_) => Revocable { token: self.api_server.token(), secret: String::new() },
        }
    }

    /// Makes a client of the API server with `token`.
    pub fn api_with(&self, token: &str) -> Api {
        Api::new(self.admin.base(), self.api_server.ca_pem().map(str::as_bytes), Some(token))
    }

    /// Returns a folder for files of the test, removed with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The current lock: the names of the holders.
    pub fn holders(&self) -> Vec<String> {
        self.lock()["holders"].as_array().into_iter().flatten().filter_map(|holder| holder["node"].as_str().map(str::to_owned)).collect()
    }

    /// The current lock; `Null` when there is none.
    pub fn lock(&self) -> Value {
        lock(&self.admin)
    }

    /// Deletes the Lease, as an administrator might.
    pub fn delete_lock(&self) {
        self.admin.delete(LEASE, None).ok();
    }

    /// Reads the annotation `rebootmanager/status` of a node.
    pub fn status(&self, node: &str) -> Option<String> {
        self.fleet.read_node(node)["metadata"]["annotations"]["rebootmanager/status"].as_str().map(str::to_owned)
    }

    /// Sets the annotation `rebootmanager/status` of a node.
    pub fn set_status(&self, node: &str, status: &str) {
        let patch = json!({"metadata": {"annotations": {"rebootmanager/status": status}}});
        self.admin.merge(&format!("/api/v1/nodes/{node}"), &patch).ok();
    }

    /// Reads `spec.unschedulable` of a node.
    pub fn is_cordoned(&self, node: &str) -> bool {
        self.fleet.read_node(node)["spec"]["unschedulable"] == json!(true)
    }

    /// Cordons or uncordons a node, as kubectl does.
    pub fn set_cordon(&self, node: &str, unschedulable: bool) {
        self.admin.merge(&format!("/api/v1/nodes/{node}"), &json!({"spec": {"unschedulable": unschedulable}})).ok();
    }

    /// Waits until `count` pods of the node are Running and Ready.
    #[track_caller]
    pub fn wait_for_running(&self, node: &str, count: usize) {
        wait_for(&format!("{count} pods run on {node}"), SOON, || {
            let pods = self.fleet.pods_on(node);
            let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            if running == count { Ok(()) } else { Err(format!("{running} of {} pods run", pods.len())) }
        });
    }

    /// Waits until no node holds a slot.
    #[track_caller]
    pub fn wait_for_no_holder(&self) {
        wait_for("no node holds a slot", SOON, || if self.holders().is_empty() { Ok(()) } else { Err(self.lock().to_string()) });
    }

    pub fn stop_api_server(&mut self) {
        match &mut self.api_server {
            ApiServer::Real(plane) => plane.stop_api_server(),
            ApiServer::Simulated(simulated) => simulated.stop(),
        }
    }

    pub fn start_api_server(&mut self) {
        match &mut self.api_server {
            ApiServer::Real(plane) => plane.start_api_server(),
            ApiServer::Simulated(simulated) => simulated.restart(),
        }
    }

    /// Stops etcd; the API server keeps running.
    pub fn stop_store(&mut self) {
        match &mut self.api_server {
            ApiServer::Real(plane) => plane.stop_etcd(),
            ApiServer::Simulated(simulated) => simulated.lose_store(true),
        }
    }

    pub fn start_store(&mut self) {
        match &mut self.api_server {
            ApiServer::Real(plane) => plane.start_etcd(),
            ApiServer::Simulated(simulated) => simulated.lose_store(false),
        }
    }

    /// Lets the kubelets of these nodes report that they live. All other nodes become Unknown.
    pub fn heartbeats(&self, nodes: &[&str]) -> Heartbeats<'_> {
        let plane = match &self.api_server {
            ApiServer::Real(plane) => Some(&**plane),
            ApiServer::Simulated(_) => None,
        };
        Heartbeats::start(&self.fleet, plane, nodes)
    }

    /// Returns `kubectl` with all rights; the simulated cluster has none.
    pub fn kubectl(&self) -> Option<std::process::Command> {
        match &self.api_server {
            ApiServer::Real(plane) => Some(plane.kubectl()),
            ApiServer::Simulated(_) => None,
        }
    }

    /// Writes a kubeconfig with the program's token.
    pub fn kubeconfig(&self, server: &str, ca: Option<&Path>) -> PathBuf {
        self.kubeconfig_of(server, ca, &json!({"token": self.token}))
    }

    fn kubeconfig_of(&self, server: &str, ca: Option<&Path>, user: &Value) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.folder.file(&format!("kubeconfig-{number}"), kubeconfig(server, ca, user))
    }

    /// Writes the CA of the API server to a file; the simulated cluster has no TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.api_server.ca_pem().map(|pem| self.folder.file("ca.pem", pem))
    }
}

/// Returns the text of a kubeconfig.
pub(crate) fn kubeconfig(server: &str, ca: Option<&Path>, user: &Value) -> String {
    let mut cluster = json!({"server": server});
    if let Some(ca) = ca {
        cluster["certificate-authority"] = json!(ca);
    }
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    text.to_string()
}

/// Reads the lock of the program; `Null` if there is none.
pub fn lock(admin: &Api) -> Value {
    let lease = admin.get(LEASE);
    let text = lease.body["metadata"]["annotations"]["rebootmanager/holders"].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Token that can be revoked.
pub struct Revocable {
    token: String,
    /// Secret to which the token is bound, on the real cluster.
    secret: String,
}

impl Revocable {
    pub fn text(&self) -> &str {
        &self.token
    }

    /// Revokes the token. The real API server may accept a revoked token for some more seconds.
    pub fn revoke(&self, cluster: &TestCluster) {
        match &cluster.api_server {
            ApiServer::Real(_) => cluster.admin.delete(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/{}", self.secret), None).ok(),
            ApiServer::Simulated(simulated) => {
                simulated.revoke_tokens();
                Value::Null
            }
        };
    }
}

impl ApiServer {
    /// Returns the CA; the simulated cluster has no TLS.
    fn ca_pem(&self) -> Option<&str> {
        match self {
            Self::Real(plane) => Some(plane.ca_pem()),
            Self::Simulated(_) => None,
        }
    }

    fn token(&self) -> String {
        match self {
            Self::Real(plane) => plane.token(),
            Self::Simulated(simulated) => simulated.token_for(NAMESPACE, "reboot-manager"),
        }
    }
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager";
