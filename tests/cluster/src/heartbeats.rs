//! Kubelets that say that they live, and what distrusts those that no longer do.
//!
//! On the real cluster each renews the Lease of its node, and the real node lifecycle controller sets the condition Ready of any other node
//! to Unknown. The simulated cluster has no such controller, so the condition is set here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::SOON;
use crate::fleet::Fleet;
use crate::real::ControlPlane;
use crate::wait::wait_for;

/// Kubelets of some nodes; all other nodes become Unknown. Dropping them ends this.
#[derive(Debug)]
pub struct Heartbeats<'a> {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    plane: Option<&'a ControlPlane>,
}

#[derive(Debug)]
struct Shared {
    fleet: Fleet,
    is_over: AtomicBool,
    /// Nodes whose kubelets live; locked while they report.
    alive: Mutex<BTreeSet<String>>,
}

impl<'a> Heartbeats<'a> {
    pub(crate) fn start(fleet: &Fleet, plane: Option<&'a ControlPlane>, nodes: &[&str]) -> Self {
        let alive = nodes.iter().map(|&node| node.to_owned()).collect();
        let shared = Arc::new(Shared { fleet: fleet.clone(), is_over: AtomicBool::new(false), alive: Mutex::new(alive) });
        shared.beat(plane.is_some());
        let (beating, is_real) = (Arc::clone(&shared), plane.is_some());
        let thread = thread::spawn(move || {
            while !beating.is_over.load(Ordering::Acquire) {
                beating.beat(is_real);
                thread::park_timeout(EVERY);
            }
        });
        if let Some(plane) = plane {
            plane.start_node_lifecycle();
        }
        Self { shared, thread: Some(thread), plane }
    }

    /// Lets the kubelet of a node fall silent, and waits until the node is Unknown.
    #[track_caller]
    pub fn stop(&self, node: &str) {
        let mut alive = self.shared.alive();
        alive.remove(node);
        if self.plane.is_none() {
            self.shared.fleet.set_condition(node, "Unknown");
        }
        drop(alive);
        self.wait_until(node, "Unknown");
    }

    /// Lets the kubelet of a node report again, and waits until the node is Ready.
    #[track_caller]
    pub fn resume(&self, node: &str) {
        self.shared.alive().insert(node.to_owned());
        self.wait_until(node, "True");
    }

    #[track_caller]
    fn wait_until(&self, node: &str, wanted: &str) {
        wait_for(&format!("the condition Ready of {node} is {wanted}"), SOON, || match self.shared.ready(node) {
            ready if ready == wanted => Ok(()),
            ready => Err(ready),
        });
    }
}

impl Drop for Heartbeats<'_> {
    fn drop(&mut self) {
        if let Some(plane) = self.plane {
            plane.stop_node_lifecycle();
        }
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the kubelets is already printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Reports all nodes whose kubelets live.
    fn beat(&self, is_real: bool) {
        for node in self.alive().iter() {
            if is_real {
                self.renew(node);
            }
            if self.ready(node) != "True" {
                self.fleet.set_condition(node, "True");
            }
        }
    }

    fn renew(&self, node: &str) {
        let spec = json!({"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()});
        if self.fleet.api().merge(&format!("{LEASES}/{node}"), &json!({ "spec": spec })).status == 404 {
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node}, "spec": spec});
            self.fleet.api().create(LEASES, &lease).ok();
        }
    }

    /// Returns the state of the condition Ready.
    fn ready(&self, node: &str) -> String {
        let node = self.fleet.read_node(node);
        let conditions = node["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").map(|condition| &condition["status"]);
        ready.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn alive(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leases of the kubelets.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Time between two reports.
const EVERY: Duration = Duration::from_secs(1);
