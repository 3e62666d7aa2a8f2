//! Nodes as places for this program's own pods.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::node::WireNode;
use super::toleration::Taint;
use super::{NodeName, Pod, ReadyCondition};

/// A Node as a place for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireNode")]
#[serde(expecting = "an object")]
pub struct Host {
    /// `metadata.name`.
    pub name: NodeName,
    // Ready and not cordoned. A cordoned node is no place even for a pod that tolerates the cordon: it may be drained next.
    in_service: bool,
    taints: BTreeSet<Taint>,
}

/// The nodes in service: the taints of each, equal sets once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(BTreeSet<BTreeSet<Taint>>);

impl Hosts {
    /// Adds a node, if it is in service.
    pub fn add(&mut self, host: Host) {
        if host.in_service {
            self.0.insert(host.taints);
        }
    }

    /// Reports whether `pod` tolerates all taints of at least one host.
    pub fn can_run(&self, pod: &Pod) -> bool {
        self.0.iter().any(|taints| taints.iter().all(|taint| pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))))
    }
}

impl From<WireNode> for Host {
    fn from(wire: WireNode) -> Self {
        let in_service = wire.status.conditions.readiness().0 == ReadyCondition::Ready && wire.spec.unschedulable != Some(true);
        Self { name: wire.metadata.name, in_service, taints: wire.spec.taints.into_iter().flatten().filter(Taint::is_strict).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn host(ready: &str, spec: &Value) -> Host {
        let wire = json!({"metadata": {"name": "n1"}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        serde_json::from_value(wire).unwrap()
    }

    fn can_run(hosts: impl IntoIterator<Item = Host>, tolerations: &Value) -> bool {
        let pod = json!({"metadata": {"name": "p", "namespace": "rm"}, "spec": {"tolerations": tolerations}});
        let mut all = Hosts::default();
        hosts.into_iter().for_each(|host| all.add(host));
        all.can_run(&serde_json::from_value(pod).unwrap())
    }

    fn taint(key: &str, effect: &str) -> Value {
        json!({"taints": [{"key": key, "effect": effect}]})
    }

    /// The tolerations of kubernetes/deployment.yaml.
    fn shipped() -> Value {
        let keys = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "node.kubernetes.io/unschedulable"];
        keys.map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"})).into_iter().collect()
    }

    #[test]
    fn a_node_in_service_runs_pods_that_tolerate_its_taints() {
        let cases = [
            ("True", json!({}), true),
            ("False", json!({}), false),
            ("Unknown", json!({}), false),
            ("True", json!({"unschedulable": true}), false),
            ("True", taint("node-role.kubernetes.io/control-plane", "NoSchedule"), true),
            ("True", taint("node-role.kubernetes.io/control-plane", "NoExecute"), false),
            // The taint remains for a moment after a node was uncordoned.
            ("True", taint("node.kubernetes.io/unschedulable", "NoSchedule"), true),
            ("True", taint("gpu", "PreferNoSchedule"), true),
            ("True", taint("gpu", "NoSchedule"), false),
            ("True", taint("gpu", "NoExecute"), false),
        ];
        for (ready, spec, can) in cases {
            assert_eq!(can_run([host(ready, &spec)], &shipped()), can, "{ready} {spec}");
        }
    }

    #[test]
    fn a_pod_must_tolerate_every_taint_of_one_node() {
        let pool = |value: &str| json!({"key": "pool", "value": value, "effect": "NoSchedule"});
        let (web, both) = (json!({"taints": [pool("web")]}), json!({"taints": [pool("web"), {"key": "gpu", "effect": "NoExecute"}]}));
        let tolerates_web = json!([{"key": "pool", "operator": "Equal", "value": "web"}]);
        let tolerates_all = json!([{"operator": "Exists"}]);
        let cases = [
            (vec![&web], json!([]), false),
            (vec![&web], tolerates_web.clone(), true),
            (vec![&both], tolerates_web.clone(), false),
            (vec![&both, &web], tolerates_web, true),
            (vec![&both], tolerates_all.clone(), true),
            (vec![], tolerates_all, false),
        ];
        for (specs, tolerations, can) in cases {
            assert_eq!(can_run(specs.iter().map(|spec| host("True", spec)), &tolerations), can, "{specs:?} {tolerations}");
        }
    }
}
