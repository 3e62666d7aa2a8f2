//! Waiting for what is awaited: a look, a short pause, a deadline; never a fixed sleep.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// Polls until `look` returns `Ok`.
#[track_caller]
pub fn wait_for<T, S: Display>(description: &str, deadline: Duration, look: impl FnMut() -> Result<T, S>) -> T {
    match poll(deadline, look) {
        Ok(seen) => seen,
        Err(state) => panic!("waited {deadline:?} for {description}; last seen: {state}"),
    }
}

/// Polls until `look` succeeds; returns the last `Err` after the deadline.
pub fn poll<T, S>(deadline: Duration, look: impl FnMut() -> Result<T, S>) -> Result<T, S> {
    poll_every(PAUSE, deadline, look)
}

/// Polls with another pause.
pub(crate) fn poll_every<T, S>(pause: Duration, deadline: Duration, mut look: impl FnMut() -> Result<T, S>) -> Result<T, S> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Err(state) if Instant::now() >= end => return Err(state),
            Err(_) => thread::sleep(pause),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// Pause between two polls: short compared with a scenario, long compared with a poll.
const PAUSE: Duration = Duration::from_millis(20);
