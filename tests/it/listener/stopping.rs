//! SIGTERM.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use test_cluster::Zincati;
use test_cluster::wait::wait_for;

use super::{End, Identity, Port, REQUEST, Siege, WAYS, Way, check};
use crate::scenarios::{MOMENT, SOON, binary, blocked, cluster_of};

/// Maximum time for a server to exit.
const EXIT_MAX: Duration = Duration::from_secs(20);

/// Clients that call during an update, and their calls beside each replica that ends.
const CLIENTS: usize = 4;
const CALLS: usize = 20;

#[test]
fn an_open_request_is_answered_and_no_new_connection_accepted() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start);
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
    for way in WAYS {
        rolling_update(way);
    }
}

fn rolling_update(way: Way) {
    let (cluster, nodes) = cluster_of::<2>();
    blocked(&cluster, "db", 1, "n2");
    let identity = Identity::new(&cluster, way);
    let replica = || {
        let server = identity.of(cluster.server(&binary()).arg("--pre-reboot-wait=60s")).start();
        Arc::new((Port::new(&server.address, identity.client.clone()), server))
    };
    let replicas = RwLock::new(vec![replica(), replica()]);
    let steady = Zincati::new("x", &nodes[0].id).request("steady-state");
    let pre_reboot = Zincati::new("x", &nodes[1].id).request("pre-reboot");
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            while !done.load(Ordering::SeqCst) {
                let number = answered.fetch_add(1, Ordering::SeqCst);
                let replica = Arc::clone(&replicas.read().unwrap()[number % 2]);
                check(&replica.0.exchange(&steady), 200, "steady_state");
            }
        };
        let _end = End(&done);
        for _ in 0..CLIENTS {
            scope.spawn(load);
        }
        for _ in 0..2 {
            let new = replica();
            let old = {
                let mut replicas = replicas.write().unwrap();
                replicas.push(new);
                replicas.remove(0)
            };
            let (port, server) = &*old;
            let (mut open, before) = (port.send(&pre_reboot), answered.load(Ordering::SeqCst));
            assert!(open.is_held(MOMENT));
            wait_for("calls beside it", SOON, || match answered.load(Ordering::SeqCst) - before {
                CALLS.. => Ok(()),
                fewer => Err(fewer),
            });
            server.signal("TERM");
            check(&open.rest(), 404, "shutting_down");
            assert_eq!(server.exit_code(EXIT_MAX), Some(0));
        }
    });
}
