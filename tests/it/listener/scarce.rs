//! Servers without free file descriptors. tiny_http alone does not survive this.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use test_cluster::wait::wait_for;

use super::client::{Client, Port};
use super::{REQUEST, Siege, WAYS, Way, check, silent};
use crate::scenarios::SOON;

#[test]
fn with_64_descriptors_silent_connections_and_requests_leave_room_for_nodes() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start.open_files(64));
        siege.server.wait_for_log("ulimit -n", SOON);
        let mut clients = silent(&siege.port, 200);
        siege.well_behaved();
        siege.well_behaved();
        assert_eq!(siege.server.page("/healthz").0, 200);
        for client in &mut clients {
            let answer = client.rest();
            assert!(answer.is_empty() || answer.contains("\"bad_request\""), "{answer}");
        }
        for _ in 0..3 {
            let mut clients: Vec<Client> = (0..200).filter_map(|_| siege.port.try_connect().ok()).collect();
            for client in &mut clients {
                // The server may have closed the connection already.
                let _ = client.write_all(REQUEST);
            }
            clients.iter_mut().for_each(check_unknown_or_closed);
        }
        drop(clients);
        siege.ends_well("200 silent connections and 600 requests with 64 descriptors");
    }
}

/// Checks the answer to a request of an unknown node that is one of hundreds.
fn check_unknown_or_closed(client: &mut Client) {
    let answer = client.rest();
    // Too many unknown ids at once are not all looked up.
    if !answer.is_empty() && !answer.contains("\"contended\"") {
        check(&answer, 404, "unknown_node");
    }
}

/// The ops port has no TLS, so one way suffices.
#[test]
fn the_ops_port_survives_connections_that_send_nothing() {
    let siege = Siege::new(Way::Plain);
    let clients = silent(&Port::new(&siege.server.ops, None), 200);
    assert_eq!(siege.server.page("/healthz").0, 200);
    assert_eq!(siege.server.page("/metrics").0, 200);
    drop(clients);
    siege.ends_well("200 silent connections to the ops port");
}

#[test]
fn a_failed_accept_is_counted_and_repeated_after_a_pause() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start);
        assert_eq!(not_accepted(&siege), 0);
        // The process has more open files than this already, so no connection can be accepted.
        limit_open_files(&siege, 3);
        let waiting = silent(&siege.port, 10);
        siege.server.wait_for_log("no connection can be accepted", SOON);
        std::thread::sleep(Duration::from_secs(2));
        limit_open_files(&siege, 1024);
        wait_for("the failures are counted", SOON, || if not_accepted(&siege) > 0 { Ok(()) } else { Err("none") });
        assert!(not_accepted(&siege) < 1000, "no pause between the attempts of 2 s");
        siege.well_behaved();
        drop(waiting);
        siege.ends_well("no descriptor for any connection");
    }
}

fn limit_open_files(siege: &Siege, files: usize) {
    let pid = siege.server.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:4096")]).status().unwrap();
    assert!(set.success(), "prlimit --nofile={files}");
}

/// Returns the number of connections that could not be accepted.
fn not_accepted(siege: &Siege) -> u64 {
    let (_, page) = siege.server.page("/metrics");
    let counter = page.lines().find_map(|line| line.strip_prefix("reboot_manager_connections_lost_total{reason=\"not_accepted\"} "));
    counter.map_or(0, |number| number.parse().unwrap())
}
