//! The clock of this module, read and waited on here only.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The wall clock, by which certificates end.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock; the rules get it as an argument")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// The steady clock.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock; the rules get it as an argument")]
pub(super) fn steady() -> Instant {
    Instant::now()
}

/// Lets `pause` pass.
#[expect(clippy::disallowed_methods, reason = "nothing announces that a file or a Secret has changed")]
pub(super) fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}
