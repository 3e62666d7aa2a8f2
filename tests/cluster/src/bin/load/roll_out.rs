//! Roll-outs: all nodes have an update, ask for a reboot at once, and repeat after each refusal until all have rebooted.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use test_cluster::cluster::SOON;
use test_cluster::fleet::machine_id;
use test_cluster::objects::Placement;
use test_cluster::promises::Promises;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::INTERVAL;
use super::answers::Answers;
use super::samples::Samples;

/// Duration of a reboot, in real time.
const REBOOT: Duration = Duration::from_secs(60);

/// Maximum real time until a node is approved, and until its check-in is answered.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Parameters of roll-outs.
#[derive(Clone, Copy)]
pub(super) struct Roll {
    pub(super) nodes: usize,
    /// Pods of one Deployment; a budget allows a fifth of them to be unavailable.
    pub(super) pods: u32,
    pub(super) slots: usize,
    /// Factor by which time is compressed.
    pub(super) speed: u32,
    /// New roll-outs begin until this has passed; zero means one roll-out.
    pub(super) time: Duration,
}

impl Roll {
    pub(super) fn play(self, program: &Path, manifest: &str) -> Vec<String> {
        let cluster = TestCluster::new(manifest);
        self.furnish(&cluster);
        let start = cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager::commands=info");
        let server = start.arg("--slots").arg(&self.slots.to_string()).start();
        let (answers, samples, promises) = (Answers::default(), Samples::new(), Promises::new(&cluster, self.slots));
        let (mut rolls, mut reboots, begun) = (0, 0, Instant::now());
        samples.take(
            &server,
            || promises.check_lease(),
            || {
                while rolls == 0 || begun.elapsed() < self.time {
                    thread::scope(|scope| {
                        let agent = |number| self.reboot(number, &cluster, &server, &promises, &answers);
                        let agents: Vec<_> = (0..self.nodes).map(|number| scope.spawn(move || agent(number))).collect();
                        reboots += agents.into_iter().filter_map(|agent| agent.join().ok()).filter(|rebooted| *rebooted).count();
                    });
                    rolls += 1;
                }
            },
        );
        self.check_restored(&cluster, &promises);
        answers.print();
        samples.print();
        let most = promises.most();
        println!(
            "{rolls} roll-outs, {reboots} reboots in {:.0} s; at most {most} nodes approved at once.\n",
            begun.elapsed().as_secs_f64()
        );
        let grown = if self.time.is_zero() { Vec::new() } else { samples.grown() };
        if reboots != rolls * self.nodes {
            promises.report(format!("{reboots} reboots in {rolls} roll-outs of {} nodes", self.nodes));
        }
        [promises.broken(), grown].concat()
    }

    /// Acts as the agent of a node until the node has rebooted.
    fn reboot(self, number: usize, cluster: &TestCluster, server: &Server, promises: &Promises, answers: &Answers) -> bool {
        let (node, zincati) = (name(number), server.zincati(&machine_id(number)));
        let ask = |endpoint: &str| {
            let answer = zincati.send(endpoint).try_answer();
            answers.add(endpoint, answer.as_ref());
            answer.is_some_and(|answer| answer.status == 200)
        };
        let boot = || {
            thread::sleep(REBOOT / self.speed);
            promises.check_node(&node);
            cluster.fleet.reboot(&node);
        };
        // Zincati waits five minutes, and up to a tenth more.
        let spread = u32::try_from(number * 7919 % 100).unwrap();
        let pause = INTERVAL / self.speed * (1000 + spread) / 1000;
        promises.reboot(&node, pause, LIMIT / self.speed, ask, boot)
    }

    /// Creates nodes, pods and their budget.
    fn furnish(self, cluster: &TestCluster) {
        cluster.fleet.padded_nodes(0..self.nodes);
        cluster.fleet.deployment("shop", "web", self.pods, Placement::Free);
        cluster.fleet.budget("shop", "web", self.pods * 4 / 5, "web");
        self.wait_for_pods(cluster);
    }

    fn wait_for_pods(self, cluster: &TestCluster) {
        let wanted = self.pods as usize;
        wait_for("all pods run", 5 * SOON, || {
            let pods = cluster.fleet.pods_of("shop", "web");
            let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            if running == wanted { Ok(()) } else { Err(format!("{running} of {wanted}")) }
        });
    }

    /// Checks that nothing is left of the roll-outs: no holder, no cordon, and every pod runs.
    fn check_restored(self, cluster: &TestCluster, promises: &Promises) {
        cluster.wait_for_no_holder();
        self.wait_for_pods(cluster);
        for number in 0..self.nodes {
            promises.check_restored(&name(number), false);
        }
    }
}

fn name(number: usize) -> String {
    format!("n{number}")
}
