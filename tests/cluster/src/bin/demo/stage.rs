//! Set-up of the demo: three nodes, and one workload of each kind that a drain meets.

use serde_json::{Value, json};

use test_cluster::kubelet::{START_MS, TERMINATION_MS};
use test_cluster::objects::{self, Placement};
use test_cluster::{Server, TestCluster};

/// The nodes and their machine-ids.
pub(crate) const NODES: [(&str, &str); 3] =
    [("n1", "1c09ca98649c4c7abc779cd04c96812e"), ("n2", "dfd7882acda64c34aca76193c46f5d4e"), ("n3", "0123456789abcdef0123456789abcdef")];

/// Ids that Zincati derives from these machine-ids.
pub(crate) const IDS: [&str; 3] =
    ["978a225b3d7b40e9acd7ce9b62f68444", "35ba2101ae3f4d45b96e9c51f461bbff", "583627a932274834a8ebd99f4ed41c0d"];

/// The namespace of the workloads.
pub(crate) const SHOP: &str = "shop";

/// The Deployment with a budget.
pub(crate) const WEB: &str = "web";

/// Number of its pods, and minimum that its budget requires to be healthy.
pub(crate) const WEB_PODS: u32 = 4;
pub(crate) const WEB_MIN: u32 = 3;

/// Creates nodes and workloads, and waits until all pods run.
pub(crate) fn set(cluster: &TestCluster) {
    for (node, machine_id) in NODES {
        cluster.fleet.node(node, machine_id, &format!("first-boot-of-{node}")).create();
    }
    let workloads = [
        objects::deployment(SHOP, WEB, WEB_PODS, Placement::Free),
        objects::stateful_set(SHOP, "db", 2, Placement::Free),
        objects::daemon_set(SHOP, "logs"),
    ];
    for mut workload in workloads {
        workload["spec"]["template"] = at_leisure(workload["spec"]["template"].take());
        cluster.fleet.create(&workload);
    }
    cluster.fleet.create(&at_leisure(objects::bare_pod(SHOP, "lonely", Placement::On("n1"))));
    cluster.fleet.budget(SHOP, WEB, WEB_MIN, WEB);
    // Three of the DaemonSet, four of the Deployment, two of the StatefulSet, one alone: the scheduler spreads them.
    test_cluster::wait::wait_for("all pods run", test_cluster::cluster::SOON, || {
        let pods: Vec<Value> = NODES.iter().flat_map(|(node, _)| cluster.fleet.pods_on(node)).collect();
        let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        if running == 10 { Ok(()) } else { Err(format!("{running} of 10")) }
    });
}

/// Describes the demo.
pub(crate) fn description([a, b]: &[Server; 2]) -> String {
    format!(
        "
The cluster is simulated in this process. The program is the real one, in two replicas
(a on {}, b on {}), with the rights of kubernetes/deployment.yaml.

nodes      n1, n2, n3, each with an agent that speaks as Zincati does
workloads  Deployment {WEB} ({WEB_PODS} pods; its PodDisruptionBudget requires {WEB_MIN} healthy), StatefulSet db (2),
           DaemonSet logs (one on each node, not evicted), and lonely, a pod without an owner
rule       1 node at a time. A refused agent asks again after 3 s here, 5 min in reality.
",
        a.address, b.address
    )
}

/// Slows down the start and end of a pod or template, so that people can follow.
fn at_leisure(mut pod: Value) -> Value {
    pod["metadata"]["annotations"] = json!({START_MS: "2000", TERMINATION_MS: "1500"});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    pod
}
