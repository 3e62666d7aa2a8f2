//! The cordon has an owner.

use test_cluster::wait::wait_for;

use super::{MOMENT, SOON, blocked, cluster_of, served, server};

#[test]
fn an_administrators_cordon_from_before_or_after_the_reboot_stays() {
    let (cluster, [one], server) = served("10s");
    cluster.set_cordon("n1", true);
    // The status says whose cordon it is: only `Rebooting` is this program's.
    for status in [None, Some("Maintenance")] {
        status.into_iter().for_each(|status| cluster.set_status("n1", status));
        one.agent(&server).steady_state().expect(200, "steady_state");
        assert!(cluster.is_cordoned("n1"), "a check-in undid a cordon that is not ours");
        assert_eq!(cluster.status("n1").as_deref(), Some("Ready"));
    }
    one.until_approved(&server);
    one.comes_back(&cluster, &server);
    assert!(cluster.is_cordoned("n1"), "the reboot undid a cordon that is not ours");
    cluster.set_cordon("n1", false);
    cluster.wait_for_no_holder();
    one.until_approved(&server);
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
    cluster.set_cordon("n1", true);
    one.agent(&server).steady_state().expect(200, "steady_state");
    assert!(cluster.is_cordoned("n1"), "a check-in after the reboot undid a cordon that is not ours");
    assert_eq!(cluster.status("n1").as_deref(), Some("Ready"));
}

#[test]
fn an_administrator_who_uncordons_during_the_drain_gets_the_node_back_uncordoned() {
    let (cluster, [one, _two]) = cluster_of();
    cluster.set_cordon("n1", true);
    cluster.set_cordon("n1", false);
    blocked(&cluster, "web", 1, "n1");
    cluster.set_cordon("n1", true);
    let server = server(&cluster, "60s");
    let held = one.agent(&server).send("pre-reboot");
    assert!(held.is_held(MOMENT));
    cluster.set_cordon("n1", false);
    wait_for("it is cordoned again", SOON, || if cluster.is_cordoned("n1") { Ok(()) } else { Err("not yet") });
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&cluster);
}
