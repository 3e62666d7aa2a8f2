//! The cordon has an owner.

use test_cluster::objects::Placement;
use test_cluster::wait::wait_for;

use super::{MOMENT, SOON, machines, scene, server};

#[test]
fn an_administrators_cordon_from_before_stays() {
    let scene = scene();
    let [one] = machines(&scene);
    let server = server(&scene, "10s");
    scene.set_cordon("n1", true);
    one.agent(&server).steady_state().expect(200, "steady_state");
    assert!(scene.is_cordoned("n1"), "the first check-in undid a cordon that is not ours");
    one.until_approved(&server);
    one.comes_back(&scene, &server);
    assert!(scene.is_cordoned("n1"), "the reboot undid a cordon that is not ours");
    assert_eq!(scene.status("n1").as_deref(), Some("Ready"));
}

#[test]
fn an_administrator_who_uncordons_during_the_drain_gets_the_node_back_uncordoned() {
    let scene = scene();
    let [one, _two] = machines(&scene);
    scene.set_cordon("n1", true);
    scene.set_cordon("n1", false);
    scene.fleet.deployment("shop", "web", 1, Placement::On("n1"));
    scene.fleet.budget("shop", "web", 1, "web");
    scene.wait_for_running("n1", 1);
    scene.set_cordon("n1", true);
    let server = server(&scene, "60s");
    let held = one.agent(&server).send("pre-reboot");
    assert!(held.is_held(MOMENT));
    scene.set_cordon("n1", false);
    wait_for("it is cordoned again", SOON, || if scene.is_cordoned("n1") { Ok(()) } else { Err("not yet") });
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&scene);
}

#[test]
fn a_cordon_of_after_the_reboot_stays() {
    let scene = scene();
    let [one] = machines(&scene);
    let server = server(&scene, "10s");
    one.until_approved(&server);
    one.comes_back(&scene, &server);
    one.is_in_service(&scene);
    scene.set_cordon("n1", true);
    one.agent(&server).steady_state().expect(200, "steady_state");
    assert!(scene.is_cordoned("n1"));
}

#[test]
fn a_node_that_an_older_manager_cordoned_is_uncordoned() {
    let scene = scene();
    let [one] = machines(&scene);
    let server = server(&scene, "10s");
    scene.set_status("n1", "Rebooting");
    scene.set_cordon("n1", true);
    one.agent(&server).steady_state().expect(200, "steady_state");
    one.is_in_service(&scene);
}
