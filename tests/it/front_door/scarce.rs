//! File descriptors run out. tiny_http alone does not survive this.

use std::io::Write;
use std::net::TcpStream;

use super::{REQUEST, Siege, check, rest};

#[test]
fn with_64_descriptors_and_200_silent_connections_nodes_are_still_answered() {
    let siege = Siege::with(|start| start.open_files(64));
    siege.server.wait_for_log("ulimit -n", crate::scenarios::SOON);
    let silent: Vec<TcpStream> = (0..200).map(|_| siege.connect()).collect();
    siege.well_behaved();
    siege.well_behaved();
    assert_eq!(siege.server.page("/healthz").0, 200);
    // And then silence, until each has been told or sent away.
    for stream in &silent {
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.contains("\"bad_request\""), "{answer}");
    }
    drop(silent);
    siege.ends_well("200 silent connections with 64 descriptors");
}

#[test]
fn with_64_descriptors_200_requests_at_once_are_answered_or_sent_away() {
    let siege = Siege::with(|start| start.open_files(64));
    for _ in 0..3 {
        let clients: Vec<TcpStream> = (0..200).map(|_| siege.connect()).collect();
        for mut client in &clients {
            // Some are sent away before.
            let _ = client.write_all(REQUEST);
        }
        for client in &clients {
            let answer = rest(client);
            // So many strangers at once can also be too many to look up.
            if !answer.is_empty() && !answer.contains("\"contended\"") {
                check(&answer, 404, "unknown_node");
            }
        }
    }
    siege.ends_well("200 requests with 64 descriptors");
}

#[test]
fn the_ops_port_survives_connections_that_send_nothing() {
    let siege = Siege::new();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&siege.server.ops).unwrap()).collect();
    assert_eq!(siege.server.page("/healthz").0, 200);
    assert_eq!(siege.server.page("/metrics").0, 200);
    drop(silent);
    siege.ends_well("200 silent connections to the ops port");
}
