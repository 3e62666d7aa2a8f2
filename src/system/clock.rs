//! The one place where the program reads the clock or sleeps; everything else takes time as an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use crate::reboot::Now;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock; the rules get it as an argument")]
pub fn now() -> Now {
    Now { clock: Timestamp::now(), instant: Instant::now() }
}

/// The time left until `deadline`.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now().instant)
}

/// Lets `pause` pass.
#[expect(clippy::disallowed_methods, reason = "nothing announces that a server answers again, or that a file or a Secret has changed")]
pub fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}
