//! The clock of this module, read and waited on here only, so that everything else takes time as an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A moment on both clocks: the steady one for deadlines, the wall clock for what a credential says of its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The steady clock.
    pub(super) steady: Instant,
    /// The wall clock.
    pub(super) wall: Timestamp,
}

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the edge: deadlines and expiry are measured here and passed on")]
pub(super) fn now() -> Moment {
    Moment { steady: Instant::now(), wall: Timestamp::now() }
}

/// Lets `pause` pass. Every caller has bounded it by a deadline.
#[expect(clippy::disallowed_methods, reason = "back-off: nothing announces that a server will answer again")]
pub(super) fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}
