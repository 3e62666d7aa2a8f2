//! The workers: as many at once as the limit allows, and one when no request arrives.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use reboot_manager::http::{Listener, ListenerLimits, Sizes};
use reboot_manager::metrics::Metrics;
use test_cluster::wait::wait_for;
use tiny_http::Response;

use super::client::exchange;
use crate::scenarios::SOON;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const WORKERS: usize = 3;
/// Kept under 15 bytes, which is what the kernel keeps of a thread's name.
const NAME: &str = "workers-test";

#[test]
fn a_burst_is_answered_by_a_few_workers_of_which_one_is_left() {
    let gate = Arc::new(RwLock::new(()));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handle = {
        let (gate, inside, most) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
        move |request: tiny_http::Request, _peer| {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            drop(gate.read().unwrap());
            inside.fetch_sub(1, Ordering::SeqCst);
            request.respond(Response::from_string("done")).unwrap();
        }
    };
    let limits = ListenerLimits { connections: 64, request: Duration::from_secs(10), sizes: Sizes::default(), workers: WORKERS };
    let listener = Listener::open(NAME, "127.0.0.1:0".parse().unwrap(), limits, None, Arc::new(Metrics::default()), handle).unwrap();
    let address = listener.address().to_string();
    for _ in 0..3 {
        let closed = gate.write().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| assert!(exchange(&address, GET).ends_with("done")));
            }
            wait_for("all who may answer do", SOON, || match inside.load(Ordering::SeqCst) {
                WORKERS => Ok(()),
                others => Err(others),
            });
            // Time for one more than may, if there were one.
            std::thread::sleep(Duration::from_millis(200));
            drop(closed);
        });
        assert_eq!(most.load(Ordering::SeqCst), WORKERS);
        wait_for("one thread waits for requests", SOON, || match threads() {
            1 => Ok(()),
            others => Err(others),
        });
    }
}

/// The threads of this process that answer.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == NAME).count()
}
