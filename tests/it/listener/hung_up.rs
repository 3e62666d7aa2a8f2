//! Clients that hang up, plain and inside TLS. A connection gives its place back at once, whatever it waits for. Who closes only its own side
//! still gets the answer.

use std::io::Write;
use std::time::Duration;

use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;

use super::{Client, REQUEST, Siege, WAYS, Way, check};
use crate::scenarios::{SOON, blocked, threads};

/// Clients of each phase.
const CLIENTS: usize = 20;

/// Threads that answer requests, all of which are busy while a call to Kubernetes is not answered.
const WORKERS: usize = 8;

/// Requests that are passed on at once.
const PASSED: usize = 16;

/// A call to Kubernetes that is not answered ends after 20 seconds.
const CALL_MAX: Duration = Duration::from_secs(15);

/// Waits until the number of threads that serve connections or answer requests is right.
#[track_caller]
fn wait_for_threads(siege: &Siege, limit: Duration, is_right: impl Fn(usize) -> bool) {
    wait_for("the threads of the port", limit, || match threads(siege.server.pid(), "fleetlock") {
        count if is_right(count) => Ok(()),
        count => Err(count),
    });
}

#[test]
fn a_client_that_hangs_up_before_its_request_is_complete_gives_its_place_back_at_once() {
    for way in WAYS {
        // The time for a request ends after the test.
        let siege = Siege::alone(way, |start| start.arg("--request-timeout=600s"));
        let silent: &dyn Fn() -> Client = &|| siege.port.connect_bare();
        let in_handshake = || {
            let mut client = siege.port.connect_bare();
            client.write_all(&siege.port.client_hello()[..50]).unwrap();
            client
        };
        let in_request = || {
            let mut client = siege.port.connect();
            client.write_all(&REQUEST[..REQUEST.len() / 2]).unwrap();
            client
        };
        for phase in [silent, if way == Way::Tls { &in_handshake } else { silent }, &in_request] {
            let clients: Vec<Client> = (0..CLIENTS).map(|_| phase()).collect();
            wait_for_threads(&siege, SOON, |count| count >= CLIENTS);
            drop(clients);
            wait_for_threads(&siege, SOON, |count| count < CLIENTS / 2);
        }
        siege.ends_well("clients that hang up before their requests are complete");
    }
}

#[test]
fn a_client_that_hangs_up_while_every_worker_is_busy_gives_its_place_back_at_once() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start);
        siege.cluster.proxy.plan(Rule::on("get", "nodes").inject(Fault::Freeze));
        let send = |count: usize| -> Vec<Client> {
            let mut clients: Vec<Client> = (0..count).map(|_| siege.port.connect()).collect();
            clients.iter_mut().for_each(|client| client.write_all(&siege.steady).unwrap());
            clients
        };
        let passed = send(PASSED);
        wait_for_threads(&siege, SOON, |count| count == PASSED + WORKERS);
        let waiting = send(CLIENTS);
        wait_for_threads(&siege, SOON, |count| count == PASSED + WORKERS + CLIENTS);
        drop(waiting);
        wait_for_threads(&siege, CALL_MAX, |count| count == PASSED + WORKERS);
        siege.cluster.proxy.clear();
        for mut client in passed {
            let answer = client.rest();
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.contains("\"superseded\""), "{answer}");
        }
        siege.ends_well("clients that hang up while every worker is busy");
    }
}

#[test]
fn a_held_client_that_closes_its_side_gets_the_reason() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start.arg("--pre-reboot-wait=600s"));
        blocked(&siege.cluster, "web", 1, "n1");
        let mut client = siege.port.send(&siege.nodes[0].agent(&siege.server).request("pre-reboot"));
        siege.server.wait_for_log("draining, 1 pod to evict", SOON);
        client.end();
        let answer = client.rest();
        check(&answer, 400, "bad_request");
        assert!(answer.contains("closed its side of the connection"), "{answer}");
        siege.server.wait_for_log("the answer 400 bad_request may not have reached the client", SOON);
    }
}
