//! Nodes as places for this program's own pods.

use serde::Deserialize;

use super::NodeName;
use super::readiness::{Conditions, Readiness};

/// A Node as a place for our own pods.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireHost")]
pub struct Host {
    /// `metadata.name`.
    pub name: NodeName,
    /// Ready, and without a taint that kubernetes/deployment.yaml does not tolerate.
    pub takes_us: bool,
}

/// Taints that our own pods tolerate.
const TOLERATED: [&str; 3] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "node.kubernetes.io/unschedulable"];

impl From<WireHost> for Host {
    fn from(wire: WireHost) -> Self {
        let repels = |taint: &WireTaint| taint.effect != "PreferNoSchedule" && !TOLERATED.contains(&taint.key.as_str());
        let repelled = wire.spec.taints.unwrap_or_default().iter().any(repels);
        let takes_us = wire.status.conditions.readiness().0 == Readiness::Ready && wire.spec.unschedulable != Some(true) && !repelled;
        Self { name: wire.metadata.name, takes_us }
    }
}

#[derive(Deserialize)]
struct NameAlone {
    name: NodeName,
}

#[derive(Deserialize)]
struct WireHost {
    metadata: NameAlone,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Default, Deserialize)]
struct WireSpec {
    #[serde(default)]
    unschedulable: Option<bool>,
    #[serde(default)]
    taints: Option<Vec<WireTaint>>,
}

#[derive(Default, Deserialize)]
struct WireStatus {
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Deserialize)]
struct WireTaint {
    key: String,
    effect: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ready_takes_pods_and_has_no_taint_but_those_we_tolerate() {
        let host = |ready: &str, spec: &str| -> Host {
            let wire = format!(
                "{{\"metadata\": {{\"name\": \"n1\"}}, \"spec\": {{{spec}}}, \"status\": {{\"conditions\": [{{\"type\": \"Ready\", \"status\": \"{ready}\"}}]}}}}"
            );
            serde_json::from_str(&wire).unwrap()
        };
        let taint = |key: &str, effect: &str| format!("\"taints\": [{{\"key\": \"{key}\", \"effect\": \"{effect}\"}}]");
        let cases = [
            ("True", String::new(), true),
            ("False", String::new(), false),
            ("Unknown", String::new(), false),
            ("True", "\"unschedulable\": true".to_owned(), false),
            ("True", taint("node-role.kubernetes.io/control-plane", "NoSchedule"), true),
            ("True", taint("gpu", "PreferNoSchedule"), true),
            ("True", taint("gpu", "NoSchedule"), false),
            ("True", taint("gpu", "NoExecute"), false),
        ];
        for (ready, spec, takes_us) in cases {
            assert_eq!(host(ready, &spec), Host { name: NodeName("n1".to_owned()), takes_us }, "{ready} {spec}");
        }
    }
}
