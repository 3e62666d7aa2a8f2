//! Pods that do not end: the answer names the deadline of each, and once it is over, what to check.

use serde_json::json;
use test_cluster::objects::{Placement, bare_pod};

use super::{cluster_of, server, set_clock, shifted};

/// Finalizer that nothing removes by itself.
const FINALIZER: &str = "test.example/volume";

#[test]
fn a_pod_past_its_deadline_blocks_the_drain_and_is_named_with_its_finalizers() {
    let (cluster, [one, _two]) = cluster_of();
    let (mut kept, mut slow) = (bare_pod("shop", "kept", Placement::On("n1")), bare_pod("shop", "slow", Placement::On("n1")));
    kept["metadata"]["finalizers"] = json!([FINALIZER]);
    for pod in [&mut kept, &mut slow] {
        pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
        cluster.fleet.create(pod);
    }
    cluster.wait_for_running("n1", 2);
    cluster.kubelet.power_off("n1");
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=1s").start();
    let message = one.until_refused(&server, "draining", "terminating: shop/kept (until 20");
    let has = |message: &str, text: &str| assert!(message.contains(text), "{text:?} is not in: {message}");
    has(&message, "shop/slow (until 20");
    // Two minutes and more after the ten of grace.
    set_clock(&cluster, "+900");
    let message = one.until_refused(&server, "drain_blocked", "pod shop/kept should have ended by 20");
    has(&message, "(check what removes its finalizer test.example/volume, and the kubelet of its node)");
    has(&message, "pod shop/slow should have ended by 20");
    has(&message, "(check the kubelet of its node)");
    cluster.kubelet.power_on("n1");
    cluster.admin.merge("/api/v1/namespaces/shop/pods/kept", &json!({"metadata": {"finalizers": null}})).ok();
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
}

#[test]
fn a_pod_within_its_grace_period_does_not_block_the_drain() {
    let (cluster, [one, _two]) = cluster_of();
    super::running_pod(&cluster, "web", "n1");
    cluster.kubelet.power_off("n1");
    let server = server(&cluster, "1s");
    // Its deadline is a second away, and so not worth a word.
    let message = one.until_refused(&server, "draining", "has 1 pod left: terminating: shop/web");
    assert!(!message.contains("until"), "{message}");
    cluster.kubelet.power_on("n1");
    one.until_approved(&server);
}
