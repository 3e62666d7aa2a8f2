//! The control planes of this process. Each scenario has one to itself, emptied; `CONTROL_PLANES` of them (one unless set)
//! may run at once, so that as many scenarios can.

use std::ops;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{ControlPlane, reset};

/// Exclusive use of a control plane by one scenario.
#[derive(Debug)]
pub struct Guard(&'static ControlPlane);

struct Pool {
    free: Vec<&'static ControlPlane>,
    started: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), started: 0 });
static FREED: Condvar = Condvar::new();

impl ControlPlane {
    /// A control plane for one scenario: all programs running, no Node, no workload, no pod, no budget left, and no Lease or
    /// Secret in namespace `reboot-manager`. The process keeps it for the next scenario, and ends it when it ends itself.
    pub fn exclusive() -> Guard {
        let guard = Guard(take());
        guard.start_etcd();
        guard.start_api_server();
        reset::empty(&guard.admin);
        guard
    }
}

impl ops::Deref for Guard {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        self.0
    }
}

impl Drop for Guard {
    // A scenario that failed leaves a cluster to be emptied like any other.
    fn drop(&mut self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.0);
        FREED.notify_one();
    }
}

/// A control plane that is not in use: a free one, a new one while there may be more, else the next that becomes free.
fn take() -> &'static ControlPlane {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(plane) = pool.free.pop() {
            return plane;
        }
        if pool.started < at_once() {
            // Under the lock: starts at the same time share the processors, and each may then exceed its limit.
            let plane = Box::leak(Box::new(ControlPlane::start()));
            pool.started += 1;
            return plane;
        }
        pool = FREED.wait(pool).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Returns the number of control planes that may run at once.
fn at_once() -> usize {
    std::env::var("CONTROL_PLANES").map_or(1, |value| match value.parse() {
        Ok(number) if number > 0 => number,
        _ => panic!("CONTROL_PLANES is {value:?}; it must be a number from 1 on"),
    })
}
