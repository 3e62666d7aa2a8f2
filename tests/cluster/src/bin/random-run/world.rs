//! The cluster of a round: its nodes and workloads, two replicas with a proxy each, and a clock that runs faster than ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_cluster::objects::{self, set_clock};
use test_cluster::promises::Promises;
use test_cluster::wait::poll;
use test_cluster::{Backend, TestCluster};

use crate::events::{Counts, EVENTS, Event};
use crate::furnish::{NODES, furnish, node_name};
use crate::observer::{Observer, holders};
use crate::replicas::Replica;

/// Factor by which the clock of the program and of the cluster runs faster than ours. The program's shortest give-back time, a minute, takes
/// five seconds. Its pauses and time-outs do not follow this clock.
const SPEED: u64 = 12;

/// Settings of a round.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) slots: usize,
    /// Replicas are frozen. Then no approval is withdrawn: a request that its agent has given up may be read late, from the socket of a
    /// frozen replica, and must not count as a sign that its node is not rebooting.
    pub(crate) freezes: bool,
}

/// State that the threads of a round share.
pub(crate) struct World {
    pub(crate) cluster: TestCluster,
    pub(crate) observer: Arc<Observer>,
    pub(crate) settings: Settings,
    /// Nodes that an administrator has cordoned. Locked while a Node is cordoned by hand or deleted.
    pub(crate) cordoned: Mutex<BTreeSet<String>>,
    /// Nodes whose kubelet reports that they are not Ready.
    pub(crate) unready: Mutex<BTreeSet<String>>,
    pub(crate) replicas: [Replica; 2],
    /// Counts of the events before this round, in the order of [`EVENTS`].
    counted: [usize; EVENTS.len()],
    pub(crate) program: PathBuf,
    begun: Instant,
    settled_since: Mutex<Option<Instant>>,
    changed: Condvar,
    over: AtomicBool,
    acts: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new(settings: Settings, counts: &Arc<Counts>, program: &Path, manifest: &str) -> Self {
        let cluster = TestCluster::on(Backend::Simulated, manifest);
        furnish(&cluster);
        let promises = Promises::new(&cluster, settings.slots);
        let observer = Observer { admin: cluster.admin.clone(), promises, counts: Arc::clone(counts), seen: Mutex::default() };
        let world = Self {
            replicas: std::array::from_fn(|_| Replica::new(&cluster.admin)),
            counted: EVENTS.map(|(event, _)| counts.of(event)),
            observer: Arc::new(observer),
            settings,
            cordoned: Mutex::default(),
            unready: Mutex::default(),
            program: program.to_owned(),
            begun: Instant::now(),
            settled_since: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
            acts: Mutex::default(),
            failures: Mutex::default(),
            cluster,
        };
        world.tick();
        for at in [0, 1] {
            world.replica(at).proxy.plan(world.looks(at));
            world.start(at);
        }
        world
    }

    pub(crate) fn clock(&self) -> PathBuf {
        self.cluster.folder().join("clock")
    }

    /// Moves the clock of the program and of the cluster to its time.
    pub(crate) fn tick(&self) {
        let seconds = self.begun.elapsed().as_secs_f64() * (SPEED - 1) as f64;
        let new = self.cluster.folder().join("clock.new");
        std::fs::write(&new, format!("+{seconds:.0}")).unwrap();
        std::fs::rename(new, self.clock()).unwrap();
        set_clock(seconds.round() as i64);
    }

    /// Writes the time of the last report to each Node, as its kubelet does every few minutes.
    pub(crate) fn report_kubelets(&self) {
        for number in 1..=NODES {
            let name = node_name(number);
            // Locked: the conditions may not change between the read and the write.
            let _unready = self.unready.lock().unwrap();
            let Some(mut node) = self.node(&name) else { continue };
            let conditions = &mut node["status"]["conditions"];
            conditions.as_array_mut().into_iter().flatten().for_each(|condition| condition["lastHeartbeatTime"] = json!(objects::now()));
            if conditions.is_array() {
                self.cluster.admin.merge(&format!("/api/v1/nodes/{name}/status"), &json!({"status": {"conditions": conditions}}));
            }
        }
    }

    /// Reads a Node; `None` if it is deleted.
    pub(crate) fn node(&self, name: &str) -> Option<Value> {
        let answer = self.cluster.admin.get(&format!("/api/v1/nodes/{name}"));
        (answer.status == 200).then_some(answer.body)
    }

    /// Begins the quiet end of the round.
    pub(crate) fn settle(&self) {
        *self.settled_since.lock().unwrap() = Some(Instant::now());
        self.note("faults and outsiders end; each node asks until it has rebooted");
        self.changed.notify_all();
    }

    pub(crate) fn is_settling(&self) -> bool {
        self.settled_since.lock().unwrap().is_some()
    }

    /// Reports whether the time of the quiet end is over, or a promise is broken.
    pub(crate) fn is_late(&self) -> bool {
        let is_late = self.settled_since.lock().unwrap().is_some_and(|since| since.elapsed() > crate::SETTLE_MAX);
        is_late || !self.failures().is_empty()
    }

    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Lets this time pass, or less if the quiet end begins.
    pub(crate) fn pause(&self, time: Duration) {
        let settled = self.settled_since.lock().unwrap();
        if settled.is_some() {
            drop(settled);
            std::thread::sleep(time.min(Duration::from_millis(500)));
        } else {
            drop(self.changed.wait_timeout_while(settled, time, |settled| settled.is_none()).unwrap());
        }
    }

    /// Keeps a line about an action for the report of a failure.
    pub(crate) fn note(&self, what: &str) {
        self.acts.lock().unwrap().push(format!("{:7.2} s  {what}", self.begun.elapsed().as_secs_f64()));
    }

    pub(crate) fn acts(&self) -> Vec<String> {
        self.acts.lock().unwrap().clone()
    }

    pub(crate) fn fail(&self, what: String) {
        self.note(&format!("FAILED: {what}"));
        self.failures.lock().unwrap().push(what);
    }

    /// Returns all failures: broken promises, and others.
    pub(crate) fn failures(&self) -> Vec<String> {
        [self.observer.promises.broken(), self.failures.lock().unwrap().clone()].concat()
    }

    /// Reports whether an event was reached in this round.
    fn is_reached(&self, event: Event) -> bool {
        let before = EVENTS.iter().position(|(known, _)| *known == event).map_or(0, |at| self.counted[at]);
        self.observer.counts.of(event) > before
    }

    /// Returns those of `aims` that were not reached in this round.
    pub(crate) fn not_reached(&self, aims: &[Event]) -> Vec<Event> {
        aims.iter().copied().filter(|event| !self.is_reached(*event)).collect()
    }

    /// Waits until no slot is held and nothing is left on a Node.
    pub(crate) fn check_quiet(&self) {
        let quiet = poll(crate::SETTLE_MAX, || self.left().map_or(Ok(()), Err));
        if let Err(left) = quiet {
            self.fail(format!("left behind {:?} after the faults: {left}", crate::SETTLE_MAX));
        }
        let cordoned = self.cordoned.lock().unwrap();
        (1..=NODES).map(node_name).for_each(|node| self.observer.promises.check_restored(&node, cordoned.contains(&node)));
    }

    /// Returns what is left of a reboot.
    fn left(&self) -> Option<String> {
        let lock = self.cluster.lock();
        if holders(&lock).next().is_some() {
            return Some(lock.to_string());
        }
        let nodes = (1..=NODES).filter_map(|number| self.node(&node_name(number)));
        let marks = ["rebootmanager/waiting", "rebootmanager/cordon"];
        let left = |node: &Value| {
            let annotations = &node["metadata"]["annotations"];
            annotations["rebootmanager/status"] != "Ready" || marks.iter().any(|mark| !annotations[mark].is_null())
        };
        nodes.into_iter().find(left).map(|node| node["metadata"].to_string())
    }

    /// Returns the time since the quiet end began.
    pub(crate) fn settled_for(&self) -> Duration {
        self.settled_since.lock().unwrap().map_or(Duration::ZERO, |since| since.elapsed())
    }
}
