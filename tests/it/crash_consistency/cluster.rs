//! A small cluster in which runs follow each other: its servers, its agents, and a check of the promises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use test_cluster::api::Api;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::{poll, wait_for};
use test_cluster::{Backend, Proxy, Server, TestCluster};

use super::Reach;
use super::faults::FaultKind;
use super::reboots::Reboot;
use crate::scenarios::{MANIFEST, Machine, binary, machines};

/// How long a run may take: several time-outs of the client and a round of the reconciler, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(180);

/// What all runs of one kind share.
pub(super) struct Small {
    pub(super) cluster: TestCluster,
    machines: [Machine; 2],
}

/// The server that agents call now.
#[derive(Default)]
pub(super) struct Current {
    server: Mutex<Option<Arc<Server>>>,
    killed: AtomicBool,
}

/// Looks after every write whether a promise is broken.
struct Watch {
    admin: Api,
    broken: Mutex<Option<String>>,
}

impl Current {
    /// SIGKILL.
    pub(super) fn kill(&self) {
        let server = self.server.lock().unwrap().clone();
        server.iter().for_each(|server| server.kill());
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

    /// One run; whether there was a call of that number.
    #[track_caller]
    pub(super) fn run(&self, reboot: &Reboot, fault: &FaultKind, reach: Reach, call: usize, name: &str) -> bool {
        (reboot.before)(self);
        let cordoned: Vec<bool> = self.machines.iter().map(|machine| self.cluster.is_cordoned(&machine.node)).collect();
        let (proxy, current) = (Proxy::to(&self.cluster.admin), Arc::<Current>::default());
        let watch = Arc::new(Watch { admin: self.cluster.admin.clone(), broken: Mutex::new(None) });
        let (met, watches) = (Arc::new(AtomicBool::new(false)), Arc::clone(&watch));
        proxy.plan(Rule::any_write().meet(Fault::after(move |_| watches.look())));
        let calls = || if reach == Reach::EveryCall { Rule::any() } else { Rule::any_write() };
        let meets = Arc::clone(&met);
        proxy.plan(calls().nth(call).meet(Fault::before(move |_| meets.store(true, Ordering::Release))));
        current.server.lock().unwrap().replace(Arc::new(self.start(&proxy)));
        proxy.plan(calls().nth(call).meet((fault.fault)(&current)));
        let asking = self.machines.iter().filter(|machine| reboot.nodes.contains(&machine.node.as_str()));
        let done = thread::scope(|scope| {
            let agents: Vec<_> = asking.map(|machine| scope.spawn(|| self.reboots(machine, reboot, &current, &watch))).collect();
            let mut intervened = false;
            poll(RUN_MAX, || {
                self.restart(&current, &proxy);
                if !intervened && proxy.count("create", "pods/eviction") > 0 {
                    intervened = true;
                    (reboot.meanwhile)(self);
                }
                watch.fine(name, &current);
                if agents.iter().all(thread::ScopedJoinHandle::is_finished) { Ok(()) } else { Err(()) }
            })
        });
        assert!(done.is_ok(), "{name}: not done within {RUN_MAX:?}; {}\n{}", self.cluster.lock(), log_of(&current));
        let free = poll(RUN_MAX, || {
            self.restart(&current, &proxy);
            if self.cluster.holders().is_empty() { Ok(()) } else { Err(self.cluster.lock()) }
        });
        assert!(free.is_ok(), "{name}: a slot is still held: {free:?}\n{}", log_of(&current));
        self.is_as_before(&cordoned, name);
        watch.fine(name, &current);
        met.load(Ordering::Acquire)
    }

    /// Starts the next server when this one was killed.
    fn restart(&self, current: &Current, proxy: &Proxy) {
        if current.killed.swap(false, Ordering::AcqRel) {
            let next = Arc::new(self.start(proxy));
            current.server.lock().unwrap().replace(next);
        }
    }

    fn start(&self, proxy: &Proxy) -> Server {
        self.cluster.server_through(proxy, &binary()).arg("--pre-reboot-wait").arg("20s").start()
    }

    /// An agent: asks until it is approved, reboots, checks in until it is answered; and gives up when the run fails.
    fn reboots(&self, machine: &Machine, reboot: &Reboot, current: &Current, watch: &Watch) {
        let asked = |endpoint: &str| {
            poll(RUN_MAX, || {
                let server = current.get().ok_or("no server")?;
                let answer = machine.agent(&server).try_send(endpoint).and_then(test_cluster::zincati::Pending::try_answer);
                match answer {
                    _ if watch.is_broken() => Ok(()),
                    Some(answer) if answer.status == 200 => Ok(()),
                    _ => Err("no yes"),
                }
            })
        };
        if asked("pre-reboot").is_err() || watch.is_broken() {
            return;
        }
        watch.says_yes(&self.cluster, machine);
        self.cluster.fleet.reboot(&machine.node);
        (reboot.booted)(self, &machine.node);
        if asked("steady-state").is_ok() {
            (reboot.checked_in)(self, &machine.node);
        }
    }

    /// Each node is as it was: cordoned if an administrator had cordoned it, and nothing of ours on it.
    #[track_caller]
    fn is_as_before(&self, cordoned: &[bool], name: &str) {
        for (machine, cordoned) in self.machines.iter().zip(cordoned) {
            let node = self.cluster.fleet.read_node(&machine.node);
            let annotations = &node["metadata"]["annotations"];
            assert_ne!(annotations["rebootmanager/status"], "Rebooting", "{name}: {}", machine.node);
            assert_eq!(annotations.get("rebootmanager/cordon"), None, "{name}: {}", machine.node);
            assert_eq!(self.cluster.is_cordoned(&machine.node), *cordoned, "{name}: the cordon of {}", machine.node);
        }
        self.cluster.set_cordon("n1", false);
        wait_for("pods are gone", RUN_MAX, || {
            let left = self.cluster.fleet.pods_on("n1").len() + self.cluster.fleet.pods_on("n2").len();
            if left == 0 { Ok(()) } else { Err(left) }
        });
    }
}

impl Watch {
    /// The state of the cluster at this moment: never two slots held; and each node that may reboot is cordoned.
    fn look(&self) {
        let text = self.holders();
        let lock: Value = serde_json::from_str(&text).unwrap_or_default();
        let holders = lock["holders"].as_array().cloned().unwrap_or_default();
        if holders.len() > 1 {
            self.say(format!("there is one slot, and it is held by {text}"));
        }
        for holder in holders.iter().filter(|holder| holder["approved"].is_object() && holder["checked_in"].is_null()) {
            let node = holder["node"].as_str().unwrap_or_default();
            let cordoned = self.admin.get(&format!("/api/v1/nodes/{node}")).body["spec"]["unschedulable"] == true;
            // When the Lease is another by now, the node may have checked in between the two looks.
            if !cordoned && self.holders() == text {
                self.say(format!("{node} is approved and not cordoned: {text}"));
            }
        }
    }

    fn holders(&self) -> String {
        let lease = self.admin.get("/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager");
        lease.body["metadata"]["annotations"]["rebootmanager/holders"].as_str().unwrap_or("{}").to_owned()
    }

    /// A node was approved at this moment.
    fn says_yes(&self, cluster: &TestCluster, machine: &Machine) {
        let (pods, holders) = (machine.pods(cluster), cluster.holders());
        if !pods.is_empty() || holders != [machine.node.clone()] || !cluster.is_cordoned(&machine.node) {
            self.say(format!("{} was told yes with the pods {pods:?}, holders {holders:?}", machine.node));
        }
    }

    fn say(&self, what: String) {
        self.broken.lock().unwrap().get_or_insert(what);
    }

    fn is_broken(&self) -> bool {
        self.broken.lock().unwrap().is_some()
    }

    #[track_caller]
    fn fine(&self, name: &str, current: &Current) {
        let broken = self.broken.lock().unwrap().clone();
        assert!(broken.is_none(), "{name}: PROMISE BROKEN: {}\n{}", broken.unwrap_or_default(), log_of(current));
    }
}

fn log_of(current: &Current) -> String {
    current.get().map(|server| server.log().join("\n")).unwrap_or_default()
}

/// The watch would see it, if it were so.
#[test]
fn a_broken_promise_is_seen() {
    let small = Small::new();
    let watch = || Watch { admin: small.cluster.admin.clone(), broken: Mutex::new(None) };
    let holder = |node: &str| serde_json::json!({"node": node, "approved": {"at": "x", "boot": "y"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases";
    let lease = |holders: Value| {
        let annotations = serde_json::json!({"rebootmanager/holders": serde_json::json!({ "holders": holders }).to_string()});
        serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "reboot-manager", "annotations": annotations}})
    };
    small.cluster.admin.create(leases, &lease(serde_json::json!([holder("n1")]))).ok();
    let uncordoned = watch();
    uncordoned.look();
    assert!(uncordoned.broken.lock().unwrap().as_ref().is_some_and(|broken| broken.contains("n1 is approved and not cordoned")));
    small.cluster.set_cordon("n1", true);
    small.cluster.set_cordon("n2", true);
    let fine = watch();
    fine.look();
    fine.says_yes(&small.cluster, &small.machines[0]);
    assert!(!fine.is_broken());
    fine.says_yes(&small.cluster, &small.machines[1]);
    assert!(fine.is_broken(), "n2 has no slot");
    small.cluster.admin.merge(&format!("{leases}/reboot-manager"), &lease(serde_json::json!([holder("n1"), holder("n2")]))).ok();
    let two = watch();
    two.look();
    assert!(two.broken.lock().unwrap().as_ref().is_some_and(|broken| broken.contains("one slot")));
}
