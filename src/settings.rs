//! From what was typed and what the environment says to what holds. Nothing raw is left behind this.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::VerifySource;
use crate::cli::{self, Serve};
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
    /// The file with the credentials; `None`: every caller may speak for every node.
    pub auth_file: Option<PathBuf>,
    /// What becomes of a request that does not come from the node it speaks for.
    pub verify_source: VerifySource,
    /// How many nodes may be out at once.
    pub slots: usize,
    /// How long a request is held open.
    pub pre_reboot_wait: Duration,
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
            auth_file: flags.auth_file.clone(),
            verify_source: match flags.verify_source {
                cli::VerifySource::Enforce => VerifySource::Enforce,
                cli::VerifySource::Log => VerifySource::Log,
                cli::VerifySource::Off => VerifySource::Off,
            },
            slots: usize::from(flags.slots),
            pre_reboot_wait: flags.pre_reboot_wait,
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
