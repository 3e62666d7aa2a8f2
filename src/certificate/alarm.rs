//! Says a trouble at once when it is another, and each minute while it lasts, but not each time it is met. Pure.

use std::time::{Duration, Instant};

/// How often the same trouble is said.
const EVERY: Duration = Duration::from_secs(60);

/// What was said last, and when.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    said: Option<(Instant, String)>,
}

impl Alarm {
    /// Whether this trouble is to be said now.
    pub(super) fn due(&mut self, trouble: &str, now: Instant) -> bool {
        let quiet = self.said.as_ref().is_some_and(|(at, said)| said == trouble && now.saturating_duration_since(*at) < EVERY);
        if !quiet {
            self.said = Some((now, trouble.to_owned()));
        }
        !quiet
    }

    /// All is well; whether there was a trouble.
    pub(super) fn over(&mut self) -> bool {
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_at_once_each_minute_and_when_it_is_another() {
        let begun = crate::system::clock::now().instant;
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut alarm = Alarm::default();
        assert!(!alarm.over());
        let said: Vec<bool> =
            [("a", 0), ("a", 59), ("a", 60), ("b", 61), ("b", 120), ("b", 121)].map(|(what, when)| alarm.due(what, at(when))).to_vec();
        assert_eq!(said, [true, false, true, true, false, true]);
        assert!(alarm.over());
        assert!(alarm.due("b", at(122)));
    }
}
