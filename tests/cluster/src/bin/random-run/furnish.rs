//! The nodes of a round, and what runs on them.

use serde_json::json;
use test_cluster::TestCluster;
use test_cluster::fleet::machine_id;
use test_cluster::kubelet::TERMINATION_MS;
use test_cluster::objects::{self, Placement};

/// Number of nodes.
pub(crate) const NODES: usize = 6;

/// Returns the name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("n{number}")
}

/// Creates nodes and workloads: a Deployment on any node with a budget, one with a pod on each node, one pinned to each node, some of
/// which tolerate everything, and a DaemonSet.
pub(crate) fn furnish(cluster: &TestCluster) {
    let fleet = &cluster.fleet;
    for number in 1..=NODES {
        let name = node_name(number);
        fleet.node(&name, &machine_id(number), &format!("boot-of-{name}")).create();
        let mut pinned = objects::deployment("shop", &format!("pinned-{name}"), 1, Placement::On(&name));
        let template = &mut pinned["spec"]["template"];
        template["metadata"]["annotations"] = json!({ TERMINATION_MS: "1500" });
        template["spec"]["terminationGracePeriodSeconds"] = json!(120);
        fleet.create(&pinned);
        if number % 2 == 1 {
            let mut tolerant = objects::deployment("shop", &format!("tolerant-{name}"), 1, Placement::On(&name));
            tolerant["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            fleet.create(&tolerant);
        }
    }
    fleet.deployment("shop", "web", 6, Placement::Free);
    fleet.budget("shop", "web", 3, "web");
    let mut spread = objects::deployment("shop", "spread", 6, Placement::Free);
    let apart = json!([{"labelSelector": {"matchLabels": {"app": "spread"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}});
    spread["spec"]["template"]["spec"]["affinity"] = affinity;
    fleet.create(&spread);
    fleet.daemon_set("shop", "agentd");
}
