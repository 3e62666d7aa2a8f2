//! What docs/moving.md promises to those who come from another reboot manager.

use test_cluster::objects::Placement;

use super::{cluster_of, server};

/// Step 1 there: the old server has approved n2, cordoned it, and is stopped; a person marks the node.
#[test]
fn a_node_approved_by_another_server_counts_once_marked_and_is_uncordoned_at_its_check_in() {
    let (cluster, [one, marked]) = cluster_of();
    cluster.set_cordon("n2", true);
    cluster.set_status("n2", "Rebooting");
    let server = server(&cluster, "30s");
    let refused = one.until_spared(&cluster, &server);
    assert!(refused.value.contains("n2"), "{}", refused.value);
    assert!(!cluster.is_cordoned("n1") && cluster.holders().is_empty(), "nothing was begun with n1");
    marked.comes_back(&cluster, &server);
    marked.is_in_service(&cluster);
    one.until_approved(&server);
}

/// The reason why it must be marked: nothing else distinguishes that node from one that an administrator has cordoned.
#[test]
fn a_node_approved_by_another_server_is_not_seen_until_it_is_marked() {
    let (cluster, [one, two]) = cluster_of();
    cluster.set_cordon("n1", true);
    let server = server(&cluster, "30s");
    two.agent(&server).pre_reboot().expect(200, "approved");
    one.comes_back(&cluster, &server);
    assert!(cluster.is_cordoned("n1"), "it stays cordoned");
}

/// The annotation-only manager: its node finishes its reboot with this one.
#[test]
fn a_reboot_that_an_annotation_only_manager_began_is_ended_here() {
    let (cluster, [one, marked]) = cluster_of();
    cluster.fleet.deployment("shop", "web", 2, Placement::On("n2"));
    cluster.wait_for_running("n2", 2);
    cluster.set_cordon("n2", true);
    cluster.set_status("n2", "Rebooting");
    let server = server(&cluster, "30s");
    one.until_spared(&cluster, &server);
    marked.until_approved(&server);
    assert_eq!(marked.pods(&cluster), Vec::<String>::new());
    marked.comes_back(&cluster, &server);
    marked.is_in_service(&cluster);
    one.until_approved(&server);
}
