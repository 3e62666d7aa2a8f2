//! State shared by threads.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::process::exit_after_defect;

/// A value behind a lock, with a condition variable for threads that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Guarded<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Locks the value. Exits the process if a thread has panicked while it held the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // The state may be inconsistent. A new process reads all it needs from the cluster.
        self.value.lock().unwrap_or_else(|_poisoned| exit_after_defect())
    }

    /// Wakes all threads in [`Self::wait`].
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits until `enough` holds or `limit` has passed. `enough` is checked at the start and after each [`Self::wake`].
    pub(crate) fn wait(&self, limit: Duration, mut enough: impl FnMut(&mut T) -> bool) -> MutexGuard<'_, T> {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |value| !enough(value));
        waited.unwrap_or_else(|_poisoned| exit_after_defect()).0
    }
}
