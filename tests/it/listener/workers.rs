//! The listener as a library: its workers, and its end. TLS ends before a worker gets the request.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use reboot_manager::http::{Client, Listener, ListenerLimits, Sizes};
use reboot_manager::metrics::Metrics;
use test_cluster::wait::wait_for;
use tiny_http::Response;

use super::Port;
use crate::scenarios::{SOON, threads};

const WORKERS: usize = 3;

/// Opens a listener whose threads have this name, which the kernel cuts after 15 bytes.
fn open(name: &str, address: &str, handle: impl Fn(tiny_http::Request, Client) + Send + Sync + 'static) -> Listener {
    let limits = ListenerLimits { connections: 64, share: 8, request: Duration::from_secs(10), sizes: Sizes::default(), workers: WORKERS };
    Listener::open(name, address.parse().unwrap(), limits, None, Arc::new(Metrics::default()), handle).unwrap()
}

#[test]
fn a_burst_is_answered_by_all_workers_and_one_is_left() {
    let gate = Arc::new(RwLock::new(()));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handle = {
        let (gate, inside, most) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
        move |request: tiny_http::Request, _client| {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            drop(gate.read().unwrap());
            inside.fetch_sub(1, Ordering::SeqCst);
            request.respond(Response::from_string("done")).unwrap();
        }
    };
    let listener = open("burst-test", "127.0.0.1:0", handle);
    let port = Port::new(&listener.address().to_string(), None);
    for _ in 0..3 {
        let closed = gate.write().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| assert!(port.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("done")));
            }
            wait_for("all workers are busy", SOON, || match inside.load(Ordering::SeqCst) {
                WORKERS => Ok(()),
                others => Err(others),
            });
            // Time for a worker too many to begin.
            std::thread::sleep(Duration::from_millis(200));
            drop(closed);
        });
        assert_eq!(most.load(Ordering::SeqCst), WORKERS);
        wait_for("one worker is left", SOON, || match threads(std::process::id(), "burst-test") {
            1 => Ok(()),
            others => Err(others),
        });
    }
}

#[test]
fn a_listener_on_all_addresses_can_be_closed() {
    for any in ["[::]:0", "0.0.0.0:0"] {
        let listener = open("closed-test", any, |_request, _client| ());
        let address = ("127.0.0.1", listener.address().port());
        drop(TcpStream::connect(address).unwrap());
        listener.close();
        wait_for("no connection is accepted", SOON, || match TcpStream::connect(address) {
            Ok(_) => Err("the port is open"),
            Err(_) => Ok(()),
        });
    }
}
