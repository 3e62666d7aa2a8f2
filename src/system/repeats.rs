//! Limit for log lines that repeat: a line is logged at once if it is new, then once a minute while it repeats. Pure.
//!
//! The number of different lines is limited too, and with it memory and log. Beyond it, all further lines share one place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Instant;

/// Minimum time between two equal lines, in seconds.
const EVERY: u32 = 60;

/// Time after which a line that no longer repeats is forgotten, in seconds.
const FORGET_AFTER: u32 = 2 * 60;

/// Number of different errors of one object.
const ERRORS_MAX: usize = 32;

/// Lines that were logged lately, each by a hash of what makes two lines equal. The hash has a random key, so no caller can choose
/// two different lines with one hash.
#[derive(Debug)]
pub(crate) struct Repeats {
    lines_max: usize,
    hasher: RandomState,
    lines: HashMap<u64, Line>,
    /// Shared by all lines for which there is no place.
    rest: Option<Line>,
    /// Time from which seconds are counted: four bytes for each line instead of sixteen.
    begun: Option<Instant>,
    forgot: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Time of the last line, in seconds.
    logged: u32,
    /// Number of lines since then that were omitted.
    omitted: u32,
}

impl Default for Repeats {
    /// Creates a table for the errors of one object.
    fn default() -> Self {
        Self::new(ERRORS_MAX)
    }
}

impl Repeats {
    /// Creates a table for up to `lines_max` different lines.
    pub(crate) fn new(lines_max: usize) -> Self {
        Self { lines_max, hasher: RandomState::new(), lines: HashMap::new(), rest: None, begun: None, forgot: 0 }
    }

    /// Decides about a line. Returns `None` if it repeats an earlier one and must be omitted, else the number of lines that were omitted
    /// before it.
    pub(crate) fn due(&mut self, line: impl Hash, now: Instant) -> Option<u32> {
        let begun = *self.begun.get_or_insert(now);
        let now = u32::try_from(now.saturating_duration_since(begun).as_secs()).unwrap_or(u32::MAX);
        self.forget(now);
        let (key, line) = (self.hasher.hash_one(line), Line { logged: now, omitted: 0 });
        let has_place = self.lines.len() < self.lines_max;
        let earlier = match self.lines.entry(key) {
            Entry::Occupied(earlier) => earlier.into_mut(),
            Entry::Vacant(place) if has_place => {
                place.insert(line);
                return Some(0);
            }
            Entry::Vacant(_) if self.rest.is_none() => {
                self.rest = Some(line);
                return Some(0);
            }
            Entry::Vacant(_) => self.rest.get_or_insert(line),
        };
        if now.saturating_sub(earlier.logged) < EVERY {
            earlier.omitted = earlier.omitted.saturating_add(1);
            return None;
        }
        Some(std::mem::replace(earlier, line).omitted)
    }

    /// Forgets all lines. Reports whether there was any.
    pub(crate) fn clear(&mut self) -> bool {
        let Self { lines, rest, .. } = self;
        rest.take().is_some() | !std::mem::take(lines).is_empty()
    }

    /// Forgets old lines, at most once a minute, and the memory for them.
    fn forget(&mut self, now: u32) {
        if now.saturating_sub(self.forgot) >= EVERY {
            self.forgot = now;
            self.lines.retain(|_, line| now.saturating_sub(line.logged) < FORGET_AFTER);
            self.lines.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_logged_at_once_each_minute_and_after_a_change() {
        let begun = crate::system::clock::now().instant;
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut repeats = Repeats::new(8);
        assert!(!repeats.clear());
        let due = [("a", 0), ("a", 1), ("a", 59), ("a", 60), ("b", 61), ("a", 61), ("b", 120), ("b", 121), ("a", 120)]
            .map(|(line, when)| repeats.due(line, at(when)));
        assert_eq!(due, [Some(0), None, None, Some(2), Some(0), None, None, Some(1), Some(1)]);
        assert!(repeats.clear() && !repeats.clear());
        assert_eq!(repeats.due("b", at(122)), Some(0));
        // The clock of the caller may be read before that of another thread.
        assert_eq!(repeats.due("b", at(0)), None);
    }

    #[test]
    fn lines_beyond_the_limit_share_one_place_and_old_lines_are_forgotten() {
        let begun = crate::system::clock::now().instant;
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut repeats = Repeats::new(100);
        let mut logged = |lines: std::ops::Range<u32>, when| lines.filter(|line| repeats.due(line, at(when)).is_some()).count();
        assert_eq!(logged(0..5000, 0), 101);
        assert_eq!(logged(0..5000, 59), 0);
        assert_eq!(logged(0..5000, 60), 101);
        assert_eq!(logged(5000..6000, 61), 0);
        assert_eq!(logged(5000..6000, 60 + 2 * 60), 101);
        assert!(repeats.lines.capacity() < 500, "{}", repeats.lines.capacity());
        repeats.due("last", at(3600));
        assert!(repeats.lines.len() == 1 && repeats.lines.capacity() < 10);
    }
}
