//! Clients that close only their own side, plain and inside TLS, still get the answer.

use std::io::Write;

use test_cluster::Zincati;

use super::{REQUEST_MAX, Siege, WAYS, check};
use crate::scenarios::{SOON, blocked};

#[test]
fn a_held_client_that_closes_its_side_gets_the_reason() {
    for way in WAYS {
        let siege = Siege::alone(way, REQUEST_MAX, |start| start.arg("--pre-reboot-wait=600s"));
        blocked(&siege.cluster, "web", 1, "n1");
        let mut client = siege.port.connect();
        client.write_all(&Zincati::new(siege.address(), &siege.id).request("pre-reboot")).unwrap();
        siege.server.wait_for_log("draining, 1 pods to evict", SOON);
        client.end();
        let answer = client.rest();
        check(&answer, 400, "bad_request");
        assert!(answer.contains("closed its side of the connection"), "{answer}");
        siege.server.wait_for_log("the answer 400 bad_request may not have reached the client", SOON);
    }
}
