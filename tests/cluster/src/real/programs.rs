//! How each program of the control plane is called: every flag that is not its default, and why.

use std::path::{Path, PathBuf};

use super::credentials::{ACCOUNTS_KEY, ACCOUNTS_PUBLIC_KEY, AUTHORITY, SERVER, SERVER_KEY, TOKENS};

/// Folders and ports.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) programs: PathBuf,
    /// Folder of this run, removed at its end.
    pub(super) folder: PathBuf,
    pub(super) api_port: u16,
    pub(super) controllers_port: u16,
    pub(super) scheduler_port: u16,
    pub(super) lifecycle_port: u16,
}

impl Layout {
    pub(super) fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// A Unix socket costs no port, and no other process can take it first.
    pub(super) fn etcd_socket(&self) -> PathBuf {
        self.folder.join("etcd.sock")
    }

    /// Returns a flag whose value is a file of this run.
    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.folder.join(file).display())
    }

    fn etcd_url(&self) -> String {
        format!("unix://{}", self.etcd_socket().display())
    }
}

/// etcd: one member, nothing ever flushed to a disk.
pub(super) fn etcd(layout: &Layout) -> Vec<String> {
    owned(&[
        "--name=test",
        &layout.flag("data-dir", "etcd"),
        &format!("--listen-client-urls={}", layout.etcd_url()),
        // Must be a host and port; the API server gets the socket.
        "--advertise-client-urls=http://127.0.0.1:1",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--initial-advertise-peer-urls=http://127.0.0.1:0",
        "--initial-cluster=test=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ])
}

/// kube-apiserver, with the admission plugins, RBAC and flow control that a cluster has.
pub(super) fn api_server(layout: &Layout) -> Vec<String> {
    owned(&[
        &format!("--etcd-servers={}", layout.etcd_url()),
        "--etcd-compaction-interval=0",
        "--bind-address=127.0.0.1",
        &format!("--secure-port={}", layout.api_port),
        // No client uses this address. Without it, the machine must have a default route.
        "--advertise-address=192.0.2.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        &layout.flag("tls-cert-file", SERVER),
        &layout.flag("tls-private-key-file", SERVER_KEY),
        &layout.flag("token-auth-file", TOKENS),
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        &layout.flag("service-account-signing-key-file", ACCOUNTS_KEY),
        &layout.flag("service-account-key-file", ACCOUNTS_PUBLIC_KEY),
        "--allow-privileged=true",
        "--profiling=false",
        // With the default of one, a reset takes as long as there are pods.
        "--delete-collection-workers=16",
    ])
}

/// kube-controller-manager: all controllers but those that distrust a Node whose kubelet does not renew its Lease.
pub(super) fn controller_manager(layout: &Layout, kubeconfig: &str) -> Vec<String> {
    let mut arguments = owned(&[
        &layout.flag("kubeconfig", kubeconfig),
        &format!("--secure-port={}", layout.controllers_port),
        "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-device-taint-eviction-controller",
        &layout.flag("service-account-private-key-file", ACCOUNTS_KEY),
        &layout.flag("root-ca-file", AUTHORITY),
        // The default of 20 requests a second makes a drain of 100 pods take seconds.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]);
    arguments.extend(loopback_server(layout));
    arguments
}

/// The controller that sets a Node whose kubelet does not renew its Lease to Unknown, with short times.
pub(super) fn node_lifecycle(layout: &Layout, kubeconfig: &str) -> Vec<String> {
    let mut arguments = owned(&[
        &layout.flag("kubeconfig", kubeconfig),
        &format!("--secure-port={}", layout.lifecycle_port),
        "--controllers=node-lifecycle-controller",
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=8s",
    ]);
    arguments.extend(loopback_server(layout));
    arguments
}

/// kube-scheduler. It tries again within a second what did not fit.
pub(super) fn scheduler(layout: &Layout, configuration: &str) -> Vec<String> {
    let mut arguments = owned(&[&layout.flag("config", configuration), &format!("--secure-port={}", layout.scheduler_port)]);
    arguments.extend(loopback_server(layout));
    arguments
}

/// The content of kube-scheduler's configuration file.
pub(super) fn scheduler_configuration(kubeconfig: &Path) -> String {
    serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": false},
        "clientConnection": {"kubeconfig": kubeconfig, "qps": 500, "burst": 1000},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 1,
    })
    .to_string()
}

fn loopback_server(layout: &Layout) -> Vec<String> {
    owned(&[
        "--bind-address=127.0.0.1",
        &layout.flag("tls-cert-file", SERVER),
        &layout.flag("tls-private-key-file", SERVER_KEY),
        "--leader-elect=false",
        "--profiling=false",
    ])
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}
