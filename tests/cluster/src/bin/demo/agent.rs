//! Agent of one machine: sends the requests of Zincati, only more often, and reboots when approved.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use test_cluster::zincati::Answer;
use test_cluster::{Server, TestCluster, Zincati};

use crate::output::{BAD, GOOD, LOW, PLAIN, WAIT};
use crate::watch::Watch;

/// Pause after a refusal; Zincati waits five minutes.
const RETRY: Duration = Duration::from_secs(3);

/// A request without an answer after this time counts as held.
const HELD_AFTER: Duration = Duration::from_millis(400);

/// Time that a machine is down.
const BOOT: Duration = Duration::from_secs(3);

/// Time limit until a node is approved, also on a slow machine.
const TIME_LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct Agent {
    node: &'static str,
    /// The agent of this machine with the address of each replica, as behind a Service.
    replicas: [Zincati; 2],
}

impl Agent {
    pub(crate) fn new(node: &'static str, id: &str, servers: &[Server; 2]) -> Self {
        Self { node, replicas: servers.each_ref().map(|server| server.zincati(id)) }
    }

    /// Checks in, and reports whether the answer was 200.
    pub(crate) fn check_in(&self, watch: &Watch) -> bool {
        self.print(watch, "checks in with b", &self.replicas[1].steady_state())
    }

    /// Requests a reboot until approved, reboots, checks in. Reports whether all that succeeded in time.
    pub(crate) fn reboot(&self, cluster: &TestCluster, watch: &Watch) -> bool {
        let attempts = Cell::new(0);
        let ask = |endpoint: &str| match endpoint {
            "pre-reboot" => self.request_reboot(attempts.replace(attempts.get() + 1) % 2, watch),
            _ => self.check_in(watch),
        };
        let rebooted = watch.promises.reboot(self.node, RETRY, TIME_LIMIT, ask, || self.boot(cluster, watch));
        if !rebooted {
            watch.output.print(self.node, BAD, &format!("gives up: not approved and in service within {TIME_LIMIT:?}"));
        }
        rebooted
    }

    /// Sends one pre-reboot request, and reports whether it was approved.
    fn request_reboot(&self, replica: usize, watch: &Watch) -> bool {
        let name = ["a", "b"][replica];
        let pending = self.replicas[replica].send("pre-reboot");
        let held = pending.is_held(HELD_AFTER);
        if held {
            let text = format!("asks {name} for a reboot; its request is held while the node is drained");
            watch.output.print(self.node, PLAIN, &text);
        }
        let action = if held { "is answered".to_owned() } else { format!("asks {name}") };
        self.print(watch, &action, &pending.answer())
    }

    fn boot(&self, cluster: &TestCluster, watch: &Watch) {
        match watch.promises.broken().last() {
            None => watch.output.print(self.node, LOW, "is empty, except for the pod of a DaemonSet"),
            Some(broken) => watch.output.print(self.node, BAD, broken),
        }
        watch.output.print(self.node, PLAIN, "reboots …");
        cluster.kubelet.power_off(self.node);
        cluster.fleet.set_ready(self.node, false);
        thread::sleep(BOOT);
        cluster.fleet.reboot(self.node);
        cluster.fleet.set_ready(self.node, true);
        cluster.kubelet.power_on(self.node);
        watch.output.print(self.node, PLAIN, "is up again, with a new boot-id");
    }

    /// Prints an answer, and reports whether it was 200.
    fn print(&self, watch: &Watch, action: &str, answer: &Answer) -> bool {
        let colour = if answer.status == 200 { GOOD } else { WAIT };
        watch.output.print(self.node, colour, &format!("{action} → {} {}: {}", answer.status, answer.kind, answer.value));
        answer.status == 200
    }
}
