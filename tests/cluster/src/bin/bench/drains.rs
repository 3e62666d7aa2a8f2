//! Drains a node of 100 pods, in turn by the program and by `kubectl drain`: without a budget, and with one that allows a tenth of the
//! pods to be unavailable.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use test_cluster::cluster::SOON;
use test_cluster::fleet::machine_id;
use test_cluster::objects::{self, Placement};
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

const PODS: u32 = 100;

/// Budgets, and how often each of the two drains is measured.
const ROUNDS: [(&str, Option<u32>, usize); 2] = [("none", None, 4), ("90 of 100 pods must be available", Some(PODS / 10 * 9), 2)];

/// Nodes of the pods: a drain moves all pods from one to the other.
const STAGE: [&str; 2] = ["stage-0", "stage-1"];

/// First machine-id of the two, beyond those of all other nodes.
const STAGE_IDS: usize = 1_000_000;

const LABEL: &str = "bench/stage";

pub(super) fn measure(cluster: &TestCluster, program: &Path) {
    println!("\n| drain of {PODS} pods | budget | s, each round | pods alive at the end |\n|---|---|---|---|");
    for (number, name) in STAGE.iter().enumerate() {
        cluster.fleet.node(name, &machine_id(STAGE_IDS + number), "boot").label(LABEL, "yes").create();
    }
    let server = cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager=info").arg("--pre-reboot-wait=600s").start();
    cluster.set_cordon(STAGE[1], true);
    let mut deployment = objects::deployment("shop", "web", PODS, Placement::Free);
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({LABEL: "yes"});
    cluster.fleet.create(&deployment);
    cluster.wait_for_running(STAGE[0], PODS as usize);
    cluster.set_cordon(STAGE[1], false);
    let mut full = 0;
    for (name, available, rounds) in ROUNDS {
        if let Some(available) = available {
            cluster.fleet.budget("shop", "web", available, "web");
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds * 2 {
            healthy(cluster, available);
            let node = STAGE[full];
            if round % 2 == 0 {
                ours.push(reboot_manager(cluster, &server, full));
            } else {
                theirs.push(kubectl(cluster, node));
            }
            full = 1 - full;
            cluster.wait_for_running(STAGE[full], PODS as usize);
        }
        for (who, seen) in [("reboot-manager, from the request to the 200", ours), ("`kubectl drain`", theirs)] {
            let times: Vec<String> = seen.iter().map(|(seconds, _)| format!("{seconds:.1}")).collect();
            let alive: Vec<String> = seen.iter().map(|(_, alive)| alive.to_string()).collect();
            println!("| {who} | {name} | {} | {} |", times.join(", "), alive.join(", "));
        }
    }
}

/// Waits until the budget, if any, counts all pods as healthy.
fn healthy(cluster: &TestCluster, available: Option<u32>) {
    let Some(available) = available else { return };
    wait_for("the budget sees all pods", SOON, || {
        let budget = cluster.admin.get("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web").ok();
        let allowed = budget["status"]["disruptionsAllowed"].clone();
        if allowed == json!(PODS - available) { Ok(()) } else { Err(format!("it allows {allowed}")) }
    });
}

/// Returns the seconds from the request to the approval, and the number of pods on the node at that moment.
fn reboot_manager(cluster: &TestCluster, server: &Server, stage: usize) -> (f64, usize) {
    let zincati = server.zincati(&machine_id(STAGE_IDS + stage));
    let begun = Instant::now();
    zincati.pre_reboot().expect(200, "approved");
    let took = begun.elapsed().as_secs_f64();
    let alive = cluster.fleet.pods_on(STAGE[stage]).len();
    cluster.fleet.reboot(STAGE[stage]);
    zincati.steady_state().expect(200, "steady_state");
    (took, alive)
}

fn kubectl(cluster: &TestCluster, node: &str) -> (f64, usize) {
    let mut kubectl = cluster.kubectl().expect("kubectl");
    let begun = Instant::now();
    let output = kubectl.args(["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force"]).output().expect("kubectl runs");
    let took = begun.elapsed().as_secs_f64();
    let alive = cluster.fleet.pods_on(node).len();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.set_cordon(node, false);
    (took, alive)
}
