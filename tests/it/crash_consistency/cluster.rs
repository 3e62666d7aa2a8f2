//! A small cluster in which runs follow each other: its servers, its agents, and the checks of the promises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use test_cluster::promises::Promises;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::{poll, wait_for};
use test_cluster::{Backend, Proxy, Server, TestCluster};

use super::Reach;
use super::faults::FaultKind;
use super::reboots::Reboot;
use crate::scenarios::{MANIFEST, Machine, binary, machines};

/// Time limit of a run: several time-outs of the client and a round of the reconciler, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(180);

/// Pause of an agent between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// Cluster that all runs of one kind share.
pub(super) struct Small {
    cluster: TestCluster,
    machines: [Machine; 2],
}

/// Server that agents call at present.
#[derive(Default)]
pub(super) struct Current {
    server: Mutex<Option<Arc<Server>>>,
    killed: AtomicBool,
}

impl Current {
    /// Ends the server with SIGKILL.
    pub(super) fn kill(&self) {
        self.get().iter().for_each(|server| server.kill());
        self.killed.store(true, Ordering::Release);
    }

    fn get(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap().clone()
    }
}

impl Small {
    pub(super) fn new() -> Self {
        let cluster = TestCluster::on(Backend::Simulated, MANIFEST);
        let machines = machines(&cluster);
        Self { cluster, machines }
    }

    /// Performs one run, and reports whether there was a call of that number.
    #[track_caller]
    pub(super) fn run(&self, reboot: &Reboot, fault: &FaultKind, reach: Reach, call: usize, name: &str) -> bool {
        (reboot.before)(&self.cluster);
        let cordoned: Vec<bool> = self.machines.iter().map(|machine| self.cluster.is_cordoned(&machine.node)).collect();
        let (proxy, current) = (Proxy::to(&self.cluster.admin), Arc::<Current>::default());
        let promises = Arc::new(Promises::new(&self.cluster, 1));
        let (met, checks) = (Arc::new(AtomicBool::new(false)), Arc::clone(&promises));
        proxy.plan(Rule::any_write().inject(Fault::after(move |_| checks.check_lease())));
        let calls = || if reach == Reach::EveryCall { Rule::any() } else { Rule::any_write() };
        let meets = Arc::clone(&met);
        proxy.plan(calls().nth(call).inject(Fault::before(move |_| meets.store(true, Ordering::Release))));
        self.start(&current, &proxy);
        proxy.plan(calls().nth(call).inject((fault.fault)(&current)));
        let asking = self.machines.iter().filter(|machine| reboot.nodes.contains(&machine.node.as_str()));
        let done = thread::scope(|scope| {
            let agents: Vec<_> = asking.map(|machine| scope.spawn(|| self.reboots(machine, reboot, &current, &promises))).collect();
            let mut intervened = false;
            poll(RUN_MAX, || {
                self.restart(&current, &proxy);
                if !intervened && proxy.count("create", "pods/eviction") > 0 {
                    intervened = true;
                    (reboot.meanwhile)(&self.cluster);
                }
                expect_kept(&promises, name, &current);
                if agents.iter().all(thread::ScopedJoinHandle::is_finished) { Ok(()) } else { Err(()) }
            })
        });
        assert!(done.is_ok(), "{name}: not done within {RUN_MAX:?}; {}\n{}", self.cluster.lock(), log_of(&current));
        let free = poll(RUN_MAX, || {
            self.restart(&current, &proxy);
            if self.cluster.holders().is_empty() { Ok(()) } else { Err(self.cluster.lock()) }
        });
        assert!(free.is_ok(), "{name}: a slot is still held: {free:?}\n{}", log_of(&current));
        for (machine, cordoned) in self.machines.iter().zip(cordoned) {
            promises.check_restored(&machine.node, cordoned);
        }
        self.remove_pods();
        expect_kept(&promises, name, &current);
        met.load(Ordering::Acquire)
    }

    /// Starts the next server if this one was killed.
    fn restart(&self, current: &Current, proxy: &Proxy) {
        if current.killed.swap(false, Ordering::AcqRel) {
            self.start(current, proxy);
        }
    }

    fn start(&self, current: &Current, proxy: &Proxy) {
        let server = self.cluster.server_through(proxy, &binary()).arg("--pre-reboot-wait=20s").start();
        *current.server.lock().unwrap() = Some(Arc::new(server));
    }

    /// Acts as an agent until its machine has rebooted; gives up if the run fails.
    fn reboots(&self, machine: &Machine, reboot: &Reboot, current: &Current, promises: &Promises) {
        let ask = |endpoint: &str| {
            let answer = || machine.agent(&*current.get()?).try_send(endpoint)?.try_answer();
            !promises.broken().is_empty() || answer().is_some_and(|answer| answer.status == 200)
        };
        let boot = || {
            self.cluster.fleet.reboot(&machine.node);
            (reboot.booted)(&self.cluster, &machine.node);
        };
        if promises.reboot(&machine.node, PAUSE, RUN_MAX, ask, boot) {
            (reboot.checked_in)(&self.cluster, &machine.node);
        }
    }

    /// Makes the nodes empty and schedulable for the next run.
    #[track_caller]
    fn remove_pods(&self) {
        self.cluster.set_cordon("n1", false);
        wait_for("pods are gone", RUN_MAX, || {
            let left = self.cluster.fleet.pods_on("n1").len() + self.cluster.fleet.pods_on("n2").len();
            if left == 0 { Ok(()) } else { Err(left) }
        });
    }
}

#[track_caller]
fn expect_kept(promises: &Promises, name: &str, current: &Current) {
    let broken = promises.broken();
    assert!(broken.is_empty(), "{name}: PROMISE BROKEN: {}\n{}", broken.join("; "), log_of(current));
}

fn log_of(current: &Current) -> String {
    current.get().map(|server| server.log().join("\n")).unwrap_or_default()
}
