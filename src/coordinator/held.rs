//! Requests held open: values, not sleeping threads. A held request is decided again after the drain or once a slot is free, or answered:
//! at its deadline, when its client hangs up, when a newer request of its node arrives, or when this replica stops.
//!
//! [`HeldRequests::hold`] and [`HeldRequests::take`] call no other module, so `drains` may call both under its own lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::presence::hung_up;
use super::{Presence, Responder};
use crate::access::ClientNetwork;
use crate::cluster::Uid;
use crate::fleetlock::{Kind, Refusal, Reply};
use crate::reboot::{Caller, HeldTerm, SlotWait};
use crate::system::clock;
use crate::system::guarded::Guarded;

/// Sleep of the deadline thread while no request is held.
const IDLE: Duration = Duration::from_secs(3600);

/// Time for the last decision on a request that waits for a slot, if Kubernetes is slow.
const DECISION_MAX: Duration = Duration::from_secs(5);

/// Shares of one address in the requests that wait for a slot.
const SHARES: usize = 4;

/// A pre-reboot request that is held open.
pub(super) struct HeldRequest {
    pub(super) caller: Caller,
    pub(super) term: Option<HeldTerm>,
    /// The wait for a slot; `None`: the request waits for the drain of its node.
    pub(super) slot: Option<SlotWait>,
    pub(super) deadlines: Deadlines,
    pub(super) client: HeldClient,
}

/// Times until which a request is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// A request that waits for the drain of its node.
    pub(super) drain: Instant,
    /// A request that waits for a slot; earlier, so that there is time left for a drain.
    pub(super) slot: Instant,
    /// The request whose turn is next at this replica; later. Otherwise a slot may be freed while all nodes pause between two requests.
    pub(super) next: Instant,
}

/// The client of a held request.
pub(super) struct HeldClient {
    pub(super) network: ClientNetwork,
    pub(super) presence: Arc<Presence>,
    pub(super) responder: Responder,
}

impl HeldRequest {
    /// Returns the time at which the request is answered with what is known. One that waits for a slot is decided once more before that, so
    /// that the answer names those who hold the slots now.
    fn answer_at(&self) -> Instant {
        if self.slot.is_some() { self.deadlines.slot + DECISION_MAX } else { self.deadlines.drain }
    }
}

/// All requests that this replica holds.
pub(super) struct HeldRequests {
    state: Guarded<State>,
    /// Maximum number of requests that wait for a slot.
    slot_waits_max: usize,
}

#[derive(Default)]
struct State {
    /// At most one request of each node, so that one node cannot use all connections of the port.
    requests: HashMap<Uid, HeldRequest>,
    closed: bool,
}

impl HeldRequests {
    /// Creates an empty table, in which at most `slot_waits_max` requests may wait for a slot. Those that wait for a drain are as few as
    /// there are slots.
    pub(super) fn new(slot_waits_max: usize) -> Self {
        Self { state: Guarded::default(), slot_waits_max }
    }

    /// Holds `request`. Requests that are not held are returned with their answers: the older of two of one node, one of too many, or
    /// any after [`Self::close`]. Then [`Self::drop_at_hang_up`] must be called.
    #[must_use]
    pub(super) fn hold(&self, request: HeldRequest) -> Vec<(HeldRequest, Reply)> {
        let mut state = self.state.lock();
        let node = &request.caller.node;
        if state.closed {
            let what = if request.slot.is_some() { "place" } else { "slot" };
            let message = format!("this replica is stopping; node {node} keeps its {what} and asks again");
            return vec![(request, Reply::refusal(Kind::ShuttingDown, message))];
        }
        let message = format!("superseded by a newer request from node {node}: only the newest is held open");
        let uid = request.caller.uid.clone();
        let (newer, older) = match state.requests.remove(&uid) {
            // Each drain is held for the same time, so the newer one has the later deadline.
            Some(held) if held.deadlines.drain > request.deadlines.drain => (held, Some(request)),
            held => (request, held),
        };
        let network = newer.client.network;
        state.requests.insert(uid, newer);
        let too_many = state.too_many(network, self.slot_waits_max);
        drop(state);
        self.state.wake();
        let superseded = older.map(|older| (older, Reply::refusal(Kind::Superseded, message)));
        superseded.into_iter().chain(too_many.map(|(request, refusal)| (request, refusal.into()))).collect()
    }

    /// Waits, without limit, until a request waits for a slot. Returns `false` after [`Self::close`].
    pub(super) fn wait_for_slot_waits(&self) -> bool {
        loop {
            let state = self.state.wait(IDLE, |state| state.closed || state.slot_waits().next().is_some());
            if state.closed || state.slot_waits().next().is_some() {
                return !state.closed;
            }
        }
    }

    /// Removes and returns one of the requests that have waited for a slot until their deadlines. The request whose turn is next gets its
    /// later deadline instead.
    pub(super) fn take_overdue(&self) -> Option<HeldRequest> {
        let now = clock::now().instant;
        let is_overdue = |held: &HeldRequest| held.slot.is_some() && held.deadlines.slot <= now;
        let mut state = self.state.lock();
        if let Some(next) = state.next().filter(|held| is_overdue(held)) {
            next.deadlines.slot = next.deadlines.slot.max(next.deadlines.next);
        }
        let uid = state.requests.iter().find(|(_uid, held)| is_overdue(held)).map(|(uid, _)| uid.clone())?;
        state.requests.remove(&uid)
    }

    /// Removes and returns up to `count` of the requests that wait for a slot: those that have waited longest.
    pub(super) fn take_for_slots(&self, count: usize) -> Vec<HeldRequest> {
        let mut state = self.state.lock();
        let mut places: Vec<_> = state.slot_waits().map(|(uid, wait)| (wait.place.clone(), uid.clone())).collect();
        places.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        places.into_iter().take(count).filter_map(|(_, uid)| state.requests.remove(&uid)).collect()
    }

    /// Answers a held request when its client hangs up.
    pub(super) fn drop_at_hang_up(self: &Arc<Self>, presence: &Presence) {
        let this = Arc::clone(self);
        presence.when_gone(move || {
            let gone: Vec<_> = this.state.lock().requests.extract_if(|_uid, held| held.client.presence.is_gone()).collect();
            for (_uid, held) in gone {
                (held.client.responder)(Reply::refusal(Kind::BadRequest, hung_up(&held.caller.node)));
            }
        });
    }

    /// Reports whether a request of the node `uid` waits for its drain.
    pub(super) fn holds(&self, uid: &Uid) -> bool {
        self.state.lock().requests.get(uid).is_some_and(|held| held.slot.is_none())
    }

    /// Removes and returns the request that waits for the drain of the node `uid`, unless the request acts under a later term than `term`.
    pub(super) fn take(&self, uid: &Uid, term: u64) -> Option<HeldRequest> {
        let mut state = self.state.lock();
        let held = state.requests.get(uid).filter(|held| held.slot.is_none())?.term.as_ref();
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
        requests.into_values().flat_map(|request| self.hold(request)).collect()
    }

    /// Answers each request with `answer` at its deadline. Runs until [`Self::close`].
    pub(super) fn answer_at_deadlines(&self, answer: impl Fn(&HeldRequest) -> Reply) {
        loop {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let now = clock::now().instant;
            let due: Vec<_> = state.requests.extract_if(|_uid, request| request.answer_at() <= now).collect();
            let next = state.earliest();
            drop(state);
            for (_uid, request) in due {
                let reply = answer(&request);
                (request.client.responder)(reply);
            }
            let limit = next.map_or(IDLE, |next| next.saturating_duration_since(clock::now().instant));
            drop(self.state.wait(limit, |state| state.closed || state.earliest() != next));
        }
    }
}

impl State {
    fn slot_waits(&self) -> impl Iterator<Item = (&Uid, &SlotWait)> {
        self.requests.iter().filter_map(|(uid, held)| Some((uid, held.slot.as_ref()?)))
    }

    /// Returns the request that has waited for a slot for the longest time.
    fn next(&mut self) -> Option<&mut HeldRequest> {
        let (uid, _) = self.slot_waits().min_by(|(_, one), (_, other)| one.place.cmp(&other.place))?;
        let uid = uid.clone();
        self.requests.get_mut(&uid)
    }

    /// Removes the request that has waited for a slot for the shortest time, if too many wait: of all clients, or of those of `network`,
    /// which must leave places to others.
    fn too_many(&mut self, network: ClientNetwork, limit: usize) -> Option<(HeldRequest, Refusal)> {
        let share = limit.div_ceil(SHARES);
        let of_network: Vec<_> = self.slot_waits().filter(|(uid, _)| self.requests[*uid].client.network == network).collect();
        let of_all: Vec<_> = self.slot_waits().collect();
        let candidates = match (of_network.len() > share, of_all.len() > limit) {
            (true, _) => of_network,
            (false, true) => of_all,
            (false, false) => return None,
        };
        let (uid, wait) = candidates.iter().max_by(|(_, one), (_, other)| one.place.cmp(&other.place))?;
        let (uid, refusal) = ((*uid).clone(), wait.refusal.clone());
        Some((self.requests.remove(&uid)?, refusal))
    }

    fn earliest(&self) -> Option<Instant> {
        self.requests.values().map(HeldRequest::answer_at).min()
    }
}
