//! Who may reboot: the promises that must hold at every moment, and what was seen of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use test_cluster::TestCluster;

/// Keeps count of the approved nodes, and of broken promises.
pub(super) struct Watchman<'a> {
    cluster: &'a TestCluster,
    slots: usize,
    approved: AtomicUsize,
    most: AtomicUsize,
    broken: Mutex<Vec<String>>,
}

impl<'a> Watchman<'a> {
    pub(super) fn new(cluster: &'a TestCluster, slots: usize) -> Self {
        Self { cluster, slots, approved: AtomicUsize::new(0), most: AtomicUsize::new(0), broken: Mutex::default() }
    }

    /// The agent of this node has been told yes.
    pub(super) fn approved(&self, node: &str) {
        let approved = self.approved.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(approved, Ordering::SeqCst);
        if approved > self.slots {
            self.break_promise(format!("{approved} nodes are approved at once, {node} among them; there are {} slots", self.slots));
        }
        self.look_at(node);
    }

    /// An approved node has no pod and is cordoned; this holds until its agent checks in.
    pub(super) fn look_at(&self, node: &str) {
        let pods = self.cluster.fleet.pods_on(node);
        if let Some(pod) = pods.first() {
            self.break_promise(format!("approved node {node} has {} pods, {} among them", pods.len(), pod["metadata"]["name"]));
        }
        if !self.cluster.is_cordoned(node) {
            self.break_promise(format!("approved node {node} is not cordoned"));
        }
    }

    /// The agent of this node is about to check in.
    pub(super) fn comes_back(&self) {
        self.approved.fetch_sub(1, Ordering::SeqCst);
    }

    /// What the Lease says must fit, too.
    pub(super) fn look_at_lease(&self) {
        let holders = self.cluster.holders();
        if holders.len() > self.slots {
            self.break_promise(format!("the Lease has {} holders, there are {} slots", holders.len(), self.slots));
        }
    }

    /// Takes down what should not be.
    pub(super) fn break_promise(&self, what: String) {
        self.broken.lock().expect("promises").push(what);
    }

    /// The most that were approved at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// All that was broken.
    pub(super) fn broken(&self) -> Vec<String> {
        self.broken.lock().expect("promises").clone()
    }
}
