//! The one place where the coordinator reads the clock.

use std::time::Instant;

use jiff::Timestamp;

use crate::reboot::Now;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock; the rules get it as an argument")]
pub(super) fn now() -> Now {
    Now { clock: Timestamp::now(), instant: Instant::now() }
}

/// A number in 0..1 that differs between replicas and moments: the clock's own noise is enough to spread retries.
pub(super) fn jitter() -> f64 {
    f64::from(now().clock.subsec_nanosecond() / 1_000 % 1_000) / 1_000.0
}
