//! The two replicas of the program, each with a proxy, and what is counted in their logs and calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use test_cluster::api::Api;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::{Proxy, Server};

use crate::events::Event;
use crate::world::World;

/// Names of the replicas.
const REPLICAS: [&str; 2] = ["left", "right"];

/// Give-back times, each the shortest that is allowed.
const TIMES: [&str; 6] = [
    "--release-silent-after=1m",
    "--give-up-after=1m",
    "--give-up-not-ready-after=1m",
    "--release-rebooted-after=1m",
    "--release-deleted-after=1m",
    "--back-off=1m",
];

/// Replica of the program.
pub(crate) struct Replica {
    pub(crate) proxy: Proxy,
    pub(crate) server: Mutex<Option<Arc<Server>>>,
    starts: AtomicUsize,
    /// Logs of the processes that have ended.
    past: Mutex<Vec<String>>,
    /// Number of lines of the log in which events were counted.
    counted: AtomicUsize,
}

impl Replica {
    /// Creates a replica that does not run yet.
    pub(crate) fn new(admin: &Api) -> Self {
        let (starts, counted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { proxy: Proxy::to(admin), server: Mutex::default(), starts, past: Mutex::default(), counted }
    }
}

impl World {
    pub(crate) fn replica(&self, at: usize) -> &Replica {
        &self.replicas[at]
    }

    /// Returns the rule by which the observer sees the calls of a replica.
    pub(crate) fn looks(&self, at: usize) -> Rule {
        let observer = Arc::clone(&self.observer);
        Rule::any_write().inject(Fault::after(move |passed| observer.look(at, passed)))
    }

    /// Returns the running process of a replica; `None` if it has ended.
    pub(crate) fn server(&self, at: usize) -> Option<Arc<Server>> {
        self.replicas[at].server.lock().unwrap().clone()
    }

    /// Starts a replica.
    pub(crate) fn start(&self, at: usize) {
        let replica = &self.replicas[at];
        let number = replica.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let withdraw = if self.settings.freezes { "never" } else { "1m" };
        let start = self.cluster.server_through(&replica.proxy, &self.program).clock(&self.clock());
        let start = start.env("POD_NAME", &format!("{}-{number}", REPLICAS[at])).arg(&format!("--slots={}", self.settings.slots));
        let start = TIMES.iter().fold(start, |start, time| start.arg(time)).arg(&format!("--withdraw-after={withdraw}"));
        let server = start.arg("--pre-reboot-wait=6s").arg("--max-waiting=60").start();
        *replica.server.lock().unwrap() = Some(Arc::new(server));
        self.note(&format!("{} started", self.start_name(at)));
    }

    /// Ends a replica with a signal, and waits for its end.
    pub(crate) fn end(&self, at: usize, signal: &str) {
        let Some(server) = self.replicas[at].server.lock().unwrap().take() else { return };
        if signal == "KILL" {
            self.observer.seen.lock().unwrap().killed.insert(self.start_name(at));
        }
        self.note(&format!("{}: SIG{signal}", self.start_name(at)));
        server.signal(signal);
        server.exit_code(crate::SETTLE_MAX);
        self.replicas[at].past.lock().unwrap().extend(server.log());
    }

    /// Returns the name of the last process of a replica, as `left-3`.
    fn start_name(&self, at: usize) -> String {
        format!("{}-{}", REPLICAS[at], self.replicas[at].starts.load(Ordering::Relaxed))
    }

    /// Returns the log of all processes of a replica.
    pub(crate) fn log(&self, at: usize) -> Vec<String> {
        let running = self.server(at).map(|server| server.log()).unwrap_or_default();
        [self.replicas[at].past.lock().unwrap().clone(), running].concat()
    }

    /// Counts the events that the logs report, and the approvals whose answer was lost.
    pub(crate) fn count_events(&self) {
        for (at, replica) in self.replicas.iter().enumerate() {
            let log = self.log(at);
            // While a replica ends, its last lines are missing.
            let new = log.get(replica.counted.load(Ordering::Relaxed)..).unwrap_or_default();
            self.observer.counts.add_log(new);
            if let Some(line) = new.iter().find(|line| line.contains("panicked at")) {
                self.fail(format!("a thread of the program panicked: {line}"));
            }
            replica.counted.fetch_add(new.len(), Ordering::Relaxed);
            let calls = replica.proxy.log();
            let is_lost = |call: usize| {
                calls.get(call - 1).filter(|passed| passed.done).map(|passed| passed.status.is_none_or(|status| status >= 500))
            };
            self.observer.seen.lock().unwrap().approvals.retain(|(by, call)| {
                let lost = if *by == at { is_lost(*call) } else { None };
                if lost == Some(true) {
                    self.observer.counts.add(Event::AnswerLost);
                }
                lost.is_none()
            });
        }
    }
}
