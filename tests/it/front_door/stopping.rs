//! SIGTERM.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{REQUEST, REQUEST_MAX, Siege, Way, check, rest};
use crate::scenarios::{SOON, binary, machines, scene};

#[test]
fn a_request_that_has_begun_is_answered_and_nobody_else_is_let_in() {
    let siege = Siege::with(Way::Plain, REQUEST_MAX, |start| start);
    let silent = siege.connect();
    let mut begun = siege.connect();
    begun.write_all(&REQUEST[..50]).unwrap();
    siege.well_behaved();
    siege.server.signal("TERM");
    test_cluster::wait::wait_for("the port is closed", SOON, || match TcpStream::connect(siege.address()) {
        Ok(_) => Err("it is open"),
        Err(_) => Ok(()),
    });
    begun.write_all(&REQUEST[50..]).unwrap();
    check(&rest(&begun), 404, "unknown_node");
    assert_eq!(siege.server.exit_code(Duration::from_secs(20)), Some(0));
    drop(silent);
}

#[test]
fn a_rolling_update_loses_no_request() {
    let scene = scene();
    let [node] = machines(&scene);
    let (old, new) = (scene.server(&binary()).start(), scene.server(&binary()).start());
    node.agent(&old).steady_state().expect(200, "steady_state");
    let (updating, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = || {
            let mut answered = 0;
            while !done.load(Ordering::SeqCst) {
                // As kube-proxy does it: no new connections to a replica that stops.
                let replica = if updating.load(Ordering::SeqCst) { &new } else { &old };
                node.agent(replica).steady_state().expect(200, "steady_state");
                answered += 1;
            }
            answered
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        std::thread::sleep(Duration::from_secs(1));
        updating.store(true, Ordering::SeqCst);
        // A client that has just looked connects now.
        std::thread::sleep(Duration::from_millis(100));
        old.signal("TERM");
        assert_eq!(old.exit_code(Duration::from_secs(20)), Some(0));
        done.store(true, Ordering::SeqCst);
        for client in clients {
            assert!(client.join().unwrap() > 10);
        }
    });
}
