//! Acts of an administrator. Each change of a Node is made over the version that was read, so it is known which cordons must be kept.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::outsiders::Outsiders;

/// Maximum number of nodes that the administrator has cordoned.
const CORDONS_MAX: usize = 2;

const BUDGETS: &str = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";

impl Outsiders<'_> {
    /// Adds a budget that refuses to evict the pod that is pinned to the node of a holder.
    pub(crate) fn block_holder(&mut self, time: Duration) {
        let Some(holder) = self.draining() else { return };
        let name = format!("pinned-{}", holder["node"].as_str().unwrap_or_default());
        let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": name}}});
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec});
        if self.world.cluster.admin.create(BUDGETS, &budget).status == 201 {
            self.world.note(&format!("budget {name} for {time:?}"));
            self.blocked.push((name, Instant::now() + time));
        }
    }

    /// Removes the budgets whose time fits.
    pub(crate) fn unblock(&mut self, fits: impl Fn(Instant) -> bool) {
        let (over, left) = std::mem::take(&mut self.blocked).into_iter().partition(|(_, until)| fits(*until));
        self.blocked = left;
        for (name, _) in over {
            self.world.cluster.admin.delete(&format!("{BUDGETS}/{name}"), None).ok();
            self.world.note(&format!("budget {name} is removed"));
        }
    }

    /// Deletes the budget of the Deployment, and creates it again.
    pub(crate) fn replace_budget(&self) {
        self.world.cluster.admin.delete(&format!("{BUDGETS}/web"), None).ok();
        self.world.pause(Duration::from_secs(1));
        self.world.cluster.fleet.budget("shop", "web", 3, "web");
    }

    /// Cordons or uncordons a node that is not in a reboot, over the version that was read.
    pub(crate) fn cordon(&self, name: &str) {
        let mut cordoned = self.world.cordoned.lock().unwrap();
        let Some(node) = self.world.node(name).filter(|node| record(node).is_none()) else { return };
        let is_cordoned = node["spec"]["unschedulable"] == true;
        if cordoned.contains(name) && !is_cordoned {
            self.world.fail(format!("the cordon of an administrator was removed from {name}: {}", node["metadata"]));
        }
        // The pods of a drained node need another one, also at the quiet end.
        if !cordoned.contains(name) && (is_cordoned || cordoned.len() >= CORDONS_MAX) {
            return;
        }
        let change = json!({"spec": {"unschedulable": !is_cordoned}});
        if self.change(&node, change) {
            self.world.note(&format!("{name}: unschedulable is {} by hand", !is_cordoned));
            if is_cordoned {
                cordoned.remove(name)
            } else {
                cordoned.insert(name.to_owned())
            };
        }
    }

    /// Marks a node that is in service as rebooting, over the version that was read.
    pub(crate) fn mark(&mut self, name: &str, time: Duration) {
        let is_in_service = |node: &Value| record(node).is_none() && status(node) != "Rebooting";
        let Some(node) = self.world.node(name).filter(is_in_service) else { return };
        if self.change(&node, set_status("Rebooting")) {
            self.world.note(&format!("{name} is marked by hand for {time:?}"));
            self.marked.push((name.to_owned(), Instant::now() + time));
        }
    }

    /// Marks the nodes Ready whose time fits, unless the program has marked them since.
    pub(crate) fn unmark(&mut self, fits: impl Fn(Instant) -> bool) {
        let (over, left): (Vec<_>, _) = std::mem::take(&mut self.marked).into_iter().partition(|(_, until)| fits(*until));
        self.marked = left;
        let is_by_hand = |node: &Value| record(node).is_none() && status(node) == "Rebooting";
        for (name, _) in over {
            while let Some(node) = self.world.node(&name).filter(is_by_hand) {
                if self.change(&node, set_status("Ready")) {
                    self.world.note(&format!("{name} is marked Ready by hand"));
                }
            }
        }
    }

    /// Uncordons a draining node, or marks it Ready, over the version that was read. It is not changed once its drain is recorded, because
    /// then it may be approved.
    pub(crate) fn change_holder(&mut self, ready: bool) {
        let Some(holder) = self.draining() else { return };
        let name = holder["node"].as_str().unwrap_or_default();
        let cordoned = self.world.cordoned.lock().unwrap();
        let is_early = |node: &Value| record(node).is_some_and(|record| record["drained"].is_null());
        let Some(node) = self.world.node(name).filter(is_early) else { return };
        if cordoned.contains(name) {
            return;
        }
        let change = if ready { set_status("Ready") } else { json!({"spec": {"unschedulable": false}}) };
        if self.change(&node, change.clone()) {
            self.world.note(&format!("{name}: {change} by hand during its drain"));
        }
    }

    /// Patches a Node over the version that was read; `false` if it has changed since.
    fn change(&self, node: &Value, mut change: Value) -> bool {
        change["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"].clone();
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        self.world.cluster.admin.merge(&format!("/api/v1/nodes/{name}"), &change).status == 200
    }
}

fn status(node: &Value) -> &str {
    node["metadata"]["annotations"]["rebootmanager/status"].as_str().unwrap_or_default()
}

fn set_status(status: &str) -> Value {
    json!({"metadata": {"annotations": {"rebootmanager/status": status}}})
}

/// Reads the record of the cordon for a reboot.
fn record(node: &Value) -> Option<Value> {
    node["metadata"]["annotations"]["rebootmanager/cordon"].as_str().and_then(|text| serde_json::from_str(text).ok())
}
