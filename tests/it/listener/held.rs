//! Requests that wait for their answers keep their connections, and their number is bounded too.

use std::time::Duration;

use test_cluster::wait::wait_for;
use test_cluster::zincati::Pending;
use test_cluster::{Server, TestCluster};

use super::{Port, REQUEST, silent};
use crate::scenarios::{MOMENT, Machine, SOON, binary, blocked, cluster_of};

/// Time to check whether an answer has arrived.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts a server for two nodes that a budget keeps from being drained.
fn start(flags: [&str; 2]) -> (TestCluster, [Machine; 2], Server) {
    let (cluster, nodes) = cluster_of();
    blocked(&cluster, "web", 1, "n1");
    blocked(&cluster, "db", 1, "n2");
    let start = flags.iter().fold(cluster.server(&binary()).arg("--pre-reboot-wait=60s"), |start, flag| start.arg(flag));
    let server = start.start();
    (cluster, nodes, server)
}

fn check_all_held(held: &[Pending]) {
    assert!(held.iter().all(|held| held.is_held(MOMENT)), "a connection that waits for its answer is closed");
}

#[test]
fn new_connections_never_replace_a_request_that_waits() {
    for connections in [2, 3] {
        let (_cluster, nodes, server) = start(["--slots=2", &format!("--max-connections={connections}")]);
        let port = Port::new(&server.address, None);
        let held: Vec<Pending> = nodes.iter().map(|node| node.agent(&server).send("pre-reboot")).collect();
        check_all_held(&held);
        if connections == 3 {
            let mut others = silent(&port, 100);
            let answer = port.exchange_and_end(REQUEST);
            assert!(answer.contains("unknown_node"), "the third connection is for complete requests: {answer:?}");
            assert_eq!(others[0].rest(), "");
        } else {
            assert_eq!(port.exchange_and_end(REQUEST), "", "no connection is left");
            assert!(server.page("/metrics").1.contains("connections_lost_total{reason=\"full\"} 1"));
        }
        check_all_held(&held);
        server.signal("TERM");
        held.into_iter().for_each(|held| drop(held.answer().expect(404, "shutting_down")));
    }
}

#[test]
fn the_requests_of_one_node_keep_one_connection() {
    let (_cluster, [one, two], server) = start(["--slots=1", "--max-connections=4"]);
    let mut held = one.agent(&server).send("pre-reboot");
    for _ in 0..20 {
        let other = one.agent(&server).send("pre-reboot");
        // The request that was sent first may be handled last.
        let is_first_held = wait_for("one of the two is answered", SOON, || match (held.is_held(PAUSE), other.is_held(PAUSE)) {
            (true, true) => Err("both are held"),
            (is_held, _) => Ok(is_held),
        });
        let superseded;
        (superseded, held) = if is_first_held { (other, held) } else { (held, other) };
        let answer = superseded.answer().expect(404, "superseded");
        assert!(answer.value.contains("newer request from node n1"), "{}", answer.value);
        two.agent(&server).steady_state().expect(200, "steady_state");
    }
    check_all_held(&[held]);
}
