//! The view of the fleet, shared by all threads: a list of all Nodes, kept up to date by the watch.
//!
//! The view may be late, so it decides nothing alone. Facts that must be exact come from a **barrier**: a write to the caller's own
//! Node, and then the view once the watch has delivered that same write. If the watch does not deliver it, a list is read.

use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::Error;
use crate::cluster::{HexId, NodeEvent, NodeMeta, NodeName, ResourceVersion, join_names};
use crate::fleetlock::{Fleet, Found, NodeRef, WatchError};
use crate::kube::Kube;
use crate::reboot::FleetFacts;
use crate::system::clock;
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;

/// Maximum time for the watch to deliver a write. Usually a few milliseconds suffice, and a list costs far more than this wait.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// Maximum time between the end of a watch and its continuation. A server that was restored from a backup takes longer to start.
const RESUME_TIME_MAX: Duration = Duration::from_secs(5);

/// Maximum time to wait for the first watch.
const FIRST_WATCH_MAX: Duration = Duration::from_secs(10);

/// Minimum time between two lists for unknown callers while there is no watch.
const LIST_EVERY_MIN: Duration = Duration::from_secs(2);

/// Pause after a list for an unknown caller, as a multiple of its duration: the lists of a large cluster are read less often.
const LIST_SHARE: u32 = 10;

/// Maximum age of a list from which a watch begins.
const LIST_AGE_MAX: Duration = Duration::from_secs(5);

/// The view of the fleet.
pub(super) struct NodeCache {
    state: Guarded<State>,
    /// Locked by the thread that reads a list.
    listing: Guarded<()>,
    waiters_max: usize,
}

#[derive(Default)]
struct State {
    fleet: Fleet,
    /// A watch keeps the fleet up to date.
    watched: bool,
    /// The first watch has begun or failed.
    attempted: bool,
    /// Time at which the last watch ended, until it is continued.
    interrupted_at: Option<Instant>,
    /// Incremented when the view becomes invalid. Events of a watch from an earlier epoch are refused.
    epoch: u64,
    /// Start of the last list.
    listed_at: Option<Instant>,
    /// Duration of that list.
    list_took: Duration,
    waiters: usize,
    repeats: Repeats,
}

/// Reason why an event was not applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    /// The view became invalid: a write was not delivered, or got an invalid version.
    Replaced,
    /// The event does not continue the view.
    Watch(WatchError),
}

/// Position from which a watch continues the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) epoch: u64,
    pub(super) version: u128,
}

impl NodeCache {
    /// Creates an empty view. `waiters_max`: maximum number of threads that wait for a list because of an unknown id.
    pub(super) fn new(waiters_max: usize) -> Self {
        Self { state: Guarded::default(), listing: Guarded::default(), waiters_max: waiters_max.max(1) }
    }

    /// Searches by a client's id. A list is read only if no node is found and there is no watch.
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

    /// Searches again after `stale` has proved to be outdated: in the view once the watch has updated it, else in a new list.
    pub(super) fn find_again(&self, id: HexId, stale: &NodeRef, kube: &Kube) -> Result<Found, Error> {
        let is_stale = |state: &State| matches!(state.fleet.find(id), Found::Node(node) if node == *stale);
        let listed_at = {
            let mut state = self.state.wait(DELIVERY_MAX, |state| !state.watched || !is_stale(state));
            if !is_stale(&state) {
                return Ok(state.fleet.find(id));
            }
            state.invalidate();
            self.state.wake();
            state.listed_at
        };
        self.list_for_unknown_caller(listed_at, kube)?;
        Ok(self.state.lock().fleet.find(id))
    }

    /// Searches the view alone; nothing is read.
    pub(super) fn find_cached(&self, id: HexId) -> Option<NodeName> {
        match self.state.lock().fleet.find(id) {
            Found::Node(node) => Some(node.name),
            Found::Many(_) | Found::NoNode => None,
        }
    }

    /// Reports whether the view shows the rebooting annotation or a cordon of ours on the node; nothing is read.
    pub(super) fn has_our_annotations(&self, name: &NodeName) -> bool {
        self.state.lock().fleet.member(name).is_some_and(crate::cluster::Member::has_our_annotations)
    }

    /// Returns the facts of the view, possibly late. Without a watch, they are of a list that ended after this call began.
    pub(super) fn cached_facts(&self, kube: &Kube) -> Result<FleetFacts, Error> {
        let now = clock::now().instant;
        // The program has just started. Its watch begins with a list, which a second list would only delay.
        drop(self.state.wait(FIRST_WATCH_MAX, |state| state.attempted));
        let is_enough = |state: &State| state.is_watched() || state.listed_at.is_some_and(|at| at + state.list_took >= now);
        self.list(kube, |state| if is_enough(state) { Listing::Skip } else { Listing::Now })?;
        Ok(FleetFacts::of(&self.state.lock().fleet))
    }

    /// Returns the facts with every change that was written before `own`, or without `own`, before this call.
    pub(super) fn facts_since(&self, own: Option<&NodeMeta>, kube: &Kube) -> Result<FleetFacts, Error> {
        let now = clock::now().instant;
        if let Some(facts) = own.and_then(|own| self.arrived(own, DELIVERY_MAX)) {
            return Ok(facts);
        }
        self.list_begun_after(now, kube)?;
        Ok(FleetFacts::of(&self.state.lock().fleet))
    }

    /// Waits for the write of `own`, and returns the facts; `None` if the watch does not deliver the write in time.
    fn arrived(&self, own: &NodeMeta, limit: Duration) -> Option<FleetFacts> {
        let mut state = self.state.wait(limit, |state| !state.watched || state.fleet.shows(own));
        if state.watched && state.fleet.shows(own) {
            return Some(FleetFacts::of(&state.fleet));
        }
        if state.watched {
            warn!(node:% = own.name; "the watch of nodes did not deliver a write of node {} in time; listing all nodes", own.name);
            state.invalidate();
            self.state.wake();
        }
        None
    }

    /// Returns the version of the view, if a watch keeps it up to date.
    pub(super) fn version(&self) -> Option<u128> {
        let state = self.state.lock();
        state.fleet.version().filter(|_| state.watched)
    }

    /// Compares the version of a write with the view's version `before` the write. If it is not greater, etcd was restored from a backup,
    /// and the view is of another history.
    pub(super) fn check(&self, before: Option<u128>, written: &ResourceVersion) {
        let Some(before) = before.filter(|before| written.number().is_none_or(|written| written <= *before)) else { return };
        warn!("a write got version {written:?}, but the watch of nodes is at version {before}; listing all nodes");
        self.state.lock().invalidate();
        self.state.wake();
    }

    /// Returns the position from which a watch can continue. An old list is replaced first. `None`: the server's versions cannot be
    /// compared.
    pub(super) fn start(&self, kube: &Kube) -> Result<Option<Start>, Error> {
        let now = clock::now().instant;
        self.list(kube, |state| if state.is_recent(now) { Listing::Skip } else { Listing::Now })?;
        let state = self.state.lock();
        Ok(state.fleet.version().map(|version| Start { epoch: state.epoch, version }))
    }

    /// Begins a watch that the server has accepted from `start` on. Returns `false` if the view has changed meanwhile, or if the watch
    /// continues an earlier one too late.
    pub(super) fn begin(&self, start: Start) -> bool {
        let mut state = self.state.lock();
        let in_time = state.interrupted_at.take().is_none_or(|at| clock::now().instant.saturating_duration_since(at) < RESUME_TIME_MAX);
        state.attempted = true;
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

    /// Returns the position from which to continue the watch that began at `start` and has ended; `None` if the view was replaced.
    pub(super) fn resume(&self, start: Start) -> Option<Start> {
        let mut state = self.state.lock();
        state.interrupted_at = Some(clock::now().instant);
        state.fleet.version().filter(|_| state.watched && state.epoch == start.epoch).map(|version| Start { version, ..start })
    }

    /// Records that no watch keeps the view up to date.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.attempted = true;
        state.invalidate();
        self.state.wake();
    }

    /// Reads a list unless one began later than `than`. At most `waiters_max` threads wait for it, so that unknown callers cannot use up
    /// the threads that known nodes need.
    fn list_for_unknown_caller(&self, than: Option<Instant>, kube: &Kube) -> Result<(), Error> {
        {
            let mut state = self.state.lock();
            // Before the first list no node is known, so no known node waits.
            if state.waiters >= self.waiters_max && state.listed_at.is_some() {
                return Err(Error::Contended);
            }
            state.waiters += 1;
        }
        let result = self.list(kube, |state| match state.listed_at {
            at if at > than => Listing::Skip,
            _ if state.is_watched() => Listing::Skip,
            None => Listing::Now,
            Some(at) => Listing::NotBefore(at + LIST_EVERY_MIN.max(state.list_took * LIST_SHARE)),
        });
        self.state.lock().waiters -= 1;
        result
    }

    /// Reads a list unless one began at `moment` or later.
    fn list_begun_after(&self, moment: Instant, kube: &Kube) -> Result<(), Error> {
        self.list(kube, |state| if state.listed_at.is_some_and(|at| at >= moment) { Listing::Skip } else { Listing::Now })
    }

    /// Reads all Nodes into the view. `wanted` decides, and is asked again after another thread has read a list.
    fn list(&self, kube: &Kube, wanted: impl Fn(&State) -> Listing) -> Result<(), Error> {
        loop {
            let state = self.state.lock();
            let rest = match wanted(&state) {
                Listing::Skip => return Ok(()),
                Listing::NotBefore(moment) => moment.saturating_duration_since(clock::now().instant),
                Listing::Now => Duration::ZERO,
            };
            if rest.is_zero() {
                break;
            }
            let listed_at = state.listed_at;
            drop(state);
            // This thread has no lock here, so it delays no thread that needs a list now.
            drop(self.state.wait(rest, |state| state.watched || state.listed_at != listed_at));
        }
        let _one_at_a_time = self.listing.lock();
        if matches!(wanted(&self.state.lock()), Listing::Skip) {
            return Ok(());
        }
        let at = clock::now().instant;
        let (all, version) = kube.nodes(Fleet::default, Fleet::add)?;
        let mut fleet = all.into_inner().finish(&version);
        let invalid = fleet.without_machine_id();
        debug!("listed all nodes: {}", fleet.members().len());
        let mut state = self.state.lock();
        let names = join_names(&invalid);
        if !invalid.is_empty() && state.repeats.due(&names, at).is_some() {
            warn!("the machine-id of these nodes is empty or invalid, so their requests are refused: {names}");
        }
        if state.watched && !fleet.continue_watch_of(&state.fleet) {
            state.invalidate();
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
enum Listing {
    NotBefore(Instant),
    Now,
    Skip,
}

impl State {
    /// Reports whether a watch keeps the view up to date, or is just being continued.
    fn is_watched(&self) -> bool {
        self.watched && self.interrupted_at.is_none_or(|at| clock::now().instant.saturating_duration_since(at) < RESUME_TIME_MAX)
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.listed_at.is_some_and(|at| now.saturating_duration_since(at + self.list_took) < LIST_AGE_MAX)
    }

    fn invalidate(&mut self) {
        (self.watched, self.interrupted_at) = (false, None);
        self.epoch += 1;
    }

    fn log_machine(&self, event: &NodeEvent) {
        let (NodeEvent::Added(member) | NodeEvent::Modified(member)) = event else { return };
        let known = self.fleet.member(&member.name);
        match (known.map(|known| known.machine_id), member.machine_id) {
            (Some(before), now) if before == now => {}
            (_, Some(_)) => info!(node:% = member.name; "node {} is new, or has another machine-id", member.name),
            (_, None) => {
                warn!(node:% = member.name; "the machine-id of node {} is empty or invalid, so its requests are refused", member.name)
            }
        }
    }
}

#[cfg(test)]
mod tests;
