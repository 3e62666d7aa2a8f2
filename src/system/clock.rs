//! The only place where the program reads the clock or sleeps. All other code takes time as an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub(crate) use crate::reboot::Now;

#[expect(clippy::disallowed_methods, reason = "this module reads the clock; the rules take time as an argument")]
pub(crate) fn now() -> Now {
    Now { clock: Timestamp::now(), instant: Instant::now() }
}

/// Returns the time left until `deadline`.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now().instant)
}

#[expect(clippy::disallowed_methods, reason = "no event shows that a server answers again, or that a file or a Secret has changed")]
pub(crate) fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}
