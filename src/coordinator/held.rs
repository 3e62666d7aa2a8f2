//! Requests held open: values, not sleeping threads. Each is taken to be decided again, or answered: at its deadline, when its
//! client hangs up, when a newer request of its node arrives, or when this replica stops.
//!
//! Nothing here knows the event that a request waits for. [`HeldRequests::hold`] and [`HeldRequests::take`] call nobody, so the owner
//! of the event may call both under a lock of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guarded::Guarded;
use super::presence::hung_up;
use super::{Presence, Responder, clock};
use crate::cluster::Uid;
use crate::fleetlock::{Kind, Reply};
use crate::reboot::{Caller, Tenure};

/// How long the thread sleeps when nothing is held.
const IDLE: Duration = Duration::from_secs(3600);

/// A pre-reboot request that waits.
pub(super) struct HeldRequest {
    pub(super) caller: Caller,
    pub(super) tenure: Option<Tenure>,
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
    /// One request a node, so that the requests of one node cannot take all places of the port.
    requests: HashMap<Uid, HeldRequest>,
    closed: bool,
}

impl HeldRequests {
    /// Holds `request`. Of two requests of one node the older is returned, and after [`Self::close`] this one, with its answer.
    /// Afterwards [`Self::drop_at_hang_up`] must be called.
    #[must_use]
    pub(super) fn hold(&self, request: HeldRequest) -> Option<(HeldRequest, Reply)> {
        let mut state = self.state.lock();
        let node = &request.caller.node;
        if state.closed {
            let message = format!("this replica is stopping; node {node} keeps its slot and asks again");
            return Some((request, Reply::refusal(Kind::ShuttingDown, message)));
        }
        let message = format!("a newer request of node {node} has taken the place of this one: only the newest is held");
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

    /// Holds a request no longer than its client is there.
    pub(super) fn drop_at_hang_up(self: &Arc<Self>, presence: &Presence) {
        let this = Arc::clone(self);
        presence.when_gone(move || {
            let gone: Vec<_> = this.state.lock().requests.extract_if(|_uid, held| held.presence.is_gone()).collect();
            for (_uid, held) in gone {
                (held.responder)(Reply::refusal(Kind::BadRequest, hung_up(&held.caller.node)));
            }
        });
    }

    /// The request held for the node `uid`, which is not held any more, unless it acts under a later tenure than `term`.
    pub(super) fn take(&self, uid: &Uid, term: u64) -> Option<HeldRequest> {
        let mut state = self.state.lock();
        let tenure = state.requests.get(uid)?.tenure.as_ref();
        if tenure.is_none_or(|tenure| tenure.term <= term) { state.requests.remove(uid) } else { None }
    }

    /// From now on nothing is held. Returns the requests that were, each with its answer.
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

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use jiff::Timestamp;

    use super::*;
    use crate::cluster::{HexId, NodeName};
    use crate::fleetlock::GroupName;

    const LONG: Duration = Duration::from_secs(60);

    /// A request of the node `n` under term 5, and where its answer arrives.
    pub(in super::super) fn request(limit: Duration) -> (HeldRequest, Receiver<Kind>) {
        let (sender, answer) = channel();
        let (node, uid, group) = (NodeName("n".to_owned()), Uid("u".to_owned()), GroupName::parse("g").unwrap());
        let caller = Caller { node, uid, id: HexId([0; 16]), group, arrived: Timestamp::UNIX_EPOCH };
        let tenure = Some(Tenure { term: 5, approved: None, checked_in: false });
        let responder = Box::new(move |reply: Reply| sender.send(reply.kind()).unwrap());
        let deadline = clock::now().instant + limit;
        (HeldRequest { caller, tenure, deadline, presence: Arc::default(), responder }, answer)
    }

    #[track_caller]
    fn check(rejected: Option<(HeldRequest, Reply)>, want: Option<(Instant, Kind)>) {
        assert_eq!(rejected.map(|(request, reply)| (request.deadline, reply.kind())), want);
    }

    #[test]
    fn of_two_requests_of_a_node_the_newer_is_held() {
        let held = HeldRequests::default();
        let [first, second, late] = [10, 30, 20].map(|seconds| request(Duration::from_secs(seconds)).0);
        let deadlines = [&first, &second, &late].map(|request| request.deadline);
        check(held.hold(first), None);
        check(held.hold(second), Some((deadlines[0], Kind::Superseded)));
        check(held.hold(late), Some((deadlines[2], Kind::Superseded)));
        assert_eq!(held.take(&Uid("u".to_owned()), 5).map(|request| request.deadline), Some(deadlines[1]));
    }

    #[test]
    fn a_request_is_taken_once_and_not_for_an_earlier_term() {
        let (held, uid) = (HeldRequests::default(), Uid("u".to_owned()));
        check(held.hold(request(LONG).0), None);
        let taken = [4, 6, 6].map(|term| held.take(&uid, term).is_some());
        assert_eq!(taken, [false, true, false]);
    }

    #[test]
    fn nothing_is_held_once_the_replica_stops() {
        let held = HeldRequests::default();
        check(held.hold(request(LONG).0), None);
        assert_eq!(held.close().into_iter().map(|(_, reply)| reply.kind()).collect::<Vec<_>>(), [Kind::ShuttingDown]);
        let late = request(LONG).0;
        let deadline = late.deadline;
        check(held.hold(late), Some((deadline, Kind::ShuttingDown)));
        assert!(held.take(&Uid("u".to_owned()), 5).is_none() && held.close().is_empty());
        held.answer_at_deadlines(|_caller| unreachable!());
    }

    #[test]
    fn a_client_that_hangs_up_before_or_after_its_request_is_held_is_not_held() {
        for gone_before in [true, false] {
            let held = Arc::<HeldRequests>::default();
            let (request, answer) = request(LONG);
            let presence = Arc::clone(&request.presence);
            if gone_before {
                presence.hang_up();
            }
            check(held.hold(request), None);
            held.drop_at_hang_up(&presence);
            presence.hang_up();
            assert_eq!(answer.try_recv(), Ok(Kind::BadRequest), "{gone_before}");
            assert!(held.take(&Uid("u".to_owned()), 5).is_none());
        }
    }

    #[test]
    fn a_request_is_answered_at_its_deadline_also_when_an_earlier_one_comes() {
        let held = HeldRequests::default();
        let (mut other, _answer) = request(LONG);
        other.caller.uid = Uid("other".to_owned());
        std::thread::scope(|scope| {
            scope.spawn(|| held.answer_at_deadlines(|caller| Reply::refusal(Kind::Draining, caller.node.to_string())));
            check(held.hold(other), None);
            for limit in [Duration::ZERO, Duration::from_millis(1)] {
                let (request, answer) = request(limit);
                check(held.hold(request), None);
                assert_eq!(answer.recv_timeout(LONG), Ok(Kind::Draining));
            }
            assert_eq!(held.close().len(), 1);
        });
    }
}
