//! Kinds of reboot in which calls meet faults.

use test_cluster::TestCluster;
use test_cluster::objects::Placement;

/// Kind of reboot.
pub(super) struct Reboot {
    pub(super) name: &'static str,
    /// Nodes that ask, all at once.
    pub(super) nodes: &'static [&'static str],
    /// Minimum number of its writes.
    pub(super) writes_min: usize,
    /// Action before the first request.
    pub(super) before: fn(&TestCluster),
    /// Action once, after the first eviction.
    pub(super) meanwhile: fn(&TestCluster),
    /// Action between a node's boot and its check-in.
    pub(super) booted: fn(&TestCluster, &str),
    /// Action after its check-in.
    pub(super) checked_in: fn(&TestCluster, &str),
}

const PLAIN: Reboot = Reboot {
    name: "granted with pods",
    nodes: &["n1"],
    // take, mark, evict two pods, drained, approve, check in, restore, free
    writes_min: 8,
    before: |cluster| {
        cluster.fleet.bare_pod("shop", "a", Placement::On("n1"));
        cluster.fleet.bare_pod("shop", "b", Placement::On("n1"));
        cluster.wait_for_running("n1", 2);
    },
    meanwhile: |_| {},
    booted: |_, _| {},
    checked_in: |_, _| {},
};

/// Reboots that meet every fault.
pub(super) const REBOOTS: &[Reboot] = &[
    PLAIN,
    Reboot {
        name: "held by a budget, then freed",
        before: |cluster| {
            cluster.fleet.deployment("shop", "web", 1, Placement::On("n1"));
            cluster.fleet.budget("shop", "web", 1, "web");
            cluster.wait_for_running("n1", 1);
        },
        meanwhile: |cluster| {
            cluster.admin.delete("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web", None).ok();
            cluster.admin.delete("/apis/apps/v1/namespaces/shop/deployments/web", None).ok();
        },
        ..PLAIN
    },
    Reboot { name: "two nodes at once", nodes: &["n1", "n2"], writes_min: 14, before: |_| {}, ..PLAIN },
    Reboot {
        name: "checked in before its kubelet is ready",
        writes_min: 6,
        before: |_| {},
        booted: |cluster, node| cluster.fleet.set_ready(node, false),
        checked_in: |cluster, node| cluster.fleet.set_ready(node, true),
        ..PLAIN
    },
    Reboot { name: "cordoned by an administrator before", writes_min: 6, before: |cluster| cluster.set_cordon("n1", true), ..PLAIN },
];
