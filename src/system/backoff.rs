//! Pauses before another attempt: doubled each time, and random, so that clients that failed together do not retry together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential backoff from `first` to `max`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// Pause after the first failure.
    pub(crate) first: Duration,
    /// Longest pause.
    pub(crate) max: Duration,
}

impl Backoff {
    /// Returns the pause after `failures` in a row. `jitter` from 0 to 1 scales the pause from a half to the whole.
    #[must_use]
    pub(crate) fn pause(self, failures: u32, jitter: f64) -> Duration {
        // At most 2^16, so that the shift cannot overflow; `max` is reached long before.
        let whole = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Returns a random number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    // Each `RandomState` has another random key.
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(5) };

    #[test]
    fn pauses_double_up_to_the_limit() {
        let pauses = [0, 1, 2, 3, 5, 6, 30, u32::MAX].map(|failures| BACKOFF.pause(failures, 1.0).as_millis());
        assert_eq!(pauses, [250, 250, 500, 1_000, 4_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_half() {
        assert_eq!(BACKOFF.pause(1, 0.0), Duration::from_millis(125));
        assert_eq!(BACKOFF.pause(1, 0.5), Duration::from_micros(187_500));
        assert_eq!(BACKOFF.pause(u32::MAX, 7.0), BACKOFF.max);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&jitter())));
        assert_ne!(jitter().to_bits(), jitter().to_bits());
    }
}
