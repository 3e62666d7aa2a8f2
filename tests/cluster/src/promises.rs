//! Checks the promises about reboots on the cluster itself, never by the program's own words.
//!
//! - At most as many nodes are approved as there are slots, and each approved node holds one.
//! - An approved node is cordoned and has no pod left to evict, until it is in another boot, or its agent checks in or asks again. A pod
//!   that came back may stay.
//! - At the end no slot is held, and each node has its former cordon and no rebooting annotation.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::TestCluster;
use crate::api::Api;
use crate::cluster::lock;
use crate::fleet::Fleet;
use crate::wait::poll_every;

/// Checker that records each broken promise.
pub struct Promises {
    admin: Api,
    fleet: Fleet,
    slots: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    approved: BTreeSet<String>,
    most: usize,
    broken: Vec<String>,
}

impl Promises {
    /// Creates a checker for a server with this number of slots.
    pub fn new(cluster: &TestCluster, slots: usize) -> Self {
        Self { admin: cluster.admin.clone(), fleet: cluster.fleet.clone(), slots, state: Mutex::default() }
    }

    /// Acts as the agent of a node with an update: asks for a reboot until approved, boots, checks in until answered 200, with `pause` between
    /// two requests. `ask` sends a request to `pre-reboot` or `steady-state`, and reports whether the answer was 200. Returns whether all
    /// succeeded, each of the two within `limit`.
    pub fn reboot(&self, node: &str, pause: Duration, limit: Duration, ask: impl Fn(&str) -> bool, boot: impl FnOnce()) -> bool {
        let answered = |endpoint| poll_every(pause, limit, || if ask(endpoint) { Ok(()) } else { Err(()) }).is_ok();
        if !answered("pre-reboot") {
            return false;
        }
        self.approve(node);
        boot();
        self.check_in(node);
        answered("steady-state")
    }

    /// Records that the agent of this node received an approval, and checks the node.
    pub fn approve(&self, node: &str) {
        let mut state = self.state();
        state.approved.insert(node.to_owned());
        let count = state.approved.len();
        state.most = state.most.max(count);
        drop(state);
        if count > self.slots {
            self.report(format!("{count} nodes are approved at once, {node} among them; there are {} slots", self.slots));
        }
        let lock = lock(&self.admin);
        if !holders(&lock).any(|holder| holder["node"] == node) {
            self.report(format!("{node} is approved and holds no slot: {lock}"));
        }
        self.check_node(node);
    }

    /// Checks a node between its approval and its check-in.
    pub fn check_node(&self, node: &str) {
        let pods = pods_to_evict(&self.fleet, &lock(&self.admin), node);
        if !pods.is_empty() {
            self.report(format!("{node} is approved and has the pods {}", pods.join(", ")));
        }
        if !is_cordoned(&self.fleet.read_node(node)) {
            self.report(format!("{node} is approved and not cordoned"));
        }
    }

    /// Records that the approval of this node is over: its agent is about to check in or to ask again, or its kubelet to report another boot.
    pub fn check_in(&self, node: &str) {
        self.state().approved.remove(node);
    }

    /// Checks the Lease: the number of its holders, and the cordon of each node that is approved and not back.
    pub fn check_lease(&self) {
        let now = lock(&self.admin);
        let count = holders(&now).count();
        if count > self.slots {
            self.report(format!("{count} slots are held, there are {}: {now}", self.slots));
        }
        for holder in holders(&now).filter(|holder| holder["approved"].is_object() && holder["checked_in"].is_null()) {
            let node = holder["node"].as_str().unwrap_or_default();
            let read = self.admin.get(&format!("/api/v1/nodes/{node}")).body;
            // A Node that is back or was replaced need not be cordoned. The node may have checked in between the two reads; then the Lease
            // has changed.
            let is_same = read["metadata"]["uid"] == holder["uid"] && read["status"]["nodeInfo"]["bootID"] == holder["approved"]["boot"];
            if is_same && !is_cordoned(&read) && lock(&self.admin) == now {
                self.report(format!("{node} is approved and not cordoned: {now}"));
            }
        }
    }

    /// Checks a node at the end, when no slot is held.
    pub fn check_restored(&self, node: &str, cordoned_before: bool) {
        let now = self.fleet.read_node(node);
        let annotations = &now["metadata"]["annotations"];
        if annotations["rebootmanager/status"] == "Rebooting" || !annotations["rebootmanager/cordon"].is_null() {
            self.report(format!("{node} has annotations of a reboot at the end: {annotations}"));
        }
        if is_cordoned(&now) != cordoned_before {
            self.report(format!("{node}: the cordon was {cordoned_before} before the reboot and is not restored"));
        }
    }

    /// Records a broken promise.
    pub fn report(&self, what: String) {
        self.state().broken.push(what);
    }

    /// Largest number of nodes approved at the same time.
    pub fn most(&self) -> usize {
        self.state().most
    }

    /// All broken promises.
    pub fn broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the names of the pods that a drain of the node must evict.
fn pods_to_evict(fleet: &Fleet, lock: &Value, node: &str) -> Vec<String> {
    let time = |text: &Value| text.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let since = holders(lock).find(|holder| holder["node"] == node).and_then(|holder| time(&holder["since"]));
    // A pod that was created on the cordoned node, because it tolerates everything.
    let came_back = |pod: &Value| {
        pod["spec"]["tolerations"].as_array().is_some_and(|all| all.contains(&json!({"operator": "Exists"})))
            && since.zip(time(&pod["metadata"]["creationTimestamp"])).is_some_and(|(since, created)| created > since)
    };
    let pods = fleet.pods_on(node).into_iter();
    let pods = pods.filter(|pod| pod["metadata"]["ownerReferences"][0]["kind"] != "DaemonSet" && !came_back(pod));
    pods.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

fn holders(lock: &Value) -> impl Iterator<Item = &Value> {
    lock["holders"].as_array().into_iter().flatten()
}

fn is_cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"] == true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;
    use crate::fleet::machine_id;
    use crate::objects::Placement;

    /// Leases of the program.
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases";

    fn lease(cluster: &TestCluster, nodes: &[&str]) -> Value {
        let uid = |node: &str| cluster.fleet.read_node(node)["metadata"]["uid"].clone();
        let holder = |node: &&str| json!({"node": node, "uid": uid(node), "approved": {"at": "x", "boot": "boot"}});
        let holders: Vec<Value> = nodes.iter().map(holder).collect();
        let annotations = json!({"rebootmanager/holders": json!({ "holders": holders }).to_string()});
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "reboot-manager", "annotations": annotations}})
    }

    /// Runs `act` with a new checker of one slot, and returns what it reports.
    fn broken(cluster: &TestCluster, act: impl Fn(&Promises)) -> String {
        let promises = Promises::new(cluster, 1);
        act(&promises);
        promises.broken().join("; ")
    }

    #[test]
    fn each_broken_promise_is_reported() {
        let cluster = TestCluster::on(Backend::Simulated, include_str!("../../../kubernetes/deployment.yaml"));
        for number in [1, 2] {
            cluster.fleet.node(&format!("n{number}"), &machine_id(number), "boot").create();
        }
        cluster.admin.create(LEASES, &lease(&cluster, &["n1"])).ok();
        assert!(broken(&cluster, Promises::check_lease).contains("n1 is approved and not cordoned"));
        assert!(broken(&cluster, |promises| promises.approve("n1")).contains("n1 is approved and not cordoned"));
        assert_eq!(broken(&cluster, |promises| promises.check_restored("n1", false)), "");
        cluster.set_cordon("n1", true);
        cluster.set_cordon("n2", true);
        assert_eq!(
            broken(&cluster, |promises| {
                promises.check_lease();
                promises.approve("n1");
            }),
            ""
        );
        assert!(broken(&cluster, |promises| promises.check_restored("n1", false)).contains("is not restored"));
        assert!(broken(&cluster, |promises| promises.approve("n2")).contains("holds no slot"));
        let both = |promises: &Promises| ["n1", "n2"].iter().for_each(|node| promises.approve(node));
        assert!(broken(&cluster, both).contains("2 nodes are approved at once"));
        cluster.admin.merge(&format!("{LEASES}/reboot-manager"), &lease(&cluster, &["n1", "n2"])).ok();
        assert!(broken(&cluster, Promises::check_lease).contains("2 slots are held"));
        cluster.set_status("n1", "Rebooting");
        assert!(broken(&cluster, |promises| promises.check_restored("n1", true)).contains("annotations of a reboot"));
        cluster.set_cordon("n1", false);
        cluster.fleet.bare_pod("shop", "a", Placement::On("n1"));
        cluster.wait_for_running("n1", 1);
        assert!(broken(&cluster, |promises| promises.check_node("n1")).contains("has the pods a"));
    }
}
