//! From what was typed and what the environment says to what holds. Nothing raw is left behind this.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::Serve;
use crate::cluster::Uid;
use crate::drain::Ours;
use crate::kube::{Environment, Given};

/// The namespace of the Lease when nothing else names one.
const NAMESPACE: &str = "reboot-manager";

/// Everything `serve` needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where nodes call.
    pub listen: SocketAddr,
    /// Where probes and Prometheus call.
    pub ops_listen: SocketAddr,
    /// The path below which the protocol is served.
    pub base_path: String,
    /// How many nodes may be out at once.
    pub slots: usize,
    /// How long a request is held open.
    pub pre_reboot_wait: Duration,
    /// How many nodes may be connected at once.
    pub max_connections: usize,
    /// From the connection to the complete request.
    pub request_timeout: Duration,
    /// Which Kubernetes API.
    pub given: Given,
    /// How to tell our own pods.
    pub ours: Ours,
    namespace: Option<String>,
}

impl Settings {
    /// From flags and the process's environment, which is read here and nowhere else.
    pub fn new(flags: &Serve) -> Self {
        let pod_namespace = variable("POD_NAMESPACE");
        Self {
            listen: flags.listen,
            ops_listen: flags.ops_listen,
            base_path: flags.base_path.clone(),
            slots: usize::from(flags.slots),
            pre_reboot_wait: flags.pre_reboot_wait,
            max_connections: usize::from(flags.max_connections),
            request_timeout: flags.request_timeout,
            given: Given { kubeconfig: flags.kubeconfig.clone(), context: flags.context.clone(), environment: Environment::of(variable) },
            ours: Ours {
                uid: variable("POD_UID").map(Uid),
                name: variable("POD_NAME"),
                namespace: pod_namespace.clone(),
                service_account: variable("POD_SERVICE_ACCOUNT"),
            },
            namespace: flags.namespace.clone().or(pod_namespace),
        }
    }

    /// The Lease's namespace; `own` is the one that the service account's files name, in a pod.
    pub fn namespace(&self, own: Option<&str>) -> String {
        self.namespace.as_deref().or(own).unwrap_or(NAMESPACE).to_owned()
    }
}

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
