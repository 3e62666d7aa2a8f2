//! The main job, to watch: three nodes of a simulated cluster want to reboot at once, and two replicas of the program drain and approve
//! one after the other. The summary at the end is read from the cluster, and the demo fails if a promise is broken. `scripts/demo`
//! builds and runs it.
#![expect(clippy::disallowed_methods, reason = "the demo plays the outside world, which has a clock, at a pace for readers")]

mod agent;
mod output;
mod stage;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use test_cluster::proxy::{Fault, Rule};
use test_cluster::{Backend, TestCluster};

use agent::Agent;
use output::{GOOD, Output};
use watch::Watch;

/// Pause between two reads of the cluster, short against the start of a pod.
const READ_INTERVAL: Duration = Duration::from_millis(25);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(binary), None) = (arguments.next().filter(|path| path.is_file()), arguments.next()) else {
        eprintln!("usage: demo PATH-OF-REBOOT-MANAGER; scripts/demo builds both and runs this");
        return ExitCode::from(2);
    };
    let cluster = TestCluster::on(Backend::Simulated, include_str!("../../../../../kubernetes/deployment.yaml"));
    stage::set(&cluster);
    let servers = [cluster.server(&binary).start(), cluster.server(&binary).start()];
    let output = Output::new();
    output.title("reboot-manager: three nodes want to reboot at once", &stage::description(&servers));
    let watch = Arc::new(Watch::new(&cluster, output));
    let observer = Arc::clone(&watch);
    // The proxy delays each answer until the cluster is read, so that no violation of a budget is missed.
    cluster.proxy.plan(Rule::on("create", "pods/eviction").inject(Fault::after(move |passed| observer.eviction(passed))));
    let begun = Instant::now();
    let agents: Vec<Agent> = stage::NODES.iter().zip(stage::IDS).map(|((node, _), id)| Agent::new(node, id, &servers)).collect();
    let finished = run(&agents, &cluster, &watch);
    if watch.summary(begun.elapsed()) && finished { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all agents until each has rebooted, and reports whether all succeeded.
fn run(agents: &[Agent], cluster: &TestCluster, watch: &Watch) -> bool {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                watch.read();
                thread::sleep(READ_INTERVAL);
            }
        });
        for agent in agents {
            agent.check_in(watch);
        }
        watch.output.print("", GOOD, "An update is staged on all three nodes at the same moment: each asks whether it may reboot.");
        let reboots: Vec<_> = agents.iter().map(|agent| scope.spawn(|| agent.reboot(cluster, watch))).collect();
        let finished: Vec<bool> = reboots.into_iter().map(|reboot| reboot.join().unwrap_or(false)).collect();
        over.store(true, Ordering::Release);
        finished.into_iter().all(|finished| finished)
    })
}
