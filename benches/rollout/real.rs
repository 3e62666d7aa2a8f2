//! A shortened roll-out on a real control plane: the built program as two replicas, agents that ask all at once, and pods that take their
//! time to end.
#![expect(clippy::disallowed_methods, reason = "the roll-out plays machines that take their time to boot, and is measured")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use test_cluster::cluster::Backend;
use test_cluster::fleet::machine_id;
use test_cluster::promises::Promises;
use test_cluster::{Server, TestCluster};

use super::world::Case;

const MANIFEST: &str = include_str!("../../kubernetes/deployment.yaml");

/// Pause of an agent after a refusal. No agent should need it.
const AGAIN: Duration = Duration::from_secs(5);

/// Limit of the roll-out.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Result of a roll-out.
pub(crate) struct Measured {
    /// Time from the first request until the last node has checked in, in seconds.
    pub(crate) time: f64,
    /// Number of requests for a reboot that were not approved.
    pub(crate) refused: usize,
    pub(crate) broken: Vec<String>,
}

/// Plays the roll-out of `case` without its obstacle.
pub(crate) fn play(case: Case) -> Measured {
    let cluster = TestCluster::on(Backend::Real, MANIFEST);
    cluster.fleet.padded_nodes(0..case.nodes);
    for number in 0..case.nodes {
        cluster.fleet.slow_pod("shop", &format!("slow-{number}"), &name(number), milliseconds(case.drain));
    }
    (0..case.nodes).for_each(|number| cluster.wait_for_running(&name(number), 1));
    let replicas = [(); 2].map(|()| replica(&cluster, case));
    let (promises, refused) = (Promises::new(&cluster, case.slots), AtomicUsize::new(0));
    let begun = Instant::now();
    let rebooted = thread::scope(|scope| {
        let agents: Vec<_> = (0..case.nodes)
            .map(|number| {
                let (cluster, promises, refused, replica) = (&cluster, &promises, &refused, &replicas[number % replicas.len()]);
                scope.spawn(move || reboot(number, case, cluster, replica, promises, refused))
            })
            .collect();
        agents.into_iter().filter_map(|agent| agent.join().ok()).filter(|rebooted| *rebooted).count()
    });
    let time = begun.elapsed().as_secs_f64();
    cluster.wait_for_no_holder();
    (0..case.nodes).for_each(|number| promises.check_restored(&name(number), false));
    if rebooted != case.nodes {
        promises.report(format!("{rebooted} of {} nodes have rebooted", case.nodes));
    }
    Measured { time, refused: refused.into_inner(), broken: promises.broken() }
}

fn replica(cluster: &TestCluster, case: Case) -> Server {
    let start = cluster.server_direct(Path::new(env!("CARGO_BIN_EXE_reboot-manager"))).env("RUST_LOG", "info");
    let (slots, hold) = (format!("--slots={}", case.slots), format!("--pre-reboot-wait={}s", case.hold / 1000));
    start.arg(&slots).arg(&hold).arg("--max-waiting=100").start()
}

/// Acts as the agent of a node until the node has rebooted.
fn reboot(number: usize, case: Case, cluster: &TestCluster, replica: &Server, promises: &Promises, refused: &AtomicUsize) -> bool {
    let (node, agent) = (name(number), replica.zincati(&machine_id(number)));
    let ask = |endpoint: &str| {
        let is_approved = agent.send(endpoint).try_answer().is_some_and(|answer| answer.status == 200);
        refused.fetch_add(usize::from(!is_approved), Ordering::Relaxed);
        is_approved
    };
    let boot = || {
        thread::sleep(milliseconds(case.reboot));
        promises.check_node(&node);
        cluster.fleet.reboot(&node);
    };
    promises.reboot(&node, AGAIN, TIME_MAX, ask, boot)
}

fn milliseconds(time: i64) -> Duration {
    Duration::from_millis(time.unsigned_abs())
}

fn name(number: usize) -> String {
    format!("n{number}")
}
