//! SIGTERM.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use test_cluster::wait::wait_for;

use super::{REQUEST, REQUEST_MAX, Siege, WAYS, check};
use crate::scenarios::{MOMENT, SOON, binary, blocked, cluster_of};

/// Maximum time for a server to exit.
const EXIT_MAX: Duration = Duration::from_secs(20);

#[test]
fn an_open_request_is_answered_and_no_new_connection_accepted() {
    for way in WAYS {
        let siege = Siege::alone(way, REQUEST_MAX, |start| start);
        let silent = siege.port.connect_bare();
        let mut client = siege.port.connect();
        client.write_all(&REQUEST[..50]).unwrap();
        siege.well_behaved();
        siege.server.signal("TERM");
        wait_for("the port is closed", SOON, || match TcpStream::connect(siege.address()) {
            Ok(_) => Err("it is open"),
            Err(_) => Ok(()),
        });
        check(&client.exchange(&REQUEST[50..]), 404, "unknown_node");
        assert_eq!(siege.server.exit_code(EXIT_MAX), Some(0));
        drop(silent);
    }
}

/// A replica that stops gets no new connections, and the signal a moment later, as with kube-proxy.
#[test]
fn a_rolling_update_of_two_replicas_answers_every_request() {
    let (cluster, [node, held]) = cluster_of();
    blocked(&cluster, "db", 1, "n2");
    let replica = || Arc::new(cluster.server(&binary()).arg("--pre-reboot-wait=60s").start());
    let replicas = RwLock::new(vec![replica(), replica()]);
    node.agent(&replicas.read().unwrap()[0]).steady_state().expect(200, "steady_state");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = || {
            let mut answered = 0;
            while !done.load(Ordering::SeqCst) {
                let replica = Arc::clone(&replicas.read().unwrap()[answered % 2]);
                node.agent(&replica).steady_state().expect(200, "steady_state");
                answered += 1;
            }
            answered
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for _ in 0..2 {
            let new = replica();
            let old = {
                let mut replicas = replicas.write().unwrap();
                replicas.push(new);
                replicas.remove(0)
            };
            let open = held.agent(&old).send("pre-reboot");
            assert!(open.is_held(MOMENT));
            old.signal("TERM");
            open.answer().expect(404, "shutting_down");
            assert_eq!(old.exit_code(EXIT_MAX), Some(0));
        }
        done.store(true, Ordering::SeqCst);
        for client in clients {
            assert!(client.join().unwrap() > 10);
        }
    });
}
