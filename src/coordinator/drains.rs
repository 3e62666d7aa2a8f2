//! Running drains, one for each node, and the progress of each.
//!
//! **A drain may continue while it is listed here** under its term: its thread asks before each call. So a drain is stopped by
//! removing it from the list, when its slot is freed, a later term begins, or this replica stops.
//!
//! **No request waits for a drain that has just ended.** [`Drains::while_running`], [`Drains::end`] and [`Drains::stop`] call the
//! caller's function under the lock of the list.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use log::{info, warn};

use crate::cluster::Uid;
use crate::drain::{Progress, Schedule};
use crate::lock::LockState;
use crate::reboot::{Caller, Drain};
use crate::system::clock;
use crate::system::guarded::Guarded;

/// All drains of this replica.
#[derive(Default)]
pub(super) struct Drains {
    state: Guarded<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Uid, Running>,
    /// Terms whose drains have ended here, because no pod was left or the node was uncordoned. Only a request starts them again.
    ended: HashMap<Uid, u64>,
    stopped: bool,
}

struct Running {
    term: u64,
    progress: Progress,
}

impl Drains {
    /// Calls `start`, which starts a thread, unless the drain is running under the same term. Then calls `hold`, before the drain can
    /// end.
    pub(super) fn while_running<T>(
        &self,
        caller: &Caller,
        drain: &Drain,
        start: impl FnOnce() -> io::Result<()>,
        hold: impl FnOnce() -> T,
    ) -> T {
        let mut state = self.state.lock();
        if !state.stopped && !state.is_running(&caller.uid, drain.term) {
            match drain.plan.left() {
                0 => {}
                1 => info!(node:% = caller.node; "node {}: draining, 1 pod to evict", caller.node),
                left => info!(node:% = caller.node; "node {}: draining, {left} pods to evict", caller.node),
            }
            let progress = Progress::of(&drain.plan, &Schedule::default(), clock::now().clock);
            state.running.insert(caller.uid.clone(), Running { term: drain.term, progress });
            if let Err(error) = start() {
                warn!(node:% = caller.node; "node {}: cannot start a thread for the drain, will retry with the next request: {error}", caller.node);
                state.running.remove(&caller.uid);
            }
            self.state.wake();
        }
        hold()
    }

    /// Removes the drain from the list and calls `release`, before another drain can begin.
    pub(super) fn end<T>(&self, uid: &Uid, term: u64, release: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        if state.is_running(uid, term) {
            state.running.remove(uid);
            state.ended.insert(uid.clone(), term);
        }
        release()
    }

    /// Ends the drains whose slot, in the lock just read, is no longer held under their term.
    pub(super) fn end_stale(&self, lock: &LockState) {
        let mut state = self.state.lock();
        state.ended.retain(|uid, term| lock.holder(uid).is_some_and(|holder| holder.term == *term));
        state.running.retain(|uid, running| {
            let holder = lock.holder(uid);
            let is_held = holder.is_some_and(|holder| holder.term >= running.term && holder.checked_in.is_none());
            // A lock that does not know the term yet was read before the drain began.
            is_held || lock.last_term < running.term
        });
        drop(state);
        self.state.wake();
    }

    /// Ends all drains, and calls `release` before any of them notices. No drain begins afterwards.
    pub(super) fn stop<T>(&self, release: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        *state = State { stopped: true, ..State::default() };
        self.state.wake();
        release()
    }

    /// Reports whether the drain may continue.
    pub(super) fn is_running(&self, uid: &Uid, term: u64) -> bool {
        self.state.lock().is_running(uid, term)
    }

    /// Reports whether the drain is running here, or has ended here.
    pub(super) fn is_known(&self, uid: &Uid, term: u64) -> bool {
        let state = self.state.lock();
        state.stopped || state.is_running(uid, term) || state.ended.get(uid) == Some(&term)
    }

    /// Pauses for `limit`. Returns `true`, at once, if the drain must end.
    pub(super) fn pause(&self, uid: &Uid, term: u64, limit: Duration) -> bool {
        !self.state.wait(limit, |state| !state.is_running(uid, term)).is_running(uid, term)
    }

    /// Records the progress of a drain.
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
