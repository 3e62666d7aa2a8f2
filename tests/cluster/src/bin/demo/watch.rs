//! Reads the cluster as an administrator does, prints what has changed, and keeps the figures of the summary.
//!
//! Nothing here comes from the program: nodes, pods and the Lease are read from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use test_cluster::TestCluster;
use test_cluster::fleet::Fleet;
use test_cluster::promises::Promises;
use test_cluster::proxy::Passed;

use crate::output::{LOW, Output, PLAIN, WAIT};
use crate::stage::{NODES, SHOP, WEB, WEB_MIN, WEB_PODS};

pub(crate) struct Watch {
    pub(crate) output: Output,
    pub(crate) promises: Promises,
    fleet: Fleet,
    seen: Mutex<Seen>,
}

/// The cluster as last read, and the figures so far.
#[derive(Default)]
struct Seen {
    reads: usize,
    /// Description of each node: its cordon and its status.
    nodes: BTreeMap<&'static str, String>,
    /// Ready pods by UID.
    ready: BTreeSet<String>,
    holders: BTreeSet<String>,
    /// Largest number of nodes cordoned in one read.
    most_cordoned: usize,
    /// Smallest number of healthy pods of the Deployment in one read.
    fewest_web: Option<usize>,
    evicted: usize,
    refused: usize,
    /// Pods whose refused eviction was printed.
    refused_pods: BTreeSet<String>,
}

impl Watch {
    /// Begins with a read that prints nothing.
    pub(crate) fn new(cluster: &TestCluster, output: Output) -> Self {
        let watch = Self { output, promises: Promises::new(cluster, 1), fleet: cluster.fleet.clone(), seen: Mutex::default() };
        watch.read();
        watch
    }

    /// Reads everything once, and prints the changes.
    pub(crate) fn read(&self) {
        self.promises.check_lease();
        let mut seen = self.seen();
        let first = seen.reads == 0;
        seen.reads += 1;
        // Nodes are read before the Lease, so that a slot is printed before the cordon that follows it.
        let nodes = NODES.map(|(name, _)| (name, self.fleet.read_node(name)));
        self.read_holders(&mut seen);
        seen.most_cordoned = seen.most_cordoned.max(nodes.iter().filter(|(_, node)| is_cordoned(node)).count());
        for (name, node) in nodes {
            let now = describe(&node);
            if seen.nodes.insert(name, now.clone()).is_some_and(|before| before != now) {
                self.output.print(name, PLAIN, &format!("is {now}"));
            }
        }
        let list = self.fleet.api().get(&format!("/api/v1/namespaces/{SHOP}/pods")).ok();
        let ready: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(|pod| is_ready(pod)).collect();
        let healthy = ready.iter().filter(|pod| pod["metadata"]["labels"]["app"] == WEB && pod["metadata"]["deletionTimestamp"].is_null());
        let healthy = healthy.count();
        seen.fewest_web = Some(seen.fewest_web.map_or(healthy, |fewest| fewest.min(healthy)));
        for pod in ready {
            if seen.ready.insert(text(&pod["metadata"]["uid"])) && !first {
                let line = format!("pod {} runs here now", text(&pod["metadata"]["name"]));
                self.output.print(&text(&pod["spec"]["nodeName"]), LOW, &line);
            }
        }
    }

    fn read_holders(&self, seen: &mut Seen) {
        let lease = self.fleet.api().get("/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager");
        let names = text(&lease.body["spec"]["holderIdentity"]);
        let now: BTreeSet<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        for node in now.difference(&seen.holders) {
            self.output.print(node, PLAIN, "holds the slot (Lease reboot-manager)");
        }
        for node in seen.holders.difference(&now) {
            self.output.print(node, PLAIN, "has released the slot");
        }
        seen.holders = now;
    }

    /// Reads the cluster after the answer to an eviction, and prints the answer.
    pub(crate) fn eviction(&self, passed: &Passed) {
        self.read();
        let pod = passed.path.trim_end_matches("/eviction");
        let name = pod.rsplit('/').next().unwrap_or_default();
        let node = text(&self.fleet.api().get(pod).body["spec"]["nodeName"]);
        let mut seen = self.seen();
        if passed.upstream == Some(429) {
            seen.refused += 1;
            if seen.refused_pods.insert(name.to_owned()) {
                self.output.print(&node, WAIT, &format!("pod {name} must stay for now: its PodDisruptionBudget refuses (429)"));
            }
        } else if passed.upstream.is_some_and(|status| status < 300) {
            seen.evicted += 1;
            self.output.print(&node, PLAIN, &format!("pod {name} is evicted"));
        }
    }

    /// Prints the summary after a last read, and reports whether every promise was kept.
    pub(crate) fn summary(&self, took: Duration) -> bool {
        self.read();
        NODES.iter().for_each(|(name, _)| self.promises.check_restored(name, false));
        let seen = self.seen();
        let in_service = |name: &str| {
            let rebooted = self.fleet.read_node(name)["status"]["nodeInfo"]["bootID"] != format!("first-boot-of-{name}");
            rebooted && seen.nodes[name] == "uncordoned, Ready" && !seen.holders.contains(name)
        };
        let rebooted = NODES.iter().filter(|(name, _)| in_service(name)).count();
        let (most, fewest) = (self.promises.most().max(seen.most_cordoned), seen.fewest_web.unwrap_or_default());
        let broken = self.promises.broken();
        let emptied = match broken.as_slice() {
            [] => "no pod to evict was on a node when its reboot was approved, and each node was cordoned".to_owned(),
            broken => format!("no promise was broken on the cluster: {}", broken.join("; ")),
        };
        let budget =
            format!("the budget was never violated: at least {fewest} of {WEB_PODS} {WEB} pods were healthy, {WEB_MIN} are required");
        let verdicts = [
            (rebooted == NODES.len(), format!("{rebooted} of {} nodes have rebooted and are in service again", NODES.len())),
            (most == 1, format!("never more than 1 at a time: at most {most} was cordoned or away")),
            (broken.is_empty(), emptied),
            (fewest >= WEB_MIN as usize, budget),
        ];
        self.output.title("", &format!("Observed in {} reads of the cluster, one of them after each eviction:\n", seen.reads));
        verdicts.iter().for_each(|(holds, text)| self.output.verdict(*holds, text));
        let (evicted, refused, seconds) = (seen.evicted, seen.refused, took.as_secs_f64());
        self.output.title("", &format!("{evicted} pods evicted; {refused} evictions refused because of a budget; {seconds:.0} s"));
        verdicts.iter().all(|(holds, _)| *holds)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
