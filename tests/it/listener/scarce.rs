//! File descriptors run out. tiny_http alone does not survive this.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use test_cluster::wait::wait_for;

use super::client::Client;
use super::{REQUEST, REQUEST_MAX, Siege, WAYS, Way, check, rest};
use crate::scenarios::SOON;

#[test]
fn with_64_descriptors_and_200_silent_connections_nodes_are_still_answered() {
    for way in WAYS {
        let siege = Siege::with(way, REQUEST_MAX, |start| start.open_files(64));
        siege.server.wait_for_log("ulimit -n", SOON);
        let silent: Vec<TcpStream> = (0..200).map(|_| siege.connect()).collect();
        siege.well_behaved();
        siege.well_behaved();
        assert_eq!(siege.server.page("/healthz").0, 200);
        // And then silence, until each has been answered or closed.
        for stream in &silent {
            let answer = rest(stream);
            assert!(answer.is_empty() || answer.contains("\"bad_request\""), "{answer}");
        }
        drop(silent);
        siege.ends_well("200 silent connections with 64 descriptors");
    }
}

#[test]
fn with_64_descriptors_200_requests_at_once_are_answered_or_closed() {
    for way in WAYS {
        let siege = Siege::with(way, REQUEST_MAX, |start| start.open_files(64));
        for _ in 0..3 {
            let mut clients: Vec<Client> = (0..200).filter_map(|_| siege.port.try_connect().ok()).collect();
            for client in &mut clients {
                // Some are closed before.
                let _ = client.write_all(REQUEST);
            }
            for client in &mut clients {
                let answer = client.rest();
                // So many strangers at once can also be too many to look up.
                if !answer.is_empty() && !answer.contains("\"contended\"") {
                    check(&answer, 404, "unknown_node");
                }
            }
        }
        siege.ends_well("200 requests with 64 descriptors");
    }
}

#[test]
fn the_ops_port_survives_connections_that_send_nothing() {
    let siege = Siege::new(Way::Plain);
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&siege.server.ops).unwrap()).collect();
    assert_eq!(siege.server.page("/healthz").0, 200);
    assert_eq!(siege.server.page("/metrics").0, 200);
    drop(silent);
    siege.ends_well("200 silent connections to the ops port");
}

/// The limit of a running process is lowered below what it has open, so that not even one connection can be accepted.
#[test]
fn an_accept_that_fails_is_counted_and_tried_again() {
    let siege = Siege::with(Way::Plain, REQUEST_MAX, |start| start);
    let limit = |files: usize| {
        let pid = siege.server.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:4096")]).status().expect("prlimit is installed");
        assert!(set.success(), "prlimit --nofile={files}");
    };
    let failed = |page: &str| {
        let counter = page.lines().find_map(|line| line.strip_prefix("reboot_manager_connections_lost_total{reason=\"not_accepted\"} "));
        counter.and_then(|number| number.parse().ok()).unwrap_or(0_u64)
    };
    assert_eq!(failed(&siege.server.page("/metrics").1), 0);
    limit(3);
    let waiting: Vec<TcpStream> = (0..10).map(|_| siege.connect()).collect();
    siege.server.wait_for_log("no connection can be accepted", SOON);
    std::thread::sleep(std::time::Duration::from_secs(2));
    limit(1024);
    wait_for("the failures are counted", SOON, || {
        let count = failed(&siege.server.page("/metrics").1);
        if count == 0 {
            Err("none")
        } else if count < 1000 {
            Ok(())
        } else {
            panic!("{count} attempts in 2 s: it did not back off")
        }
    });
    siege.well_behaved();
    drop(waiting);
    siege.ends_well("no descriptor for any connection");
}
