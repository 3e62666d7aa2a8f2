//! The server dies at any point, or Kubernetes does what it was asked and the answer is lost: another finishes.

use std::sync::{Arc, Mutex};

use test_cluster::objects::Placement;
use test_cluster::road::{Fault, Rule};
use test_cluster::wait::{poll, wait_for};
use test_cluster::{Road, Scene, Server};

use super::{Machine, SOON, binary, machines, scene, server};

/// More calls than a reboot makes; reaching it means that the test does not end by itself.
const CALLS_MAX: usize = 200;

/// Where an agent was when its server died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    CheckingIn,
    Done,
}

/// Goes on from `stage` as an agent does, until it is done or its server is dead.
fn goes_on(scene: &Scene, machine: &Machine, server: &Server, stage: Stage) -> Stage {
    if stage == Stage::Asking {
        let answer = poll(SOON, || match machine.agent(server).send("pre-reboot").try_answer() {
            Some(answer) if answer.status != 200 => Err(answer),
            granted_or_dead => Ok(granted_or_dead),
        });
        if answer.unwrap_or_else(|answer| panic!("{answer:?}")).is_none() {
            return Stage::Asking;
        }
        assert_eq!(machine.pods(scene), Vec::<String>::new(), "approved with pods left");
        scene.fleet.reboot(&machine.node);
    }
    let answer = machine.agent(server).send("steady-state").try_answer();
    if answer.is_some_and(|answer| answer.status == 200) { Stage::Done } else { Stage::CheckingIn }
}

#[test]
fn a_server_killed_after_any_call_of_a_reboot_is_followed_by_one_that_finishes() {
    let scene = scene();
    let [one, _two] = machines(&scene);
    for call in 1..CALLS_MAX {
        scene.fleet.bare_pod("shop", &format!("p{call}"), Placement::On("n1"));
        scene.wait_for_running("n1", 1);
        let road = Road::to(&scene.admin);
        let victim: Arc<Mutex<Option<Arc<Server>>>> = Arc::default();
        let first = Arc::new(scene.server_through(&road, &binary()).arg("--pre-reboot-wait=30s").start());
        *victim.lock().unwrap() = Some(Arc::clone(&first));
        let kill = move |_: &_| victim.lock().unwrap().iter().for_each(|server| server.kill());
        road.plan(Rule::any().nth(call).meet(Fault::after(kill)));
        let stage = goes_on(&scene, &one, &first, Stage::Asking);
        drop(first);
        let second = server(&scene, "30s");
        if stage != Stage::Done {
            assert_eq!(goes_on(&scene, &one, &second, stage), Stage::Done, "the second server was not killed");
        }
        scene.wait_for_no_holder();
        one.is_in_service(&scene);
        scene.admin.delete(&format!("/api/v1/namespaces/shop/pods/p{call}"), Some(0));
        if stage == Stage::Done {
            assert!(call > 15, "a reboot makes more than {call} calls");
            return;
        }
    }
    panic!("the server was still killed at its call {CALLS_MAX}");
}

#[test]
fn any_write_may_fail_or_lose_its_answer_once() {
    let scene = scene();
    let [one, _two] = machines(&scene);
    let faults: [fn() -> Fault; 6] = [
        Fault::conflict409,
        Fault::internal500,
        || Fault::toomany429(1),
        || Fault::CutBefore,
        || Fault::CutAfter,
        || Fault::status_after(504),
    ];
    for (kind, fault) in faults.iter().enumerate() {
        for write in 1..=8 {
            let pod = format!("p{kind}-{write}");
            scene.fleet.bare_pod("shop", &pod, Placement::On("n1"));
            scene.wait_for_running("n1", 1);
            let server = server(&scene, "30s");
            scene.road.plan(Rule::any_write().nth(write).meet(fault()));
            one.until_approved(&server);
            assert_eq!(one.pods(&scene), Vec::<String>::new(), "approved with pods left");
            scene.fleet.reboot("n1");
            wait_for("n1 checks in", SOON, || match one.agent(&server).steady_state() {
                answer if answer.status == 200 => Ok(()),
                answer => Err(format!("{answer:?}")),
            });
            scene.wait_for_no_holder();
            one.is_in_service(&scene);
            scene.road.clear();
        }
    }
}

#[test]
fn a_mark_without_a_slot_is_undone() {
    let scene = scene();
    let [one, two] = machines(&scene);
    let first = server(&scene, "10s");
    one.until_approved(&first);
    drop(first);
    // As when a replica was frozen between taking the slot and marking, and the slot was freed meanwhile.
    let path = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases/reboot-manager";
    let lock = serde_json::json!({"form": 1, "lastTerm": 1, "holders": []}).to_string();
    scene.admin.merge(path, &serde_json::json!({"metadata": {"annotations": {"rebootmanager/holders": lock}}})).ok();
    let second = server(&scene, "10s");
    wait_for("n1 is put back in service", SOON, || if scene.is_cordoned("n1") { Err("cordoned") } else { Ok(()) });
    one.is_in_service(&scene);
    two.until_approved(&second);
}

#[test]
fn a_replica_frozen_before_its_last_check_approves_nothing() {
    let scene = scene();
    let [one, two] = machines(&scene);
    let road = Road::to(&scene.admin);
    let frozen = Arc::new(scene.server_through(&road, &binary()).arg("--pre-reboot-wait=30s").start());
    let victim = Arc::clone(&frozen);
    // The fourth write is the approval: lease (take), node (mark), node (drained), lease (approve).
    road.plan(Rule::any_write().nth(4).meet(Fault::Freeze));
    let held = one.agent(&frozen).send("pre-reboot");
    road.block_until(|calls| calls.iter().filter(|call| call.is_write()).count() == 4, SOON);
    victim.signal("STOP");
    let other = server(&scene, "10s");
    one.agent(&other).steady_state().expect(200, "steady_state");
    scene.wait_for_no_holder();
    two.until_approved(&other);
    victim.signal("CONT");
    road.release();
    let answer = held.answer();
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(scene.holders(), ["n2"]);
    assert!(!scene.is_cordoned("n1"));
}
