//! Nodes and workloads, made through the API, so that the simulated cluster and the real one get the same.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::{Answer, Api};
use crate::objects::{self, Placement};
use crate::resources::collection;

/// Creates nodes and workloads.
#[derive(Debug, Clone)]
pub struct Fleet {
    api: Api,
}

/// Node that [`NodeMaker::create`] creates.
#[derive(Debug)]
#[must_use = "a node is made by `create`"]
pub struct NodeMaker<'a> {
    api: &'a Api,
    name: String,
    labels: Map<String, Value>,
    taints: Vec<Value>,
    pod_network: Option<String>,
    status: Value,
}

impl NodeMaker<'_> {
    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), json!(value));
        self
    }

    /// Adds a taint of effect `NoSchedule`.
    pub fn taint(mut self, key: &str) -> Self {
        self.taints.push(json!({"key": key, "effect": "NoSchedule"}));
        self
    }

    /// Sets the only `InternalIP`.
    pub fn address(mut self, address: &str) -> Self {
        self.status["addresses"] = json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": self.name}]);
        self
    }

    /// Sets the network of the node's pods, such as `10.244.1.0/24`.
    pub fn pod_network(mut self, cidr: &str) -> Self {
        self.pod_network = Some(cidr.to_owned());
        self
    }

    /// Adds the images of a node that has run for a while, about 11 KB.
    pub fn padded(mut self) -> Self {
        self.status["images"] = objects::images();
        self
    }

    /// Creates the Node, Ready and schedulable, and returns it.
    #[track_caller]
    pub fn create(self) -> Value {
        let path = format!("/api/v1/nodes/{}", self.name);
        let mut node = objects::node(&self.name, &self.labels, &self.taints);
        if let Some(cidr) = self.pod_network {
            node["spec"]["podCIDR"] = json!(cidr);
            node["spec"]["podCIDRs"] = json!([cidr]);
        }
        self.api.create("/api/v1/nodes", &node).ok();
        // A real API server adds the taint "not ready", which no controller here removes.
        self.api.merge(&path, &json!({"spec": {"taints": self.taints}})).ok();
        self.api.merge(&format!("{path}/status"), &json!({"status": self.status})).ok()
    }
}

/// Returns the machine-id of the n-th node of [`Fleet::padded_nodes`].
pub fn machine_id(number: usize) -> String {
    format!("{:032x}", number + 1)
}

impl Fleet {
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Describes a node; [`NodeMaker::create`] creates the node.
    pub fn node(&self, name: &str, machine_id: &str, boot_id: &str) -> NodeMaker<'_> {
        let status = objects::node_status(name, machine_id, boot_id);
        NodeMaker { api: &self.api, name: name.to_owned(), labels: Map::new(), taints: Vec::new(), pod_network: None, status }
    }

    /// Creates nodes `n0`, `n1`, … of realistic size.
    pub fn padded_nodes(&self, numbers: Range<usize>) {
        std::thread::scope(|scope| {
            for first in 0..THREADS {
                let numbers = numbers.clone().skip(first).step_by(THREADS);
                scope.spawn(move || {
                    for number in numbers {
                        self.node(&format!("n{number}"), &machine_id(number), "boot").padded().create();
                    }
                });
            }
        });
    }

    /// Gives the node another boot id and OS image, as after a reboot into an update, and returns the boot id.
    #[track_caller]
    pub fn reboot(&self, node: &str) -> String {
        let (number, boot_id) = Self::next_boot();
        self.patch_node_status(node, &json!({"nodeInfo": {"bootID": boot_id, "osImage": format!("Fedora CoreOS {number}")}}));
        boot_id
    }

    /// Gives the node another boot id alone, as after a reboot that did not apply an update.
    #[track_caller]
    pub fn reboot_without_update(&self, node: &str) {
        self.patch_node_status(node, &json!({"nodeInfo": {"bootID": Self::next_boot().1}}));
    }

    fn next_boot() -> (u64, String) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        (number, format!("b0070000-0000-4000-8000-{number:012x}"))
    }

    /// Sets the node's condition Ready.
    #[track_caller]
    pub fn set_ready(&self, node: &str, ready: bool) {
        self.set_condition(node, if ready { "True" } else { "False" });
    }

    /// Sets the node's condition Ready to `True`, `False` or `Unknown`.
    #[track_caller]
    pub(crate) fn set_condition(&self, node: &str, ready: &str) {
        self.patch_node_status(node, &json!({"conditions": objects::node_conditions(ready)}));
    }

    /// Writes the status that a kubelet reports every five minutes though nothing has changed. The message differs each time, because times
    /// have whole seconds only.
    #[track_caller]
    pub fn heartbeat(&self, node: &str) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let mut conditions = objects::node_conditions("True");
        conditions[0]["message"] = json!(format!("heartbeat {}", COUNT.fetch_add(1, Ordering::Relaxed)));
        self.patch_node_status(node, &json!({"conditions": conditions}));
    }

    #[track_caller]
    pub fn read_node(&self, name: &str) -> Value {
        self.api.get(&format!("/api/v1/nodes/{name}")).ok()
    }

    /// Lists the pods of all namespaces on a node.
    #[track_caller]
    pub fn pods_on(&self, node: &str) -> Vec<Value> {
        items(self.api.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName={node}")))
    }

    /// Lists the pods of a namespace whose label `app` is `app`.
    #[track_caller]
    pub fn pods_of(&self, namespace: &str, app: &str) -> Vec<Value> {
        self.pods_of_labels(namespace, &format!("app={app}"))
    }

    /// Lists the pods of a namespace that match a label selector.
    #[track_caller]
    pub fn pods_of_labels(&self, namespace: &str, selector: &str) -> Vec<Value> {
        items(self.api.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", selector.replace('=', "%3D"))))
    }

    /// Creates an object of any kind in [`crate::resources`] and returns it.
    #[track_caller]
    pub fn create(&self, object: &Value) -> Value {
        self.api.create(&collection(object), object).ok()
    }

    /// Makes the namespace and what pods in it need: the ServiceAccount `default`, for which a real cluster takes its time.
    #[track_caller]
    pub fn ensure_namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
        for object in [namespace, account] {
            let answer = self.api.create(&collection(&object), &object);
            assert!(matches!(answer.status, 201 | 404 | 409), "{} {}", answer.status, answer.body);
        }
    }

    /// Creates a Deployment whose pods have the label `app` with the same name.
    #[track_caller]
    pub fn deployment(&self, namespace: &str, name: &str, replicas: u32, placement: Placement<'_>) -> Value {
        self.create(&objects::deployment(namespace, name, replicas, placement))
    }

    #[track_caller]
    pub fn stateful_set(&self, namespace: &str, name: &str, replicas: u32, placement: Placement<'_>) -> Value {
        self.create(&objects::stateful_set(namespace, name, replicas, placement))
    }

    #[track_caller]
    pub fn daemon_set(&self, namespace: &str, name: &str) -> Value {
        self.create(&objects::daemon_set(namespace, name))
    }

    /// Creates a Job of one pod, which runs until the fake kubelet ends it.
    #[track_caller]
    pub fn job(&self, namespace: &str, name: &str, placement: Placement<'_>) -> Value {
        let mut template = objects::template(name, placement);
        template["spec"]["restartPolicy"] = json!("Never");
        self.create(&objects::object("batch/v1", "Job", Some(namespace), name, &json!({"backoffLimit": 4, "template": template})))
    }

    /// Creates a pod without an owner.
    #[track_caller]
    pub fn bare_pod(&self, namespace: &str, name: &str, placement: Placement<'_>) -> Value {
        self.create(&objects::bare_pod(namespace, name, placement))
    }

    /// Makes a pod without an owner and binds it to `node`, cordoned or not, in the role of a scheduler that has not seen the cordon.
    #[track_caller]
    pub fn bound_pod(&self, namespace: &str, name: &str, node: &str) -> Value {
        let mut pod = objects::bare_pod(namespace, name, Placement::Free);
        pod["spec"]["schedulerName"] = json!("test");
        let pod = self.create(&pod);
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace}, "target": target});
        self.api.create(&format!("/api/v1/namespaces/{namespace}/pods/{name}/binding"), &binding).ok();
        pod
    }

    /// Makes a pod without an owner on `node` that takes `ends_after` to end, once it is evicted.
    #[track_caller]
    pub fn slow_pod(&self, namespace: &str, name: &str, node: &str, ends_after: Duration) -> Value {
        self.create(&objects::slow_pod(namespace, name, node, ends_after))
    }

    /// Makes what the API shows of a static pod on `node`; it is called `<name>-<node>`.
    #[track_caller]
    pub fn mirror_pod(&self, namespace: &str, name: &str, node: &str) -> Value {
        let uid = &self.read_node(node)["metadata"]["uid"];
        let mut pod = objects::bare_pod(namespace, &format!("{name}-{node}"), Placement::Free);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0123456789abcdef", "kubernetes.io/config.source": "file"});
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": true}]);
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        self.create(&pod)
    }

    /// Makes a PodDisruptionBudget for the pods whose label `app` is `app`.
    #[track_caller]
    pub fn budget(&self, namespace: &str, name: &str, min_available: u32, app: &str) -> Value {
        let spec = json!({"minAvailable": min_available, "selector": objects::selector(app)});
        self.create(&objects::object("policy/v1", "PodDisruptionBudget", Some(namespace), name, &spec))
    }

    #[track_caller]
    fn patch_node_status(&self, node: &str, status: &Value) {
        self.api.merge(&format!("/api/v1/nodes/{node}/status"), &json!({ "status": status })).ok();
    }
}

#[track_caller]
fn items(list: Answer) -> Vec<Value> {
    match list.ok()["items"].take() {
        Value::Array(items) => items,
        other => panic!("a list without items: {other}"),
    }
}

/// Threads that create nodes.
const THREADS: usize = 8;
