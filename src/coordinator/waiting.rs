//! Requests held open: values, not sleeping threads. Each is answered by the end of its drain or by its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draining::State;
use super::{Asking, Coordinator};
use crate::drain::Progress;
use crate::fleetlock::{Kind, Reply};
use crate::system::clock;

/// How long the thread sleeps when nothing is held.
const IDLE: Duration = Duration::from_secs(3600);

impl Coordinator {
    /// Answers each held request with how far its drain has come, when its time is over. Runs until the process stops.
    pub(super) fn watch_deadlines(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.stopping {
                return;
            }
            let now = clock::now().instant;
            let over: Vec<Asking> = state.parked.extract_if(.., |asking| asking.deadline <= now).collect();
            let answers: Vec<_> = over.into_iter().map(|asking| (not_yet(&state, &asking), asking.responder)).collect();
            let next = earliest(&state);
            drop(state);
            for (reply, responder) in answers {
                responder(reply);
            }
            let limit = next.map_or(IDLE, |next| next.saturating_duration_since(clock::now().instant));
            drop(self.state.wait(limit, |state| state.stopping || earliest(state) != next));
        }
    }
}

impl State {
    /// Holds a request, unless a newer one of its node is held. The older of the two is returned, to be answered.
    pub(super) fn hold(&mut self, asking: Asking) -> Option<Asking> {
        match self.parked.iter_mut().find(|held| held.caller.uid == asking.caller.uid) {
            // Each is held for the same time, so the newer one has the later deadline.
            Some(held) if held.deadline > asking.deadline => Some(asking),
            Some(held) => Some(std::mem::replace(held, asking)),
            None => {
                self.parked.push(asking);
                None
            }
        }
    }
}

fn earliest(state: &State) -> Option<Instant> {
    state.parked.iter().map(|asking| asking.deadline).min()
}

fn not_yet(state: &State, asking: &Asking) -> Reply {
    let progress = state.running.get(&asking.caller.uid).map(|running| running.progress.clone());
    let Progress { clause, blocked } = progress.unwrap_or_default();
    let kind = if blocked { Kind::DrainBlocked } else { Kind::Draining };
    let clause = if clause.is_empty() { "is being drained".to_owned() } else { clause };
    Reply::refusal(kind, format!("node {} {clause}; the drain goes on, ask again", asking.caller.node))
}
