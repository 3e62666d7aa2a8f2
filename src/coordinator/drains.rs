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

use crate::cluster::Uid;
use crate::drain::{Progress, Schedule};
use crate::lock::LockState;
use crate::reboot::{Caller, Drain};
use crate::system::guarded::Guarded;

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
            info!("node {}: draining, {} pods to evict", caller.node, drain.plan.left());
            let progress = Progress::of(&drain.plan, &Schedule::default());
            state.running.insert(caller.uid.clone(), Running { term: drain.term, progress });
            if let Err(error) = start() {
                warn!("node {}: cannot start a thread for the drain, will retry with the next request: {error}", caller.node);
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

    /// Reports whether the drain is still wanted.
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

    /// Returns the progress of the drain of the node `uid`; `None` if no drain runs.
    pub(super) fn progress(&self, uid: &Uid) -> Option<Progress> {
        self.state.lock().running.get(uid).map(|running| running.progress.clone())
    }
}

impl State {
    fn is_running(&self, uid: &Uid, term: u64) -> bool {
        self.running.get(uid).is_some_and(|running| running.term == term)
    }
}
