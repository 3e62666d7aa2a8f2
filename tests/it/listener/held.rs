//! Requests that wait for their answers keep their connections, and their number is bounded too.

use std::time::Duration;

use test_cluster::wait::wait_for;

use super::{Client, REQUEST, Siege, WAYS, Way, check, silent};
use crate::scenarios::{MOMENT, Machine, SOON, blocked};

/// Time to check whether an answer has arrived.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts a server for two nodes that a budget keeps from being drained.
fn start(way: Way, flags: [&str; 2]) -> Siege {
    let siege = Siege::alone(way, |start| start.arg("--pre-reboot-wait=600s").arg(flags[0]).arg(flags[1]));
    blocked(&siege.cluster, "web", 1, "n1");
    blocked(&siege.cluster, "db", 1, "n2");
    siege
}

fn send(siege: &Siege, node: &Machine) -> Client {
    siege.port.send(&node.agent(&siege.server).request("pre-reboot"))
}

/// Sends a request and waits until it waits for the drain.
fn send_and_wait(siege: &Siege, node: &Machine) -> Client {
    let held = send(siege, node);
    siege.server.wait_for_log(&format!("node {}: draining", node.node), SOON);
    held
}

fn check_all_held(held: &mut [Client]) {
    assert!(held.iter_mut().all(|held| held.is_held(MOMENT)), "a connection that waits for its answer is closed");
}

#[test]
fn new_connections_never_replace_a_request_that_waits() {
    for way in WAYS {
        for connections in [2, 3] {
            let siege = start(way, ["--slots=2", &format!("--max-connections={connections}")]);
            let mut held = siege.nodes.each_ref().map(|node| send_and_wait(&siege, node));
            if connections == 3 {
                let mut others = silent(&siege.port, 100);
                let answer = siege.port.exchange(REQUEST);
                assert!(answer.contains("unknown_node"), "the third connection is for complete requests: {answer:?}");
                assert_eq!(others[0].rest(), "");
            } else {
                assert_eq!(siege.port.try_exchange(REQUEST), "", "no connection is left");
                assert!(siege.server.page("/metrics").1.contains("connections_lost_total{reason=\"full\"} 1"));
            }
            check_all_held(&mut held);
            siege.server.signal("TERM");
            held.iter_mut().for_each(|held| check(&held.rest(), 404, "shutting_down"));
        }
    }
}

#[test]
fn the_requests_of_one_node_keep_one_connection() {
    for way in WAYS {
        let siege = start(way, ["--slots=1", "--max-connections=4"]);
        let [one, two] = &siege.nodes;
        let steady = two.agent(&siege.server).request("steady-state");
        let mut held = send_and_wait(&siege, one);
        for _ in 0..20 {
            let mut other = send(&siege, one);
            // The request that was sent first may be handled last.
            let is_first_held = wait_for("one of the two is answered", SOON, || match (held.is_held(PAUSE), other.is_held(PAUSE)) {
                (true, true) => Err("both are held"),
                (is_held, _) => Ok(is_held),
            });
            let mut superseded;
            (superseded, held) = if is_first_held { (other, held) } else { (held, other) };
            let answer = superseded.rest();
            check(&answer, 404, "superseded");
            assert!(answer.contains("newer request from node n1"), "{answer}");
            check(&siege.port.exchange(&steady), 200, "steady_state");
        }
        check_all_held(&mut [held]);
        siege.ends_well("requests of one node");
    }
}
