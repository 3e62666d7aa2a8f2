//! Reads the cluster as an administrator does, prints what has changed, and keeps the figures of the summary.
//!
//! Nothing here comes from the program: nodes, pods and the Lease are read from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use test_cluster::TestCluster;
use test_cluster::api::Api;
use test_cluster::promises::Promises;
use test_cluster::proxy::Passed;

use crate::output::{Output, Tone};
use crate::stage::{NODES, SHOP, WEB};

pub(crate) struct Watch {
    pub(crate) output: Output,
    pub(crate) promises: Promises,
    admin: Api,
    state: Mutex<State>,
}

/// The cluster as last read, and the figures so far.
#[derive(Default)]
struct State {
    /// Description of each node: its cordon and its status.
    nodes: BTreeMap<String, String>,
    /// Ready pods by UID.
    ready: BTreeSet<String>,
    holders: BTreeSet<String>,
    /// Pods whose refused eviction was printed.
    refused: BTreeSet<String>,
    seen: Seen,
}

/// Figures of the summary.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) reads: usize,
    /// Largest number of nodes cordoned in one read.
    pub(crate) most_cordoned: usize,
    /// Smallest number of healthy pods of the Deployment in one read.
    pub(crate) fewest_web: usize,
    /// Number of nodes that at the end have a new boot-id, no cordon, the status `Ready` and no slot.
    pub(crate) rebooted: usize,
    pub(crate) evicted: usize,
    pub(crate) refused: usize,
}

impl Watch {
    /// Begins with a read that prints nothing.
    pub(crate) fn new(cluster: &TestCluster, output: Output) -> Self {
        let seen = Seen { fewest_web: usize::MAX, ..Seen::default() };
        let state = Mutex::new(State { seen, ..State::default() });
        let watch = Self { output, promises: Promises::new(cluster, 1), admin: cluster.admin.clone(), state };
        watch.read();
        watch
    }

    /// Reads everything once, and prints the changes.
    pub(crate) fn read(&self) {
        self.promises.check_lease();
        let mut state = self.state();
        let first = state.seen.reads == 0;
        state.seen.reads += 1;
        // Nodes are read before the Lease, so that a slot is printed before the cordon that follows it.
        let nodes: Vec<Value> = NODES.iter().map(|(name, _)| self.node(name)).collect();
        self.read_holders(&mut state);
        let cordoned = nodes.iter().filter(|node| is_cordoned(node)).count();
        state.seen.most_cordoned = state.seen.most_cordoned.max(cordoned);
        for node in nodes {
            let (name, now) = (text(&node["metadata"]["name"]), describe(&node));
            if state.nodes.insert(name.clone(), now.clone()).is_some_and(|before| before != now) {
                self.output.print(&name, Tone::Plain, &format!("is {now}"));
            }
        }
        let list = self.admin.get(&format!("/api/v1/namespaces/{SHOP}/pods")).ok();
        let ready: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(|pod| is_ready(pod)).collect();
        let healthy = ready.iter().filter(|pod| pod["metadata"]["labels"]["app"] == WEB && pod["metadata"]["deletionTimestamp"].is_null());
        state.seen.fewest_web = state.seen.fewest_web.min(healthy.count());
        for pod in ready {
            if state.ready.insert(text(&pod["metadata"]["uid"])) && !first {
                let line = format!("pod {} runs here now", text(&pod["metadata"]["name"]));
                self.output.print(&text(&pod["spec"]["nodeName"]), Tone::Low, &line);
            }
        }
    }

    /// Reads the cluster after the answer to an eviction, and prints the answer.
    pub(crate) fn eviction(&self, passed: &Passed) {
        self.read();
        let pod = passed.path.trim_end_matches("/eviction");
        let name = pod.rsplit('/').next().unwrap_or_default();
        let node = text(&self.admin.get(pod).body["spec"]["nodeName"]);
        let mut state = self.state();
        if passed.upstream == Some(429) {
            state.seen.refused += 1;
            if state.refused.insert(name.to_owned()) {
                self.output.print(&node, Tone::Wait, &format!("pod {name} must stay for now: its PodDisruptionBudget refuses (429)"));
            }
        } else if passed.upstream.is_some_and(|status| status < 300) {
            state.seen.evicted += 1;
            self.output.print(&node, Tone::Plain, &format!("pod {name} is evicted"));
        }
    }

    /// Checks a node whose reboot was approved just now.
    pub(crate) fn approved(&self, node: &str) {
        self.promises.approve(node);
        let broken = self.promises.broken();
        match broken.last() {
            None => self.output.print(node, Tone::Low, "is empty, except for the pod of a DaemonSet"),
            Some(broken) => self.output.print(node, Tone::Bad, broken),
        }
    }

    /// Returns the figures after a last read.
    pub(crate) fn last_read(&self) -> Seen {
        self.read();
        let state = self.state();
        let in_service = |name: &str| {
            let node = self.node(name);
            let rebooted = node["status"]["nodeInfo"]["bootID"] != format!("first-boot-of-{name}");
            rebooted && describe(&node) == "uncordoned, Ready" && !state.holders.contains(name)
        };
        let rebooted = NODES.iter().filter(|(name, _)| in_service(name)).count();
        NODES.iter().for_each(|(name, _)| self.promises.check_restored(name, false));
        Seen { rebooted, ..state.seen.clone() }
    }

    fn read_holders(&self, state: &mut State) {
        let lease = self.admin.get("/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager");
        let names = text(&lease.body["spec"]["holderIdentity"]);
        let now: BTreeSet<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        for node in now.difference(&state.holders) {
            self.output.print(node, Tone::Plain, "holds the slot (Lease reboot-manager)");
        }
        for node in state.holders.difference(&now) {
            self.output.print(node, Tone::Plain, "has released the slot");
        }
        state.holders = now;
    }

    fn node(&self, name: &str) -> Value {
        self.admin.get(&format!("/api/v1/nodes/{name}")).ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(node: &Value) -> String {
    let cordon = if is_cordoned(node) { "cordoned" } else { "uncordoned" };
    let status = &node["metadata"]["annotations"]["rebootmanager/status"];
    format!("{cordon}, {}", status.as_str().unwrap_or("without a status"))
}

fn is_cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"] == true
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
