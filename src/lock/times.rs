//! Times after which a slot is given back. Each is a setting; `None` means never.

use jiff::{SignedDuration, Timestamp};

/// Times after which a slot is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A node that was never approved and has stopped asking: since its last request ended.
    pub silent: Option<SignedDuration>,
    /// A drain without progress: no pod has gone, and none is within its grace period.
    pub stalled: Option<SignedDuration>,
    /// A node that was never approved and whose kubelet is not Ready.
    pub not_ready: Option<SignedDuration>,
    /// A node that is Ready in another boot and has not checked in.
    pub no_check_in: Option<SignedDuration>,
    /// An approved node whose Node object is gone.
    pub missing: Option<SignedDuration>,
    /// An approved node that still asks and has not rebooted.
    pub not_rebooted: Option<SignedDuration>,
    /// First pause of a node that gave its slot back. Each further pause is twice as long, up to [`super::DEFERRED_MAX`].
    pub back_off: Option<SignedDuration>,
}

impl Times {
    /// No slot is given back after any time.
    pub const NEVER: Self =
        Self { silent: None, stalled: None, not_ready: None, no_check_in: None, missing: None, not_rebooted: None, back_off: None };

    /// The documented defaults. Zincati asks every 300 to 330 seconds, so 17 minutes are three rounds of it.
    pub const DEFAULT: Self = Self {
        silent: Some(SignedDuration::from_mins(17)),
        stalled: Some(SignedDuration::from_mins(30)),
        not_ready: Some(SignedDuration::from_mins(5)),
        no_check_in: Some(SignedDuration::from_mins(10)),
        missing: Some(SignedDuration::from_mins(15)),
        not_rebooted: Some(SignedDuration::from_mins(60)),
        back_off: Some(SignedDuration::from_mins(30)),
    };
}

/// Reports whether `limit` has passed since `since`.
pub(super) fn is_past(since: Timestamp, limit: Option<SignedDuration>, now: Timestamp) -> bool {
    limit.is_some_and(|limit| now.duration_since(since) >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_does_not_pass() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let minute = Some(SignedDuration::from_mins(1));
        assert_eq!([59, 60].map(|now| is_past(at(0), minute, at(now))), [false, true]);
        assert!(!is_past(at(0), None, at(1_000_000)));
        assert!(!is_past(at(100), minute, at(0)), "a time in the future has not passed");
    }
}
