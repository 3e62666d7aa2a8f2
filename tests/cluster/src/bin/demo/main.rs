//! The main job, to be watched: three nodes of a simulated cluster want to reboot at once, and two replicas of the real
//! program let them, one after the other, drained. What it says at the end is what it saw on the cluster; when a
//! promise did not hold, it fails. `scripts/demo` builds and runs it.
#![expect(clippy::disallowed_methods, reason = "it plays the outside world, which has a clock, and people read along")]

mod agent;
mod stage;
mod summary;
mod teller;
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
use teller::{Teller, Tone};
use watch::Watch;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(binary), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!("usage: demo PATH-OF-REBOOT-MANAGER; scripts/demo builds both and runs this");
        return ExitCode::from(2);
    };
    if !binary.is_file() {
        eprintln!("demo: there is no program {}; scripts/demo builds it", binary.display());
        return ExitCode::from(2);
    }
    let cluster = TestCluster::on(Backend::Simulated, include_str!("../../../../../kubernetes/deployment.yaml"));
    stage::set(&cluster);
    let servers = [cluster.server(&binary).start(), cluster.server(&binary).start()];
    let teller = Arc::new(Teller::new());
    teller.title(&stage::description(&servers));
    let watch = Arc::new(Watch::new(&cluster, Arc::clone(&teller)));
    let observer = Arc::clone(&watch);
    // After each answer to an eviction, before the program hears it: so no moment in which a budget could be broken is missed.
    cluster.proxy.plan(Rule::on("create", "pods/eviction").meet(Fault::after(move |passed| observer.eviction(passed))));
    let begun = Instant::now();
    let agents = stage::NODES.map(|(node, machine_id)| Agent::new(node, machine_id, &servers));
    let everybody_ended = play(&agents, &cluster, &watch, &teller);
    let seen = watch.last_look();
    teller.finish();
    if summary::tell(&seen, &teller, begun.elapsed()) && everybody_ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lets all agents live until each has rebooted, while the watch looks and the teller tells. Whether all came through.
fn play(agents: &[Agent], cluster: &TestCluster, watch: &Watch, teller: &Teller) -> bool {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| teller.tell(&over));
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                watch.look();
                thread::sleep(BETWEEN_LOOKS);
            }
        });
        let (fleet, kubelet) = (&cluster.fleet, &cluster.kubelet);
        for agent in agents {
            agent.checks_in(watch, teller);
        }
        teller.say("", Tone::Good, "An update is staged on all three nodes at the same moment: each asks whether it may reboot.");
        let lives: Vec<_> = agents.iter().map(|agent| scope.spawn(move || agent.reboots_once(fleet, kubelet, watch, teller))).collect();
        let ended: Vec<bool> = lives.into_iter().map(|life| life.join().unwrap_or(false)).collect();
        over.store(true, Ordering::Release);
        ended.into_iter().all(|ended| ended)
    })
}

/// Short against what a pod takes to start.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);
