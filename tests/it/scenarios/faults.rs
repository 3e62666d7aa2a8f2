//! What networks, machines and clocks do: connections that are slow, frozen and cut below TLS, a store that is away,
//! a token and a CA that are replaced, a clock that is wrong. Nothing is approved that must not be, and all finish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use test_cluster::certificate::self_signed;
use test_cluster::objects::Placement;
use test_cluster::pipe::Pipe;
use test_cluster::wait::wait_for;
use test_cluster::{Proxy, Server, TestCluster};

use super::{MOMENT, Machine, SOON, binary, blocked, cluster_of, set_clock, shifted, unblock, write};

/// Time for which a network or a store is down. Calls to Kubernetes end after 20 to 30 s.
const AWAY: Duration = Duration::from_secs(30);

fn server_via(cluster: &TestCluster, pipe: &Pipe) -> Server {
    cluster.server_via(pipe, &binary()).arg("--pre-reboot-wait=100s").start()
}

/// Reboots as an agent does, which asks again after every refusal and every lost answer.
#[track_caller]
fn reboots(cluster: &TestCluster, machine: &Machine, server: &Server) {
    wait_for(&format!("{} is approved", machine.node), SOON * 2, || match machine.agent(server).send("pre-reboot").try_answer() {
        Some(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(machine.pods(cluster), Vec::<String>::new(), "{} was approved with pods left", machine.node);
    assert_eq!(cluster.holders(), [machine.node.as_str()]);
    cluster.fleet.reboot(&machine.node);
    machine.until_checked_in(server);
}

#[test]
fn a_network_that_freezes_during_the_drain_costs_time_only() {
    let (cluster, [one, two]) = cluster_of();
    blocked(&cluster, "web", 3, "n1");
    let pipe = Pipe::to(&cluster.api_address());
    let server = server_via(&cluster, &pipe);
    let held = one.until_draining(&server);
    pipe.freeze();
    unblock(&cluster, "web");
    let other = two.agent(&server).send("pre-reboot");
    assert!(held.is_held(AWAY), "nothing can be known of n1");
    pipe.thaw();
    one.is_granted(&cluster, held);
    assert_ne!(other.answer().status, 200, "n1 holds the slot");
    assert_eq!(cluster.holders(), ["n1"]);
}

#[test]
fn connections_that_are_cut_again_and_again_end_no_reboot() {
    let (cluster, [one, two]) = cluster_of();
    for machine in [&one, &two] {
        cluster.fleet.bare_pod("shop", &format!("of-{}", machine.node), Placement::On(&machine.node));
        cluster.wait_for_running(&machine.node, 1);
    }
    let pipe = Pipe::to(&cluster.api_address());
    let server = server_via(&cluster, &pipe);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(300));
                pipe.cut();
            }
        });
        for machine in [&one, &two] {
            reboots(&cluster, machine, &server);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(pipe.opened() > 4, "{} connections: they were not cut", pipe.opened());
    cluster.wait_for_no_holder();
    one.is_in_service(&cluster);
    two.is_in_service(&cluster);
}

#[test]
fn a_store_that_is_away_during_the_drain_costs_time_only() {
    let (mut cluster, [one, two]) = cluster_of();
    blocked(&cluster, "web", 3, "n1");
    let server = cluster.server_direct(&binary()).arg("--pre-reboot-wait=120s").start();
    let held = one.until_draining(&server);
    cluster.stop_store();
    assert!(held.is_held(AWAY / 2), "nothing can be known of n1");
    let answer = two.agent(&server).pre_reboot();
    assert_ne!(answer.status, 200, "{answer:?}");
    assert!(held.is_held(AWAY / 2), "nothing can be known of n1");
    cluster.start_store();
    unblock(&cluster, "web");
    one.is_granted(&cluster, held);
    assert_eq!(cluster.holders(), ["n1"]);
}

/// The clock of a replica is a day ahead.
#[test]
fn a_clock_that_is_a_day_ahead_keeps_no_node_out() {
    let (cluster, [one, two]) = cluster_of();
    set_clock(&cluster, "+86400");
    let ahead = shifted(&cluster).start();
    let right = cluster.server(&binary()).start();
    let tomorrow = format!("{:.10}", (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string());
    ahead.wait_for_log(&tomorrow, SOON);
    one.until_approved(&ahead);
    assert!(cluster.lock().to_string().contains(&tomorrow), "{}", cluster.lock());
    two.agent(&right).pre_reboot().expect(404, "slots_taken");
    cluster.fleet.reboot("n1");
    one.agent(&right).steady_state().expect(200, "steady_state");
    cluster.wait_for_no_holder();
    one.is_in_service(&cluster);
    two.until_approved(&right);
    // And a check-in at the one whose clock is ahead.
    cluster.fleet.reboot("n2");
    two.agent(&ahead).steady_state().expect(200, "steady_state");
    cluster.wait_for_no_holder();
    two.is_in_service(&cluster);
}

#[test]
fn a_clock_that_is_stepped_during_the_drain_changes_nothing() {
    let (cluster, [one, two]) = cluster_of();
    blocked(&cluster, "web", 3, "n1");
    set_clock(&cluster, "+0");
    let server = shifted(&cluster).arg("--pre-reboot-wait=100s").start();
    let held = one.until_draining(&server);
    for step in ["+86400", "-86400", "+0"] {
        set_clock(&cluster, step);
        assert!(held.is_held(MOMENT), "the deadline is not one of the clock");
        two.agent(&server).pre_reboot().expect(404, "slots_taken");
    }
    set_clock(&cluster, "-86400");
    unblock(&cluster, "web");
    one.is_granted(&cluster, held);
    set_clock(&cluster, "+86400");
    cluster.fleet.reboot("n1");
    one.agent(&server).steady_state().expect(200, "steady_state");
    cluster.wait_for_no_holder();
    one.is_in_service(&cluster);
}

#[test]
fn a_token_that_expires_during_the_drain_is_read_again() {
    let (cluster, [one]) = cluster_of();
    blocked(&cluster, "web", 3, "n1");
    let first = cluster.revocable_token();
    let file = write(&cluster, "token", first.text());
    let server = cluster.server_with_token_file(file.as_ref(), &binary()).arg("--pre-reboot-wait=120s").start();
    let held = one.until_draining(&server);
    first.revoke(&cluster);
    server.wait_for_log("cannot be drained now", SOON);
    unblock(&cluster, "web");
    assert!(held.is_held(MOMENT), "the caller is not known yet");
    std::fs::write(&file, cluster.revocable_token().text()).unwrap();
    one.is_granted(&cluster, held);
}

#[test]
fn a_ca_that_is_replaced_during_the_drain_is_read_again_and_no_other_is_trusted() {
    let (cluster, [one]) = cluster_of();
    blocked(&cluster, "web", 3, "n1");
    let [old, new] = [self_signed(), self_signed()];
    let [before, after] = [&old, &new].map(|certificate| Proxy::secured(&cluster.admin, certificate));
    let pipe = Pipe::to(&before.address());
    let file = write(&cluster, "other-ca.pem", &old.pem);
    let server =
        cluster.server_at(&format!("https://{}", pipe.address()), Some(file.as_ref()), &binary()).arg("--pre-reboot-wait=120s").start();
    let held = one.until_draining(&server);
    let trusted = after.log().len();
    pipe.lead_to(&after.address());
    unblock(&cluster, "web");
    server.wait_for_log("cannot be drained now", SOON);
    assert!(held.is_held(MOMENT * 4), "the answering server has a certificate that is not trusted");
    assert_eq!(after.log().len(), trusted, "a call was made to a server that is not trusted");
    std::fs::write(&file, &new.pem).unwrap();
    one.is_granted(&cluster, held);
}
