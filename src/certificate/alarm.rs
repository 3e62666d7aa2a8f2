//! Limit for the log of an error: at once if it is new or has changed, then once in a while. Pure.

use std::time::{Duration, Instant};

/// The error that was logged last, and when.
#[derive(Debug)]
pub(super) struct Alarm {
    every: Duration,
    logged: Option<(Instant, String)>,
}

impl Alarm {
    /// `every`: minimum time between two log lines about the same error.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, logged: None }
    }

    /// Reports whether this error must be logged now.
    pub(super) fn due(&mut self, error: &str, now: Instant) -> bool {
        let quiet = self.logged.as_ref().is_some_and(|(at, logged)| logged == error && now.saturating_duration_since(*at) < self.every);
        if !quiet {
            self.logged = Some((now, error.to_owned()));
        }
        !quiet
    }

    /// Records that the error is over. Reports whether there was one.
    pub(super) fn over(&mut self) -> bool {
        self.logged.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_at_once_each_minute_and_after_a_change() {
        let begun = crate::system::clock::now().instant;
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut alarm = Alarm::new(Duration::from_secs(60));
        assert!(!alarm.over());
        let said: Vec<bool> =
            [("a", 0), ("a", 59), ("a", 60), ("b", 61), ("b", 120), ("b", 121)].map(|(what, when)| alarm.due(what, at(when))).to_vec();
        assert_eq!(said, [true, false, true, true, false, true]);
        assert!(alarm.over());
        assert!(alarm.due("b", at(122)));
    }
}
