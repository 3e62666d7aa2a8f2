//! Looks at the cluster as an administrator would, tells what has changed, and keeps what the summary says.
//!
//! Nothing here comes from the program that is shown: nodes, pods and the Lease are read from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use test_cluster::TestCluster;
use test_cluster::api::Api;
use test_cluster::fleet::Fleet;
use test_cluster::proxy::Passed;

use crate::stage::{NODES, SHOP, WEB};
use crate::teller::{Teller, Tone};

pub(crate) struct Watch {
    admin: Api,
    fleet: Fleet,
    teller: Arc<Teller>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Node>,
    /// By UID.
    pods: BTreeMap<String, Pod>,
    holders: Vec<String>,
    /// Pods about which the budget's no has been told.
    put_off: BTreeSet<String>,
    /// Nodes with a granted reboot that have not checked in since.
    out: BTreeSet<String>,
    seen: Seen,
}

/// What the summary says.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// How often the cluster was looked at.
    pub(crate) looks: usize,
    /// The most nodes that were cordoned in one look.
    pub(crate) most_cordoned: usize,
    /// The most nodes between their grant and their check-in at one time.
    pub(crate) most_out: usize,
    /// The fewest healthy pods of the Deployment in one look.
    pub(crate) fewest_web: usize,
    /// For each grant: the node, and the pods on it that had to go.
    pub(crate) grants: Vec<(String, Vec<String>)>,
    /// Nodes that at the end have another boot-id, are schedulable, marked `Ready` and hold no slot.
    pub(crate) rebooted: Vec<String>,
    /// Evictions that were answered with a yes, and with the budget's no.
    pub(crate) evicted: usize,
    pub(crate) put_off: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    cordoned: bool,
    status: String,
    boot_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    name: String,
    node: String,
    app: String,
    ready: bool,
    ending: bool,
    has_to_go: bool,
}

impl Watch {
    /// Begins with a look about which nothing is told.
    pub(crate) fn new(cluster: &TestCluster, teller: Arc<Teller>) -> Self {
        let watch = Self { admin: cluster.admin.clone(), fleet: cluster.fleet.clone(), teller, state: Mutex::default() };
        let mut state = watch.state();
        (state.nodes, state.pods) = (watch.nodes(), watch.pods());
        drop(state);
        watch
    }

    /// One look at everything.
    pub(crate) fn look(&self) {
        self.look_with(&mut self.state());
    }

    /// An eviction was answered.
    pub(crate) fn eviction(&self, passed: &Passed) {
        let name = passed.path.trim_end_matches("/eviction").rsplit('/').next().unwrap_or_default();
        let mut state = self.state();
        self.look_with(&mut state);
        let node = state.pods.values().find(|pod| pod.name == name).map(|pod| pod.node.clone()).unwrap_or_default();
        if passed.upstream == Some(429) {
            state.seen.put_off += 1;
            if state.put_off.insert(name.to_owned()) {
                self.teller.say(&node, Tone::Wait, &format!("pod {name} must stay for now: its PodDisruptionBudget says no (429)"));
            }
        } else if passed.upstream.is_some_and(|status| status < 300) {
            state.seen.evicted += 1;
            self.teller.say(&node, Tone::Plain, &format!("pod {name} is evicted"));
        }
    }

    /// A reboot was granted just now: what is on the node?
    pub(crate) fn granted(&self, node: &str) {
        let mut state = self.state();
        self.look_with(&mut state);
        let left: Vec<String> = state.pods.values().filter(|pod| pod.node == node && pod.has_to_go).map(|pod| pod.name.clone()).collect();
        let stays = state.pods.values().filter(|pod| pod.node == node && !pod.has_to_go).count();
        if left.is_empty() {
            self.teller.say(node, Tone::Low, &format!("is empty but for {stays} pod of a DaemonSet"));
        } else {
            self.teller.say(node, Tone::Bad, &format!("is granted a reboot and still has {}", left.join(", ")));
        }
        state.seen.grants.push((node.to_owned(), left));
        state.out.insert(node.to_owned());
        state.seen.most_out = state.seen.most_out.max(state.out.len());
    }

    /// A check-in was answered with 200.
    pub(crate) fn checked_in(&self, node: &str) {
        let mut state = self.state();
        state.out.remove(node);
        self.look_with(&mut state);
    }

    /// The last look, and what was seen in all of them.
    pub(crate) fn last_look(&self) -> Seen {
        let mut state = self.state();
        self.look_with(&mut state);
        let in_service = |name: &str, node: &Node| {
            let first = format!("first-boot-of-{name}");
            node.boot_id != first && !node.cordoned && node.status == "Ready" && !state.holders.iter().any(|holder| holder == name)
        };
        let rebooted = state.nodes.iter().filter(|(name, node)| in_service(name, node)).map(|(name, _)| name.clone()).collect();
        Seen { rebooted, ..state.seen.clone() }
    }

    fn look_with(&self, state: &mut State) {
        let (nodes, pods, holders) = (self.nodes(), self.pods(), self.holders());
        let seen = &mut state.seen;
        seen.looks += 1;
        seen.most_cordoned = seen.most_cordoned.max(nodes.values().filter(|node| node.cordoned).count());
        seen.fewest_web = seen.fewest_web.min(pods.values().filter(|pod| pod.app == WEB && pod.ready && !pod.ending).count());
        self.tell_lock(&state.holders, &holders);
        for (name, node) in &nodes {
            self.tell_node(name, state.nodes.get(name), node);
        }
        for (uid, pod) in &pods {
            let before = state.pods.get(uid);
            if pod.ready && before.is_none_or(|before| !before.ready) {
                self.teller.say(&pod.node, Tone::Low, &format!("pod {} runs here now", pod.name));
            }
        }
        (state.nodes, state.pods, state.holders) = (nodes, pods, holders);
    }

    fn tell_lock(&self, before: &[String], now: &[String]) {
        for node in now.iter().filter(|node| !before.contains(node)) {
            self.teller.say(node, Tone::Plain, "holds the slot (Lease reboot-manager)");
        }
        for node in before.iter().filter(|node| !now.contains(node)) {
            self.teller.say(node, Tone::Plain, "has given the slot back");
        }
    }

    fn tell_node(&self, name: &str, before: Option<&Node>, now: &Node) {
        let Some(before) = before else { return };
        let mut changes = Vec::new();
        if before.cordoned != now.cordoned {
            changes.push(if now.cordoned { "cordoned".to_owned() } else { "uncordoned".to_owned() });
        }
        if before.status != now.status {
            changes.push(format!("marked {}", now.status));
        }
        if !changes.is_empty() {
            self.teller.say(name, Tone::Plain, &format!("is {}", changes.join(" and ")));
        }
    }

    fn nodes(&self) -> BTreeMap<String, Node> {
        NODES.iter().map(|(name, _)| ((*name).to_owned(), node(&self.fleet.read_node(name)))).collect()
    }

    fn pods(&self) -> BTreeMap<String, Pod> {
        let list = self.admin.get(&format!("/api/v1/namespaces/{SHOP}/pods")).ok();
        list["items"].as_array().into_iter().flatten().map(|value| (text(&value["metadata"]["uid"]), pod(value))).collect()
    }

    fn holders(&self) -> Vec<String> {
        let lease = self.admin.get("/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager");
        let names = text(&lease.body["spec"]["holderIdentity"]);
        names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            looks: 0,
            most_cordoned: 0,
            most_out: 0,
            fewest_web: usize::MAX,
            grants: Vec::new(),
            rebooted: Vec::new(),
            evicted: 0,
            put_off: 0,
        }
    }
}

fn node(value: &Value) -> Node {
    Node {
        cordoned: value["spec"]["unschedulable"] == true,
        status: text(&value["metadata"]["annotations"]["rebootmanager/status"]),
        boot_id: text(&value["status"]["nodeInfo"]["bootID"]),
    }
}

fn pod(value: &Value) -> Pod {
    let conditions = value["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    Pod {
        name: text(&value["metadata"]["name"]),
        node: text(&value["spec"]["nodeName"]),
        app: text(&value["metadata"]["labels"]["app"]),
        ready: conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
        ending: value["metadata"]["deletionTimestamp"].is_string(),
        has_to_go: value["metadata"]["ownerReferences"][0]["kind"] != "DaemonSet",
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
