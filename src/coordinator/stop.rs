//! The stop signal, for threads that pause between two rounds of their work.

use std::time::Duration;

use super::guarded::Guarded;

/// Set once, when this replica stops.
#[derive(Default)]
pub(super) struct Stop(Guarded<bool>);

impl Stop {
    /// Ends all pauses, now and later.
    pub(super) fn set(&self) {
        *self.0.lock() = true;
        self.0.wake();
    }

    /// Pauses for `limit`, or until this replica stops: then `true`.
    pub(super) fn pause(&self, limit: Duration) -> bool {
        *self.0.wait(limit, |set| *set)
    }
}
