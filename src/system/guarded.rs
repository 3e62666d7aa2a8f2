//! State shared by threads. If one of them panics while it holds the state, the process ends: no server lives on with
//! half a state, and Kubernetes starts a new one that reads all it needs from the cluster.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A value behind a lock, and a bell for those who wait for it to change.
#[derive(Debug, Default)]
pub struct Guarded<T> {
    value: Mutex<T>,
    bell: Condvar,
}

impl<T> Guarded<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), bell: Condvar::new() }
    }

    /// The value, for this thread alone.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(|_poisoned| std::process::abort())
    }

    /// Rings the bell.
    pub fn wake(&self) {
        self.bell.notify_all();
    }

    /// Waits until the bell rings and `enough` holds, or `limit` has passed.
    pub fn wait(&self, limit: Duration, mut enough: impl FnMut(&mut T) -> bool) -> MutexGuard<'_, T> {
        let waited = self.bell.wait_timeout_while(self.lock(), limit, |value| !enough(value));
        waited.unwrap_or_else(|_poisoned| std::process::abort()).0
    }
}
