//! Requests that wait for their answers keep their places, and their number is bounded too.

use std::net::TcpStream;
use std::time::Duration;

use test_cluster::TestCluster;
use test_cluster::objects::Placement;
use test_cluster::wait::wait_for;
use test_cluster::zincati::Pending;

use super::{REQUEST, exchange, rest};
use crate::scenarios::{MOMENT, Machine, SOON, binary, cluster, machines};

/// Time for which an answer is waited for at once.
const PAUSE: Duration = Duration::from_millis(20);

/// Two nodes that a budget keeps from being drained.
fn blocked(cluster: &TestCluster) -> [Machine; 2] {
    let nodes = machines(cluster);
    for (app, node) in [("web", "n1"), ("db", "n2")] {
        cluster.fleet.deployment("shop", app, 1, Placement::On(node));
        cluster.fleet.budget("shop", app, 1, app);
        cluster.wait_for_running(node, 1);
    }
    nodes
}

#[test]
fn no_new_connection_takes_the_place_of_a_request_that_waits() {
    let cluster = cluster();
    let nodes = blocked(&cluster);
    let start = cluster.server(&binary()).arg("--slots=2").arg("--pre-reboot-wait=60s").arg("--max-connections=3");
    let server = start.start();
    let held: Vec<Pending> = nodes.iter().map(|node| node.agent(&server).send("pre-reboot")).collect();
    assert!(held.iter().all(|held| held.is_held(MOMENT)));
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let answer = exchange(&server.address, REQUEST);
    assert!(answer.contains("unknown_node"), "the third place is for whoever is quick: {answer:?}");
    assert!(held.iter().all(|held| held.is_held(MOMENT)), "a connection that waits for its answer is not closed");
    assert_eq!(rest(&silent[0]), "");
    server.signal("TERM");
    for held in held {
        held.answer().expect(404, "shutting_down");
    }
}

#[test]
fn the_requests_of_one_node_take_one_place() {
    let cluster = cluster();
    let [one, two] = blocked(&cluster);
    let server = cluster.server(&binary()).arg("--pre-reboot-wait=60s").arg("--max-connections=4").start();
    let mut held = one.agent(&server).send("pre-reboot");
    for _ in 0..20 {
        let other = one.agent(&server).send("pre-reboot");
        // The one that was sent first may have come to be handled last.
        let first_stays = wait_for("one of the two is answered", SOON, || match (held.is_held(PAUSE), other.is_held(PAUSE)) {
            (true, true) => Err("both are held"),
            (stays, _) => Ok(stays),
        });
        let (overtaken, stays) = if first_stays { (other, held) } else { (held, other) };
        let answer = overtaken.answer().expect(404, "superseded");
        assert!(answer.value.contains("a newer request of node n1"), "{}", answer.value);
        two.agent(&server).steady_state().expect(200, "steady_state");
        held = stays;
    }
    assert!(held.is_held(MOMENT), "one is held");
    server.signal("TERM");
    held.answer().expect(404, "shutting_down");
}

#[test]
fn when_all_wait_new_connections_are_closed() {
    let cluster = cluster();
    let nodes = blocked(&cluster);
    let start = cluster.server(&binary()).arg("--slots=2").arg("--pre-reboot-wait=60s").arg("--max-connections=2");
    let server = start.start();
    let held: Vec<Pending> = nodes.iter().map(|node| node.agent(&server).send("pre-reboot")).collect();
    assert!(held.iter().all(|held| held.is_held(MOMENT)));
    assert_eq!(exchange(&server.address, REQUEST), "");
    assert!(server.page("/metrics").1.contains("connections_lost_total{reason=\"full\"} 1"));
    assert!(held.iter().all(|held| held.is_held(MOMENT)));
    server.signal("TERM");
    for held in held {
        held.answer().expect(404, "shutting_down");
    }
}
