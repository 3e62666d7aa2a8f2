//! Waiting for what is awaited: a look, a short pause, a deadline; never a fixed sleep.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// Looks until it sees what it wants, and says so with `Ok`.
///
/// # Panics
/// When the deadline passes; the message has the description and the last `Err`, which should say what was seen instead.
#[track_caller]
pub fn wait_for<T, S: Display>(description: &str, deadline: Duration, look: impl FnMut() -> Result<T, S>) -> T {
    match poll(deadline, look) {
        Ok(seen) => seen,
        Err(state) => panic!("waited {deadline:?} for {description}; last seen: {state}"),
    }
}

/// The same for callers with more to say: the last `Err` when the deadline has passed.
pub fn poll<T, S>(deadline: Duration, mut look: impl FnMut() -> Result<T, S>) -> Result<T, S> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Err(state) if Instant::now() >= end => return Err(state),
            Err(_) => thread::sleep(PAUSE),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// Between two looks: short against what a scenario takes, long against what a look costs.
const PAUSE: Duration = Duration::from_millis(20);
