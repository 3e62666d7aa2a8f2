//! The drains that are running, one a node, and how far each has come.
//!
//! **A drain may go on for as long as it is listed here** under its term: its thread asks before each call. So a drain ends by
//! being taken off the list, whether its slot was freed, a later term has begun, or this replica stops.
//!
//! **No request begins to wait for a drain that has just ended**: [`Drains::while_running`], [`Drains::end`] and
//! [`Drains::stop`] do the caller's own work under the one lock of the list.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use log::{info, warn};

use super::guarded::Guarded;
use crate::cluster::Uid;
use crate::drain::{Pace, Progress};
use crate::lock::LockState;
use crate::reboot::{Caller, Drain};

/// All drains of this replica.
#[derive(Default)]
pub(super) struct Drains {
    state: Guarded<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Uid, Running>,
    stopped: bool,
}

struct Running {
    term: u64,
    progress: Progress,
}

impl Drains {
    /// Calls `start` unless the drain is running under the same term, and then `hold`, before the drain can end. `start` only starts
    /// a thread.
    pub(super) fn while_running<T>(
        &self,
        caller: &Caller,
        drain: &Drain,
        start: impl FnOnce() -> io::Result<()>,
        hold: impl FnOnce() -> T,
    ) -> T {
        let mut state = self.state.lock();
        if !state.stopped && !state.is_running(&caller.uid, drain.term) {
            info!("node {}: draining, {} pods have to go", caller.node, drain.plan.left());
            let progress = Pace::default().progress(&drain.plan);
            state.running.insert(caller.uid.clone(), Running { term: drain.term, progress });
            if let Err(error) = start() {
                warn!("node {}: no thread for its drain ({error}); it is tried again with the next request", caller.node);
                state.running.remove(&caller.uid);
            }
            self.state.wake();
        }
        hold()
    }

    /// Takes the drain off the list and, before another can begin, calls `release`.
    pub(super) fn end<T>(&self, uid: &Uid, term: u64, release: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        if state.is_running(uid, term) {
            state.running.remove(uid);
        }
        release()
    }

    /// Ends the drains whose slot is not held under their term any more, by the lock just seen.
    pub(super) fn end_void(&self, lock: &LockState) {
        self.state.lock().running.retain(|uid, running| {
            let holder = lock.holder(uid);
            let is_held = holder.is_some_and(|holder| holder.term >= running.term && holder.checked_in.is_none());
            is_held || lock.last_term < running.term
        });
        self.state.wake();
    }

    /// Ends all drains, and calls `release` before any of them can find out; none begins any more.
    pub(super) fn stop<T>(&self, release: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        *state = State { stopped: true, ..State::default() };
        self.state.wake();
        release()
    }

    /// Whether the drain may go on.
    pub(super) fn is_running(&self, uid: &Uid, term: u64) -> bool {
        self.state.lock().is_running(uid, term)
    }

    /// Pauses for `limit`, unless the drain ends before: then `true`.
    pub(super) fn pause(&self, uid: &Uid, term: u64, limit: Duration) -> bool {
        !self.state.wait(limit, |state| !state.is_running(uid, term)).is_running(uid, term)
    }

    /// Records how far the drain has come.
    pub(super) fn record(&self, uid: &Uid, term: u64, progress: Progress) {
        if let Some(running) = self.state.lock().running.get_mut(uid).filter(|running| running.term == term) {
            running.progress = progress;
        }
    }

    /// How far the drain of the node `uid` has come; `None`: there is none.
    pub(super) fn progress(&self, uid: &Uid) -> Option<Progress> {
        self.state.lock().running.get(uid).map(|running| running.progress.clone())
    }
}

impl State {
    fn is_running(&self, uid: &Uid, term: u64) -> bool {
        self.running.get(uid).is_some_and(|running| running.term == term)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Barrier;

    use jiff::Timestamp;

    use super::super::held::HeldRequests;
    use super::super::held::tests::request;
    use super::*;
    use crate::drain::DrainPlan;

    const LONG: Duration = Duration::from_secs(60);

    /// For a thread to slip in where it must not.
    const MOMENT: Duration = Duration::from_millis(50);

    fn drain(term: u64) -> Drain {
        Drain { term, since: Timestamp::UNIX_EPOCH, plan: DrainPlan::default() }
    }

    /// Whether a drain of the node `n` under `term` was started.
    fn starts(drains: &Drains, term: u64) -> bool {
        let started = Cell::new(false);
        let start = || {
            started.set(true);
            Ok(())
        };
        drains.while_running(&request(LONG).0.caller, &drain(term), start, || ());
        started.get()
    }

    #[test]
    fn a_drain_is_started_once_for_each_term_and_not_after_the_stop() {
        let (drains, uid) = (Drains::default(), Uid("u".to_owned()));
        assert_eq!([5, 5, 6, 6].map(|term| starts(&drains, term)), [true, false, true, false]);
        assert!(!drains.is_running(&uid, 5) && drains.is_running(&uid, 6));
        drains.end(&uid, 5, || ());
        assert!(drains.is_running(&uid, 6), "another drain of the node has ended");
        drains.end(&uid, 6, || ());
        assert!(starts(&drains, 6));
        drains.stop(|| ());
        assert!(!drains.is_running(&uid, 6) && !starts(&drains, 7));
    }

    #[test]
    fn a_drain_without_a_thread_is_started_with_the_next_request() {
        let drains = Drains::default();
        let failed = drains.while_running(&request(LONG).0.caller, &drain(5), || Err(io::ErrorKind::WouldBlock.into()), || "held");
        assert_eq!(failed, "held");
        assert!(starts(&drains, 5));
    }

    #[test]
    fn a_drain_ends_when_its_slot_is_not_held_under_its_term() {
        let Caller { node, uid, group, arrived, .. } = request(LONG).0.caller;
        let first = LockState::default().take(&node, &uid, &group, arrived);
        let (term, freed, checked_in) = (first.last_term, first.free(&uid), first.check_in(&uid, arrived));
        let again = freed.take(&node, &uid, &group, arrived);
        for (lock, ends) in [(LockState::default(), false), (first, false), (checked_in, true), (freed, true), (again, false)] {
            let drains = Drains::default();
            assert!(starts(&drains, term));
            drains.end_void(&lock);
            assert_eq!(drains.pause(&uid, term, Duration::ZERO), ends, "{lock:?}");
        }
    }

    #[test]
    fn a_pause_ends_with_the_drain() {
        let (drains, uid) = (Drains::default(), Uid("u".to_owned()));
        assert!(starts(&drains, 5));
        std::thread::scope(|scope| {
            let paused = scope.spawn(|| drains.pause(&uid, 5, LONG));
            assert!(starts(&drains, 6));
            assert!(paused.join().unwrap());
        });
        std::thread::scope(|scope| {
            let paused = scope.spawn(|| drains.pause(&uid, 6, LONG));
            drains.stop(|| ());
            assert!(paused.join().unwrap());
        });
    }

    #[test]
    fn a_drain_that_is_stopped_finds_no_request_to_answer() {
        let (drains, held, uid) = (Drains::default(), HeldRequests::default(), Uid("u".to_owned()));
        assert!(starts(&drains, 5));
        assert!(held.hold(request(LONG).0).is_none());
        let has_ended = Guarded::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(drains.pause(&uid, 5, LONG));
                assert!(drains.end(&uid, 5, || held.take(&uid, 5)).is_none());
                *has_ended.lock() = true;
                has_ended.wake();
            });
            let stopped = drains.stop(|| {
                drop(has_ended.wait(MOMENT, |ended| *ended));
                held.close()
            });
            assert_eq!(stopped.len(), 1);
        });
    }

    #[test]
    fn a_request_never_waits_for_a_drain_that_has_ended() {
        for ends_first in [true, false] {
            let (drains, held, uid) = (Drains::default(), HeldRequests::default(), Uid("u".to_owned()));
            assert!(starts(&drains, 5));
            let (inside, second_is_done) = (Barrier::new(2), Guarded::new(false));
            let pause = |is_first: bool| {
                if is_first {
                    inside.wait();
                    drop(second_is_done.wait(MOMENT, |done| *done));
                }
            };
            let enter = |is_first: bool| {
                if !is_first {
                    inside.wait();
                }
            };
            let leave = || {
                *second_is_done.lock() = true;
                second_is_done.wake();
            };
            let (taken, restarted) = std::thread::scope(|scope| {
                let end = scope.spawn(|| {
                    enter(ends_first);
                    let taken = drains.end(&uid, 5, || {
                        pause(ends_first);
                        held.take(&uid, 5).is_some()
                    });
                    leave();
                    taken
                });
                let (request, restarted) = (request(LONG).0, Cell::new(false));
                enter(!ends_first);
                let start = || {
                    restarted.set(true);
                    Ok(())
                };
                let hold = || {
                    pause(!ends_first);
                    held.hold(request)
                };
                assert!(drains.while_running(&self::request(LONG).0.caller, &drain(5), start, hold).is_none());
                leave();
                (end.join().unwrap(), restarted.get())
            });
            assert_eq!((taken, restarted), (!ends_first, ends_first), "taken by the drain that ends, or waiting for another");
        }
    }
}
