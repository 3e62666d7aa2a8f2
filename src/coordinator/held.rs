//! Requests held open: values, not sleeping threads. A held request is decided again after the drain, or answered: at its deadline,
//! when its client hangs up, when a newer request of its node arrives, or when this replica stops.
//!
//! [`HeldRequests::hold`] and [`HeldRequests::take`] call no other module, so `drains` may call both under its own lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::presence::hung_up;
use super::{Presence, Responder};
use crate::cluster::Uid;
use crate::fleetlock::{Kind, Reply};
use crate::reboot::{Caller, HeldTerm};
use crate::system::clock;
use crate::system::guarded::Guarded;

/// Sleep of the deadline thread while no request is held.
const IDLE: Duration = Duration::from_secs(3600);

/// A pre-reboot request that is held open.
pub(super) struct HeldRequest {
    pub(super) caller: Caller,
    pub(super) term: Option<HeldTerm>,
    pub(super) deadline: Instant,
    pub(super) presence: Arc<Presence>,
    pub(super) responder: Responder,
}

/// All requests that this replica holds.
#[derive(Default)]
pub(super) struct HeldRequests {
    state: Guarded<State>,
}

#[derive(Default)]
struct State {
    /// At most one request of each node, so that one node cannot use all connections of the port.
    requests: HashMap<Uid, HeldRequest>,
    closed: bool,
}

impl HeldRequests {
    /// Holds `request`. A request that is not held is returned with its answer: the older of two of one node, or any after
    /// [`Self::close`]. Then [`Self::drop_at_hang_up`] must be called.
    #[must_use]
    pub(super) fn hold(&self, request: HeldRequest) -> Option<(HeldRequest, Reply)> {
        let mut state = self.state.lock();
        let node = &request.caller.node;
        if state.closed {
            let message = format!("this replica is stopping; node {node} keeps its slot and asks again");
            return Some((request, Reply::refusal(Kind::ShuttingDown, message)));
        }
        let message = format!("superseded by a newer request from node {node}: only the newest is held open");
        let uid = request.caller.uid.clone();
        let (newer, older) = match state.requests.remove(&uid) {
            // Each is held for the same time, so the newer one has the later deadline.
            Some(held) if held.deadline > request.deadline => (held, Some(request)),
            held => (request, held),
        };
        state.requests.insert(uid, newer);
        drop(state);
        self.state.wake();
        older.map(|older| (older, Reply::refusal(Kind::Superseded, message)))
    }

    /// Answers a held request when its client hangs up.
    pub(super) fn drop_at_hang_up(self: &Arc<Self>, presence: &Presence) {
        let this = Arc::clone(self);
        presence.when_gone(move || {
            let gone: Vec<_> = this.state.lock().requests.extract_if(|_uid, held| held.presence.is_gone()).collect();
            for (_uid, held) in gone {
                (held.responder)(Reply::refusal(Kind::BadRequest, hung_up(&held.caller.node)));
            }
        });
    }

    /// Removes and returns the request held for the node `uid`, unless the request acts under a later term than `term`.
    pub(super) fn take(&self, uid: &Uid, term: u64) -> Option<HeldRequest> {
        let mut state = self.state.lock();
        let held = state.requests.get(uid)?.term.as_ref();
        if held.is_none_or(|held| held.term <= term) { state.requests.remove(uid) } else { None }
    }

    /// Stops holding requests. Returns all held requests, each with its answer.
    pub(super) fn close(&self) -> Vec<(HeldRequest, Reply)> {
        let requests = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.requests)
        };
        self.state.wake();
        requests.into_values().filter_map(|request| self.hold(request)).collect()
    }

    /// Answers each request with `answer` at its deadline. Runs until [`Self::close`].
    pub(super) fn answer_at_deadlines(&self, answer: impl Fn(&Caller) -> Reply) {
        loop {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let now = clock::now().instant;
            let due: Vec<_> = state.requests.extract_if(|_uid, request| request.deadline <= now).collect();
            let next = state.earliest();
            drop(state);
            for (_uid, request) in due {
                (request.responder)(answer(&request.caller));
            }
            let limit = next.map_or(IDLE, |next| next.saturating_duration_since(clock::now().instant));
            drop(self.state.wait(limit, |state| state.closed || state.earliest() != next));
        }
    }
}

impl State {
    fn earliest(&self) -> Option<Instant> {
        self.requests.values().map(|request| request.deadline).min()
    }
}
