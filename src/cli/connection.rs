//! Flags of every command that calls Kubernetes.

use std::path::PathBuf;

use clap::Args;

/// Which Kubernetes API, and which Lease.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Kubeconfig to use outside the cluster (default: as kubectl finds it)
    #[arg(long, env = "REBOOT_MANAGER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current one)
    #[arg(long, env = "REBOOT_MANAGER_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of the Lease that holds the lock (default: the pod's own, else reboot-manager)
    #[arg(long, env = "REBOOT_MANAGER_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
}
