//! The view of the fleet spares lists, and decides nothing by itself: whatever becomes of the watch that keeps it, no node
//! passes that should not, and none waits for longer than a late view is trusted.

use std::time::Duration;

use serde_json::{Value, json};
use test_cluster::objects::Placement;
use test_cluster::proxy::{Fault, Passed, Rule};
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

use super::{Machine, SOON, blocked, calls, cluster_of, count, machine, machine_id, served, server, unblock};

/// Reads from the metrics how many watches ended for this reason, and whether one is open.
fn watches(server: &Server, reason: &str) -> (u64, bool) {
    let (_, page) = server.page("/metrics");
    let value = |series: &str| page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0);
    let over = value(&format!("reboot_manager_watch_restarts_total{{reason=\"{reason}\"}} "));
    (over, value("reboot_manager_watch_open ") == 1)
}

#[track_caller]
fn wait_for_watch(server: &Server, reason: &str, times: u64) {
    wait_for(&format!("a watch is open after {times} that were over: {reason}"), SOON, || match watches(server, reason) {
        (over, true) if over >= times => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// [`served`], with an open watch.
#[track_caller]
fn watching<const N: usize>(wait: &str) -> (TestCluster, [Machine; N], Server) {
    let served = served(wait);
    wait_for_watch(&served.2, "lost", 0);
    served
}

/// The calls that `act` causes, none of which lists nodes.
#[track_caller]
fn without_list(cluster: &TestCluster, act: impl FnOnce()) -> Vec<Passed> {
    let calls = calls(cluster, act);
    assert_eq!(count(&calls, "list", "nodes"), 0, "{calls:#?}");
    calls
}

/// Waits until the watch has delivered all that was written so far: for a moment there is one more node, which is found and
/// then found no more.
#[track_caller]
pub(super) fn catch_up(cluster: &TestCluster, server: &Server) {
    let number = cluster.proxy.log().len();
    let marker = machine(cluster, &format!("marker-{number}"), 1000 + number);
    wait_for("the marker is known", SOON, || {
        marker.agent(server).steady_state().expect(200, "steady_state");
        let annotations = &cluster.fleet.read_node(&marker.node)["metadata"]["annotations"];
        if annotations["rebootmanager/status"] == "Ready" { Ok(()) } else { Err(annotations.clone()) }
    });
    cluster.admin.delete(&format!("/api/v1/nodes/{}", marker.node), None).ok();
    marker.agent(server).pre_reboot().expect(404, "unknown_node");
}

#[test]
fn a_granted_reboot_costs_the_same_whatever_the_number_of_nodes() {
    let (cluster, [one, two], server) = watching("20s");
    for (machine, others) in [(one, 0), (two, 40)] {
        for number in 0..others {
            self::machine(&cluster, &format!("other-{number}"), 100 + number);
        }
        catch_up(&cluster, &server);
        let mut granted = calls(&cluster, || drop(machine.agent(&server).pre_reboot().expect(200, "approved")));
        for _ in 0..2 {
            if count(&granted, "list", "nodes") == 0 {
                break;
            }
            // On a machine with too much to do the watch may be too late for once.
            machine.comes_back(&cluster, &server);
            cluster.wait_for_no_holder();
            granted = calls(&cluster, || drop(machine.agent(&server).pre_reboot().expect(200, "approved")));
        }
        assert_eq!(count(&granted, "list", "nodes"), 0, "{granted:#?}");
        // Take and approve; mark, and the record of the drain.
        assert_eq!((count(&granted, "patch", "leases") + count(&granted, "create", "leases"), count(&granted, "patch", "nodes")), (2, 2));
        // Node and Lease; and, if the reconciler happens to come by, once more.
        let read = (count(&granted, "get", "nodes"), count(&granted, "get", "leases"), count(&granted, "list", "pods"));
        assert!((1..=2).contains(&read.0) && (1..=2).contains(&read.1) && read.2 == 1, "{granted:#?}");
        without_list(&cluster, || machine.comes_back(&cluster, &server));
        cluster.wait_for_no_holder();
    }
}

#[test]
fn an_annotation_that_a_frozen_watch_does_not_show_refuses_the_next_node() {
    let (cluster, [one, two, _three], server) = watching("20s");
    cluster.proxy.watches().hold();
    let answer = one.is_refused_beside(&cluster, "n2", &server);
    assert!(answer.value.contains("keeps its slot") && answer.value.contains("n2"), "n1 is the first by name: {}", answer.value);
    one.agent(&server).pre_reboot().expect(200, "approved");
    one.comes_back(&cluster, &server);
    // And the other way round.
    cluster.wait_for_no_holder();
    two.is_refused_beside(&cluster, "n1", &server);
    assert!(!cluster.is_cordoned("n2") && cluster.holders().is_empty(), "n2 is not the first by name");
    cluster.proxy.watches().flow();
    two.until_approved(&server);
}

#[test]
fn an_annotation_that_a_frozen_watch_still_shows_blocks_no_node_once_a_write_is_not_delivered() {
    let (cluster, [one, two], server) = watching("20s");
    cluster.set_status("n2", "Rebooting");
    one.until_spared(&cluster, &server);
    cluster.proxy.watches().hold();
    cluster.set_status("n2", "Ready");
    one.agent(&server).pre_reboot().expect(404, "other_rebooting");
    // The write of a node that is not refused does not arrive.
    two.until_approved(&server);
    two.comes_back(&cluster, &server);
    cluster.wait_for_no_holder();
    one.agent(&server).pre_reboot().expect(200, "approved");
}

#[test]
fn an_annotation_set_during_the_drain_is_seen_although_the_watch_is_frozen() {
    let (cluster, [one, _two], server) = watching("60s");
    blocked(&cluster, "web", 1, "n1");
    let held = one.until_draining(&server);
    cluster.proxy.watches().hold();
    cluster.set_status("n2", "Rebooting");
    unblock(&cluster, "web");
    let answer = held.answer().expect(404, "other_rebooting");
    assert!(answer.value.contains("n2"), "{}", answer.value);
    assert_eq!(one.pods(&cluster), Vec::<String>::new(), "it was about to be approved");
}

#[test]
fn decreasing_versions_prove_nothing() {
    let (cluster, [one, _two], server) = watching("20s");
    let received =
        |cluster: &TestCluster| cluster.proxy.log().iter().filter(|call| call.verb == "watch").map(|call| call.received).sum::<usize>();
    let before = received(&cluster);
    cluster.proxy.watches().say(&ahead());
    wait_for("it is sent", SOON, || if received(&cluster) > before { Ok(()) } else { Err(before) });
    cluster.proxy.watches().hold();
    one.is_refused_beside(&cluster, "n2", &server);
    cluster.proxy.watches().flow();
    one.until_approved(&server);
    wait_for_watch(&server, "inconsistent", 1);
}

#[test]
fn a_version_greater_than_that_of_the_own_write_proves_nothing() {
    let (cluster, [one, _two], server) = watching("20s");
    let (proxy, said) = (cluster.proxy.watches(), ahead());
    proxy.hold();
    cluster.proxy.plan(Rule::on("patch", "nodes").nth(1).inject(Fault::after(move |_| proxy.overtake(&said))));
    one.is_refused_beside(&cluster, "n2", &server);
    one.until_approved(&server);
    one.comes_back(&cluster, &server);
    cluster.proxy.watches().flow();
    wait_for_watch(&server, "inconsistent", 1);
}

/// Event with a version far above those of all writes, as before etcd was restored from a backup.
fn ahead() -> Value {
    json!({"type": "BOOKMARK", "object": {"kind": "Node", "metadata": {"resourceVersion": "999999999999"}}})
}

/// Whatever ends a watch: another follows, and what was missed meanwhile is known.
#[test]
fn a_watch_that_is_over_is_followed_by_another_with_what_was_missed() {
    let (cluster, [one, two], server) = watching("20s");
    let modified = |object: &Value| json!({"type": "MODIFIED", "object": object});
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}});
    let cases = [
        ("cut", None),
        ("gone", Some(gone)),
        ("inconsistent", Some(modified(&json!({"metadata": {"name": "n1", "resourceVersion": "1"}})))),
        ("inconsistent", Some(modified(&json!({"metadata": {"name": "n1", "resourceVersion": "abc"}})))),
        ("refused", Some(modified(&json!({"metadata": {"name": 7}})))),
        ("refused", Some(json!("not an event"))),
    ];
    for (reason, said) in cases {
        let (before, _) = watches(&server, reason);
        // One that has brought nothing yet has failed when it is over.
        catch_up(&cluster, &server);
        // What is waiting when it is cut is lost.
        cluster.proxy.watches().hold();
        cluster.set_status("n2", "Rebooting");
        match said {
            None => cluster.proxy.watches().cut(),
            Some(event) => cluster.proxy.watches().say(&event),
        }
        cluster.proxy.watches().flow();
        wait_for_watch(&server, reason, before + 1);
        without_list(&cluster, || drop(one.agent(&server).pre_reboot().expect(404, "other_rebooting")));
        two.agent(&server).steady_state().expect(200, "steady_state");
    }
    one.until_approved(&server);
}

#[test]
fn a_watch_that_is_cut_continues_without_a_list_and_asks_for_less_time() {
    let (cluster, [one, _two], server) = watching("20s");
    catch_up(&cluster, &server);
    without_list(&cluster, || {
        cluster.proxy.watches().cut();
        wait_for_watch(&server, "cut", 1);
        catch_up(&cluster, &server);
        one.agent(&server).pre_reboot().expect(200, "approved");
    });
    server.wait_for_log("the watch of nodes was cut", SOON);
    let log = cluster.proxy.log();
    let asked = log.iter().filter_map(|call| call.path.split("timeoutSeconds=").nth(1)?.split('&').next()?.parse().ok());
    let times: Vec<u64> = asked.collect();
    assert!(matches!(times[..], [1800..=3600, .., ..=10]), "{times:?}");
}

/// The server may have come back from a backup meanwhile.
#[test]
fn a_watch_that_is_granted_too_late_to_continue_is_followed_by_a_list() {
    let (cluster, [_one], server) = watching("20s");
    catch_up(&cluster, &server);
    cluster.proxy.plan(Rule::on("watch", "nodes").nth(1).inject(Fault::Slow(Duration::from_secs(7))));
    let followed = calls(&cluster, || {
        cluster.proxy.watches().cut();
        wait_for("a list and a third watch", SOON, || match cluster.proxy.count("watch", "nodes") {
            3.. => Ok(()),
            count => Err(count),
        });
    });
    assert!(count(&followed, "list", "nodes") >= 1, "{followed:#?}");
}

#[test]
fn a_granted_reboot_of_a_node_with_pods_lists_no_nodes() {
    let (cluster, [one], server) = watching("1s");
    for number in 0..29 {
        cluster.fleet.bare_pod("shop", &format!("web-{number}"), Placement::On("n1"));
    }
    cluster.fleet.slow_pod("shop", "slow", "n1", Duration::from_secs(3));
    cluster.wait_for_running("n1", 30);
    catch_up(&cluster, &server);
    let mut asked = 0;
    without_list(&cluster, || {
        wait_for("n1 is approved", SOON, || {
            asked += 1;
            let answer = one.agent(&server).pre_reboot();
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
        one.comes_back(&cluster, &server);
    });
    assert!(asked > 1, "it asked again while it was drained");
}

#[test]
fn an_unknown_caller_costs_no_list_while_the_nodes_are_watched() {
    let (cluster, [_one], server) = watching("1s");
    catch_up(&cluster, &server);
    let id = machine_id(77);
    let stranger = server.zincati(&id);
    without_list(&cluster, || {
        for _ in 0..5 {
            let answer = stranger.pre_reboot().expect(404, "unknown_node");
            assert!(answer.value.contains(&id), "{}", answer.value);
            stranger.steady_state().expect(200, "steady_state");
        }
    });
}

#[test]
fn without_a_watch_everything_is_found_by_lists() {
    let (cluster, [one, two]) = cluster_of();
    cluster.proxy.plan(Rule::on("watch", "nodes").nth(1).inject(Fault::status_after(410)));
    cluster.proxy.plan(Rule::on("watch", "nodes").from(2).inject(Fault::internal500()));
    let server = server(&cluster, "20s");
    wait_for("it is refused", SOON, || match (watches(&server, "gone"), watches(&server, "refused")) {
        ((1, false), (1.., false)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    one.is_refused_beside(&cluster, "n2", &server);
    assert!(!cluster.is_cordoned("n1") && cluster.holders().is_empty());
    one.agent(&server).pre_reboot().expect(200, "approved");
    two.agent(&server).pre_reboot().expect(404, "slots_taken");
    one.comes_back(&cluster, &server);
    cluster.proxy.clear();
    wait_for_watch(&server, "refused", 1);
}

#[test]
fn nodes_that_come_and_go_are_known_without_a_list() {
    let (cluster, [_one], server) = watching("20s");
    let is_found = |newcomer: &Machine| {
        without_list(&cluster, || drop(newcomer.agent(&server).steady_state().expect(200, "steady_state")));
        newcomer.is_in_service(&cluster);
    };
    let three = machine(&cluster, "n3", 3);
    let four = machine(&cluster, "n4", 4);
    catch_up(&cluster, &server);
    is_found(&three);
    is_found(&four);
    // Another machine under a name that was there before.
    cluster.admin.delete("/api/v1/nodes/n3", None).ok();
    let newer = machine(&cluster, "n3", 33);
    catch_up(&cluster, &server);
    is_found(&newer);
    three.agent(&server).pre_reboot().expect(404, "unknown_node");
}
