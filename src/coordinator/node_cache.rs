//! The one view of the fleet, for all threads: a list of all Nodes, kept up to date by the watch.
//!
//! The view may be late, so it decides nothing alone. What must be exact comes from a **barrier**: a write to the caller's own
//! Node, and then the view once the watch has delivered that very write. Where the watch does not deliver it, a list is read.

use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::Error;
use crate::cluster::{HexId, NodeEvent, NodeMeta, NodeName, ResourceVersion, join_names};
use crate::fleetlock::{Fleet, Found, NodeRef, WatchError};
use crate::kube::Kube;
use crate::reboot::FleetFacts;
use crate::system::clock;
use crate::system::guarded::Guarded;

/// Maximum time for the watch to deliver a write. Usual are a few milliseconds; a list costs far more than this wait.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// Maximum time to continue a watch that has ended. A server that was restored from a backup takes longer to start.
const RESUME_TIME_MAX: Duration = Duration::from_secs(5);

/// Maximum time to wait for the first watch.
const FIRST_WATCH_MAX: Duration = Duration::from_secs(10);

/// Minimum time between two lists that unknown callers may cause while there is no watch.
const LIST_EVERY_MIN: Duration = Duration::from_secs(2);

/// Without a watch, such lists may take up this share of the time: a large cluster's is read less often.
const LIST_SHARE: u32 = 10;

/// A list that is no older than this is a beginning for a watch, and enough where lateness does no harm.
const LIST_AGE_MAX: Duration = Duration::from_secs(5);

/// The view, and the threads that wait for a newer one.
pub(super) struct NodeCache {
    state: Guarded<State>,
    /// Held by the thread that reads a list.
    listing: Guarded<()>,
    waiters_max: usize,
}

#[derive(Default)]
struct State {
    fleet: Fleet,
    /// A watch keeps the fleet up to date.
    watched: bool,
    /// A watch has begun, or could not.
    tried: bool,
    /// Time at which the watch ended that is about to be continued.
    lapsed_at: Option<Instant>,
    /// Grows when the view is not trusted any more: events of a watch that began before are refused.
    epoch: u64,
    /// Start of the last list.
    listed_at: Option<Instant>,
    /// Duration of that list.
    list_took: Duration,
    waiters: usize,
}

/// Reason for which an event was not applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    /// The view is distrusted: a write was not delivered, or had an invalid version.
    Replaced,
    /// The event does not continue the view.
    Watch(WatchError),
}

/// The beginning of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) epoch: u64,
    pub(super) version: u128,
}

impl NodeCache {
    /// `waiters_max`: the number of threads that may wait for a list because of an unknown id.
    pub(super) fn new(waiters_max: usize) -> Self {
        Self { state: Guarded::default(), listing: Guarded::default(), waiters_max: waiters_max.max(1) }
    }

    /// Searches by a client's id. A list is read only when no node is found and there is no watch.
    pub(super) fn find(&self, id: HexId, kube: &Kube) -> Result<Found, Error> {
        let listed_at = {
            let state = self.state.lock();
            match state.fleet.find(id) {
                Found::Node(node) => return Ok(Found::Node(node)),
                found if state.is_watched() => return Ok(found),
                _ => state.listed_at,
            }
        };
        self.list_for_unknown_caller(listed_at, kube)?;
        Ok(self.state.lock().fleet.find(id))
    }

    /// Searches again, since `stale` turned out not to be the node of `id`: in what the watch brings, or else in a new list.
    pub(super) fn find_again(&self, id: HexId, stale: &NodeRef, kube: &Kube) -> Result<Found, Error> {
        let is_stale = |state: &State| matches!(state.fleet.find(id), Found::Node(node) if node == *stale);
        let listed_at = {
            let mut state = self.state.wait(DELIVERY_MAX, |state| !state.watched || !is_stale(state));
            if !is_stale(&state) {
                return Ok(state.fleet.find(id));
            }
            state.distrust();
            self.state.wake();
            state.listed_at
        };
        self.list_for_unknown_caller(listed_at, kube)?;
        Ok(self.state.lock().fleet.find(id))
    }

    /// The node of `id`, as far as is known; nothing is read.
    pub(super) fn known(&self, id: HexId) -> Option<NodeName> {
        match self.state.lock().fleet.find(id) {
            Found::Node(node) => Some(node.name),
            Found::Many(_) | Found::NoNode => None,
        }
    }

    /// Reports whether the known view shows the rebooting annotation or a cordon record of ours; nothing is read.
    pub(super) fn is_marked(&self, name: &NodeName) -> bool {
        self.state.lock().fleet.member(name).is_some_and(crate::cluster::Member::is_marked)
    }

    /// The facts as far as they are known; without a watch, those of a list that was complete no earlier than this call began.
    pub(super) fn cached_facts(&self, kube: &Kube) -> Result<FleetFacts, Error> {
        let now = clock::now().instant;
        // The program has just started: the watch begins with a list, and a second one only delays it.
        drop(self.state.wait(FIRST_WATCH_MAX, |state| state.tried));
        let is_enough = |state: &State| state.is_watched() || state.listed_at.is_some_and(|at| at + state.list_took >= now);
        self.list(kube, |state| if is_enough(state) { Wanted::Not } else { Wanted::Now })?;
        Ok(FleetFacts::of(&self.state.lock().fleet))
    }

    /// The facts with no change missing that was written before `own`, or, where nothing was written, before this call.
    pub(super) fn facts_since(&self, own: Option<&NodeMeta>, kube: &Kube) -> Result<FleetFacts, Error> {
        let now = clock::now().instant;
        if let Some(facts) = own.and_then(|own| self.arrived(own, DELIVERY_MAX)) {
            return Ok(facts);
        }
        self.list_begun_after(now, kube)?;
        Ok(FleetFacts::of(&self.state.lock().fleet))
    }

    /// The facts once the write of `own` has arrived; `None` when the watch does not deliver it in time.
    fn arrived(&self, own: &NodeMeta, limit: Duration) -> Option<FleetFacts> {
        let mut state = self.state.wait(limit, |state| !state.watched || state.fleet.shows(own));
        if state.watched && state.fleet.shows(own) {
            return Some(FleetFacts::of(&state.fleet));
        }
        if state.watched {
            warn!("the watch of nodes did not deliver a write of node {} in time; listing all nodes", own.name);
            state.distrust();
            self.state.wake();
        }
        None
    }

    /// The version of the view while a watch keeps it.
    pub(super) fn version(&self) -> Option<u128> {
        let state = self.state.lock();
        state.fleet.version().filter(|_| state.watched)
    }

    /// Compares the version that a write got with the view's version `before` the write. A version that is not greater shows
    /// that versions start over, as after etcd was restored from a backup, and that the view is of another history.
    pub(super) fn check(&self, before: Option<u128>, written: &ResourceVersion) {
        let Some(before) = before.filter(|before| written.number().is_none_or(|written| written <= *before)) else { return };
        warn!("a write got version {written:?}, but the watch of nodes is at version {before}; listing all nodes");
        self.state.lock().distrust();
        self.state.wake();
    }

    /// A view for a watch to continue: the one there is, if its list is young enough, else that of a new list. `None`: the
    /// server's versions cannot be compared.
    pub(super) fn start(&self, kube: &Kube) -> Result<Option<Start>, Error> {
        let now = clock::now().instant;
        self.list(kube, |state| if state.is_young(now) { Wanted::Not } else { Wanted::Now })?;
        let state = self.state.lock();
        Ok(state.fleet.version().map(|version| Start { epoch: state.epoch, version }))
    }

    /// The server has agreed to a watch from `start` on. `false`: the view is another one by now, or the watch comes too late to
    /// continue an earlier one.
    pub(super) fn begin(&self, start: Start) -> bool {
        let mut state = self.state.lock();
        let in_time = state.lapsed_at.take().is_none_or(|at| clock::now().instant.saturating_duration_since(at) < RESUME_TIME_MAX);
        state.tried = true;
        state.watched = state.epoch == start.epoch && in_time && state.fleet.watch_from(start.version);
        self.state.wake();
        state.watched
    }

    /// Applies an event of the watch that began at `start`.
    pub(super) fn apply(&self, start: Start, event: NodeEvent) -> Result<(), NotApplied> {
        let mut state = self.state.lock();
        if state.epoch != start.epoch {
            return Err(NotApplied::Replaced);
        }
        state.log_machine(&event);
        let applied = state.fleet.apply(event).map_err(NotApplied::Watch);
        drop(state);
        self.state.wake();
        applied
    }

    /// Returns where the watch that began at `start` and has ended can be continued; `None` if the view has been replaced since.
    pub(super) fn resume(&self, start: Start) -> Option<Start> {
        let mut state = self.state.lock();
        state.lapsed_at = Some(clock::now().instant);
        state.fleet.version().filter(|_| state.watched && state.epoch == start.epoch).map(|version| Start { version, ..start })
    }

    /// No watch keeps the view any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.tried = true;
        state.distrust();
        self.state.wake();
    }

    /// Reads a list unless one was begun later than `than`. At most `waiters_max` threads wait for it, so that
    /// requests of known nodes find a free thread, whatever unknown callers send.
    fn list_for_unknown_caller(&self, than: Option<Instant>, kube: &Kube) -> Result<(), Error> {
        {
            let mut state = self.state.lock();
            // Before the first list no node is known, so no known node can be kept waiting.
            if state.waiters >= self.waiters_max && state.listed_at.is_some() {
                return Err(Error::Contended);
            }
            state.waiters += 1;
        }
        let result = self.list(kube, |state| match state.listed_at {
            at if at > than => Wanted::Not,
            _ if state.is_watched() => Wanted::Not,
            None => Wanted::Now,
            Some(at) => Wanted::NotBefore(at + LIST_EVERY_MIN.max(state.list_took * LIST_SHARE)),
        });
        self.state.lock().waiters -= 1;
        result
    }

    /// Reads a list unless one was begun at `moment` or later.
    fn list_begun_after(&self, moment: Instant, kube: &Kube) -> Result<(), Error> {
        self.list(kube, |state| if state.listed_at.is_some_and(|at| at >= moment) { Wanted::Not } else { Wanted::Now })
    }

    /// Reads all Nodes into the view, if that is still wanted when no other thread does.
    fn list(&self, kube: &Kube, wanted: impl Fn(&State) -> Wanted) -> Result<(), Error> {
        loop {
            let state = self.state.lock();
            let rest = match wanted(&state) {
                Wanted::Not => return Ok(()),
                Wanted::NotBefore(moment) => moment.saturating_duration_since(clock::now().instant),
                Wanted::Now => Duration::ZERO,
            };
            if rest.is_zero() {
                break;
            }
            let listed_at = state.listed_at;
            drop(state);
            // No thread that needs a list now waits for this one.
            drop(self.state.wait(rest, |state| state.watched || state.listed_at != listed_at));
        }
        let _one_at_a_time = self.listing.lock();
        if matches!(wanted(&self.state.lock()), Wanted::Not) {
            return Ok(());
        }
        let at = clock::now().instant;
        let (all, version) = kube.nodes(Fleet::default, Fleet::add)?;
        let mut fleet = all.into_inner().finish(&version);
        let invalid = fleet.without_machine_id();
        if !invalid.is_empty() {
            warn!("the machine-id of these nodes is empty or invalid, so their requests are refused: {}", join_names(&invalid));
        }
        debug!("listed all nodes: {}", fleet.members().len());
        let mut state = self.state.lock();
        if state.watched && !fleet.continue_watch_of(&state.fleet) {
            state.distrust();
        }
        state.fleet = fleet;
        state.listed_at = Some(at);
        state.list_took = clock::now().instant.saturating_duration_since(at);
        drop(state);
        self.state.wake();
        Ok(())
    }
}

/// Decision about reading a list.
enum Wanted {
    Not,
    NotBefore(Instant),
    Now,
}

impl State {
    /// Reports whether a watch keeps the view up to date, or is being continued and may soon.
    fn is_watched(&self) -> bool {
        self.watched && self.lapsed_at.is_none_or(|at| clock::now().instant.saturating_duration_since(at) < RESUME_TIME_MAX)
    }

    fn is_young(&self, now: Instant) -> bool {
        self.listed_at.is_some_and(|at| now.saturating_duration_since(at + self.list_took) < LIST_AGE_MAX)
    }

    fn distrust(&mut self) {
        (self.watched, self.lapsed_at) = (false, None);
        self.epoch += 1;
    }

    fn log_machine(&self, event: &NodeEvent) {
        let (NodeEvent::Added(member) | NodeEvent::Modified(member)) = event else { return };
        let known = self.fleet.member(&member.name);
        match (known.map(|known| known.machine_id), member.machine_id) {
            (Some(before), now) if before == now => {}
            (_, Some(_)) => info!("node {} is new, or has another machine-id", member.name),
            (_, None) => warn!("the machine-id of node {} is empty or invalid, so its requests are refused", member.name),
        }
    }
}

#[cfg(test)]
mod tests;
