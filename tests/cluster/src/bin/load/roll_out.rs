//! Roll-outs: all nodes have an update, ask for a reboot at once, and repeat after each refusal until all have rebooted.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use test_cluster::cluster::SOON;
use test_cluster::fleet::machine_id;
use test_cluster::objects::Placement;
use test_cluster::promises::Promises;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::answers::Answers;
use super::samples::{self, Samples};
use super::{INTERVAL, agents};

/// Duration of a reboot, in real time.
const REBOOT: Duration = Duration::from_secs(60);

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

/// State of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// Rebooted, and not yet checked in.
    Back,
    /// Rebooted and in service again.
    Done,
    /// Approved, and rebooting.
    Rebooting,
    /// Running, with an update to boot into.
    Up,
}

/// State that the threads share.
struct Stage<'a> {
    roll: Roll,
    cluster: &'a TestCluster,
    server: &'a Server,
    promises: &'a Promises,
    answers: &'a Answers,
    machines: Vec<Mutex<Machine>>,
    reboots: &'a AtomicUsize,
}

impl Roll {
    pub(super) fn play(self, program: &Path, manifest: &str) -> Vec<String> {
        let cluster = TestCluster::new(manifest);
        self.furnish(&cluster);
        let start = cluster
            .server_direct(program)
            .env("RUST_LOG", "warn,reboot_manager::commands=info")
            .arg("--slots")
            .arg(&self.slots.to_string());
        let server = start.start();
        let (answers, samples, promises) = (Answers::default(), Samples::new(), Promises::new(&cluster, self.slots));
        let (reboots, over, begun) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
        let mut rolls = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    samples.look(&server);
                    promises.check_lease();
                    std::thread::sleep(samples::EVERY);
                }
            });
            while rolls == 0 || begun.elapsed() < self.time {
                let machines = (0..self.nodes).map(|_| Mutex::new(Machine::Up)).collect();
                let (cluster, server, promises, answers, reboots) = (&cluster, &server, &promises, &answers, &reboots);
                Stage { roll: self, cluster, server, promises, answers, machines, reboots }.play();
                rolls += 1;
            }
            over.store(true, Ordering::Release);
        });
        self.check_restored(&cluster, &promises);
        answers.print();
        samples.print();
        let (reboots, most) = (reboots.into_inner(), promises.most());
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

impl Stage<'_> {
    fn play(&self) {
        let begun = Instant::now();
        agents::play((0..self.roll.nodes).map(|machine| (begun, machine)), |machine| self.act(machine));
    }

    /// Sends the next request of a machine, and returns the time of the one after.
    fn act(&self, number: usize) -> Option<Instant> {
        let mut machine = self.machines[number].lock().expect("one thread a machine");
        match *machine {
            Machine::Back => self.check_in(number, &mut machine),
            Machine::Done => None,
            Machine::Rebooting => self.come_back(number, &mut machine),
            Machine::Up => Some(self.ask(number, &mut machine)),
        }
    }

    fn ask(&self, number: usize, machine: &mut Machine) -> Instant {
        let answer = self.server.zincati(&machine_id(number)).send("pre-reboot").try_answer();
        self.answers.add("pre-reboot", answer.as_ref());
        match answer {
            Some(answer) if answer.status == 200 => {
                self.promises.approve(&name(number));
                *machine = Machine::Rebooting;
                Instant::now() + REBOOT / self.roll.speed
            }
            _ => self.later(number),
        }
    }

    fn come_back(&self, number: usize, machine: &mut Machine) -> Option<Instant> {
        let node = name(number);
        self.promises.check_node(&node);
        self.cluster.fleet.reboot(&node);
        self.promises.check_in(&node);
        *machine = Machine::Back;
        self.check_in(number, machine)
    }

    fn check_in(&self, number: usize, machine: &mut Machine) -> Option<Instant> {
        let answer = self.server.zincati(&machine_id(number)).send("steady-state").try_answer();
        self.answers.add("steady-state", answer.as_ref());
        if answer.is_none_or(|answer| answer.status != 200) {
            return Some(self.later(number));
        }
        *machine = Machine::Done;
        self.reboots.fetch_add(1, Ordering::SeqCst);
        None
    }

    /// Returns the time of the next attempt: five minutes and up to a tenth more, compressed.
    fn later(&self, number: usize) -> Instant {
        let tenth = INTERVAL / 10 / self.roll.speed;
        let spread = u32::try_from(number * 7919 % 100).unwrap();
        Instant::now() + INTERVAL / self.roll.speed + tenth * spread / 100
    }
}

fn name(number: usize) -> String {
    format!("n{number}")
}
