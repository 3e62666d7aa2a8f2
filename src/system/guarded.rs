//! State shared by threads. If a thread panics while it holds the state, the process exits: the state may be inconsistent, and a
//! new process reads all state from the cluster.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A value behind a lock, with a condition variable for threads that wait for a change.
#[derive(Debug, Default)]
pub struct Guarded<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Guarded<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Locks the value.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(|_poisoned| std::process::abort())
    }

    /// Wakes all threads in [`Self::wait`].
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits until `enough` holds or `limit` has passed. `enough` is checked at the start and after each [`Self::wake`].
    pub fn wait(&self, limit: Duration, mut enough: impl FnMut(&mut T) -> bool) -> MutexGuard<'_, T> {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |value| !enough(value));
        waited.unwrap_or_else(|_poisoned| std::process::abort()).0
    }
}
