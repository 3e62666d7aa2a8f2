//! Facts that one request has read so far.

use std::time::Instant;

use jiff::Timestamp;

use super::{LockChange, NodeChange};
use crate::cluster::{
    Before, Complete, Hosts, LeaseVersion, Member, Node, NodeMeta, NodeName, Pod, ReadyCondition, Status, Term, Uid, Unavailable,
};
use crate::fleetlock::{Fleet, Kind};
use crate::lock::{Holder, LockState, Place, Times};

/// A fact, and its place in the order in which facts were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<T> {
    /// The fact.
    pub value: T,
    /// Position of the fact: its reading began after every fact with a smaller tick was complete. A Node after `Drained` keeps the position
    /// of the read before it, and [`FleetFacts`] may be older.
    pub tick: u64,
    /// Time at which the read began.
    pub at: Instant,
}

/// A term of a slot when this request first read it or began it. A later term of the same node differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTerm {
    /// Number of the term.
    pub term: u64,
    /// Time of the last approval.
    pub approved: Option<Timestamp>,
    /// The node has checked in during the term.
    pub checked_in: bool,
}

/// The lock as read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The slots and their holders.
    pub state: LockState,
    /// The Lease that holds it; `None` if the Lease does not exist yet.
    pub version: Option<LeaseVersion>,
    /// The write of this request that made this state; `None`: it was read.
    pub written: Option<LockChange>,
}

/// The known state of the other nodes.
///
/// [`Fact::FleetCached`] may be of any age. In [`Fact::Fleet`] **no change is missing** that was written before a certain moment:
///
/// - If this request has written its own Node, and has read no newer state of it: the moment of that write, [`Observed::own_write`].
///   Of two nodes marked at the same time, one then sees the other: a node marked before our write is among the members, and a node
///   marked later finds ours when it reads again.
/// - Otherwise: the moment at which the read began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetFacts {
    /// The nodes with the rebooting annotation or a record of our cordon, and those of the control plane; by name.
    pub members: Vec<Member>,
    /// The nodes that wait for a slot and could take it, in the order of their turns; at most 64.
    pub queue: Vec<Place>,
}

/// Maximum length of a queue. A node with more others before it must wait in any case.
const QUEUE_MAX: usize = 64;

/// A fact that was read, or the answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The other nodes that may run our own pods.
    OtherHosts(Hosts),
    /// The fleet, with no change missing up to the moment that [`FleetFacts`] names.
    Fleet(FleetFacts),
    /// The fleet, possibly late.
    FleetCached(FleetFacts),
    /// The lock.
    Lock(Lock),
    /// The Node's metadata; `None`: there is no such Node.
    Meta(Option<NodeMeta>),
    /// The Node, as read or as the named change has left it; `None`: there is no such Node.
    Node(Option<Node>, Option<NodeChange>),
    /// The pods of the node.
    Pods(Complete<Vec<Pod>>),
    /// The Node with the caller's machine-id, if the caller's own Node is gone; `None`: there is none.
    Renamed(Option<Node>),
}

/// All facts of one request. `None`: not read yet, or no longer valid.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The Node that the request is about.
    pub uid: Uid,
    /// Number of facts recorded.
    pub ticks: u64,
    /// The Node's metadata after this request's own write, until the Node is read again.
    pub own_write: Option<NodeMeta>,
    /// Term for which this request may write: the first that it has read, or the one that it began. A later term of the node supersedes
    /// the request.
    pub term: Option<HeldTerm>,
    /// Slot of the node at the first read of the lock, or after this request's last write. A check-in is superseded if the slot has changed
    /// since.
    pub first: Option<Option<HeldTerm>>,
    /// The other nodes that may run our own pods.
    pub other_hosts: Option<Reading<Hosts>>,
    /// The fleet, with no change missing up to the moment that [`FleetFacts`] names.
    pub fleet: Option<Reading<FleetFacts>>,
    /// The fleet, possibly late: may refuse a node, never approve one.
    pub fleet_cached: Option<Reading<FleetFacts>>,
    /// The lock.
    pub lock: Option<Reading<Lock>>,
    /// The Node's metadata.
    pub meta: Option<Reading<Option<NodeMeta>>>,
    /// The Node.
    pub node: Option<Reading<Option<Node>>>,
    /// The pods of the node.
    pub pods: Option<Reading<Complete<Vec<Pod>>>>,
    /// The Node with the caller's machine-id, if the caller's own Node is gone.
    pub renamed: Option<Reading<Option<Node>>>,
}

impl Observed {
    /// Creates an empty record for the node `uid`. `term`: the term under which an earlier part of this request acted.
    pub fn new(uid: Uid, term: Option<HeldTerm>) -> Self {
        Self { uid, term, ..Self::default() }
    }

    /// Records a fact whose reading began at `at`.
    pub fn record(&mut self, fact: Fact, at: Instant) {
        self.ticks += 1;
        let tick = self.ticks;
        match fact {
            Fact::OtherHosts(value) => self.other_hosts = Some(Reading { value, tick, at }),
            Fact::Fleet(value) => self.fleet = Some(Reading { value, tick, at }),
            Fact::FleetCached(value) => self.fleet_cached = Some(Reading { value, tick, at }),
            Fact::Lock(value) => {
                let held = value.state.holder(&self.uid).map(HeldTerm::of);
                let own = value.written.is_some();
                if own || self.term.is_none() {
                    self.term.clone_from(&held);
                }
                if own || self.first.is_none() {
                    self.first = Some(held);
                }
                self.lock = Some(Reading { value, tick, at });
            }
            Fact::Meta(value) => self.meta = Some(Reading { value, tick, at }),
            Fact::Node(value, change) => self.record_node(value, change, tick, at),
            Fact::Pods(value) => self.pods = Some(Reading { value, tick, at }),
            Fact::Renamed(value) => self.renamed = Some(Reading { value, tick, at }),
        }
    }

    fn record_node(&mut self, value: Option<Node>, change: Option<NodeChange>, tick: u64, at: Instant) {
        let before = self.node.take();
        if !matches!(change, Some(NodeChange::Restore | NodeChange::RestoreCordoned | NodeChange::Wait)) {
            // The Node may have our own annotation now, even if the answer to the write was lost. Other nodes can see it from now on,
            // so the fleet must be read again.
            self.fleet = None;
        }
        let written = value.as_ref().filter(|_| matches!(change, Some(NodeChange::Drained | NodeChange::Mark | NodeChange::MarkAgain)));
        // A patch that changed nothing got no new version, so the watch has nothing to deliver.
        let is_new =
            |node: &&Node| before.as_ref().and_then(|before| before.value.as_ref()).is_none_or(|old| old.meta.version != node.meta.version);
        self.own_write = written.filter(is_new).map(|node| node.meta.clone());
        // `drained` is written over the version that was read, so the rest of the Node has not changed since that read.
        let (tick, at) = match before {
            Some(before) if change == Some(NodeChange::Drained) => (before.tick, before.at),
            _ => (tick, at),
        };
        self.node = Some(Reading { value, tick, at });
    }

    /// Returns the fleet that was read last.
    pub fn newest_fleet(&self) -> Option<&Reading<FleetFacts>> {
        [&self.fleet, &self.fleet_cached].into_iter().flatten().max_by_key(|observed| observed.tick)
    }

    /// Forgets the lock, which has changed or may have.
    pub fn forget_lock(&mut self) {
        self.lock = None;
    }

    /// Forgets the Node, which has changed or may have.
    pub fn forget_node(&mut self) {
        self.node = None;
        self.own_write = None;
    }
}

impl FleetFacts {
    /// Selects the facts from `fleet`.
    pub fn of(fleet: &Fleet) -> Self {
        let matters = |member: &&Member| member.has_our_annotations() || member.control_plane;
        Self { members: fleet.members().iter().filter(matters).cloned().collect(), queue: queue(fleet.members()) }
    }

    /// Returns the clause that says why `holder` still holds its slot.
    pub fn state_of(&self, holder: &Holder, times: &Times) -> String {
        let is_not_ready = |member: &Member| member.name == holder.node && member.readiness == ReadyCondition::NotReady;
        holder.state(times, self.members.iter().any(is_not_ready))
    }

    /// Finds the nodes other than `own` that are marked as rebooting and hold no slot in `lock`. A node that was marked for a term of
    /// this Lease is none of them: its slot was given back, and the node is being restored.
    pub fn rebooting_without_slot(fleet: Option<&Reading<Self>>, lock: &Reading<Lock>, own: &NodeName) -> Others {
        let Some(fleet) = fleet else { return Others::NotRead };
        let holds = |member: &&Member| lock.value.state.holders.iter().any(|holder| holder.node == member.name);
        let marked = fleet.value.members.iter().filter(|member| member.status == Status::Rebooting && member.name != *own);
        let others: Vec<&Member> = marked.filter(|member| !holds(member) && !lock.value.has_issued(member)).collect();
        if !others.is_empty() && lock.tick < fleet.tick {
            return Others::LockTooOld;
        }
        Others::Known(others.into_iter().map(|member| member.name.clone()).collect())
    }
}

/// Result of [`FleetFacts::rebooting_without_slot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Others {
    /// Names of the rebooting nodes without a slot; may be empty.
    Known(Vec<NodeName>),
    /// Not known: the lock was read before the fleet. A node may have taken its slot in between, so the lock must be read again.
    LockTooOld,
    /// Not known: the fleet was not read yet.
    NotRead,
}

impl HeldTerm {
    /// Returns the current term of a holder.
    pub fn of(holder: &Holder) -> Self {
        let approved = holder.approved.as_ref().map(|approved| approved.at);
        Self { term: holder.term, approved, checked_in: holder.checked_in.is_some() }
    }

    /// Reports whether this is the term `first`, unchanged since except for a check-in.
    pub fn follows(&self, first: &Self) -> bool {
        self.term == first.term && self.approved == first.approved && (self.checked_in || !first.checked_in)
    }
}

impl Lock {
    /// Returns why the member is unavailable; `None` if it is available. If the member was marked for a term of this Lease that has
    /// ended, its annotation and cordon are being removed and do not count.
    pub(super) fn unavailable(&self, member: &Member) -> Option<Unavailable> {
        let mut left = member.clone();
        if self.has_issued(member) {
            left.status = Status::Ready;
            left.unschedulable &= member.record.as_ref().is_some_and(|record| record.before == Before::Unschedulable);
        }
        left.unavailable()
    }

    /// Reports whether the member was cordoned for a term that this Lease has issued.
    pub(super) fn has_issued(&self, member: &Member) -> bool {
        let lease = self.version.as_ref().map(|version| &version.uid);
        member.record.as_ref().is_some_and(|record| lease == Some(&record.term.lease) && record.term.term <= self.state.last_term)
    }

    /// Returns the full name of a term of this Lease.
    pub fn term(&self, term: u64) -> Term {
        Term { lease: self.version.as_ref().map(|version| version.uid.clone()).unwrap_or_default(), term }
    }
}

/// Lists the nodes that wait for a slot, in the order of their turns. A node that waits for something else, or is not Ready, could not take
/// a slot.
fn queue(members: &[Member]) -> Vec<Place> {
    let reasons = [Kind::Queued, Kind::SlotsTaken].map(Kind::name);
    let place = |member: &Member| {
        let waiting = member.waiting.as_ref().filter(|waiting| reasons.contains(&waiting.reason.as_str()))?;
        (member.readiness != ReadyCondition::NotReady).then(|| Place { since: waiting.since, node: member.name.clone() })
    };
    let mut queue: Vec<Place> = members.iter().filter_map(place).collect();
    queue.sort_unstable();
    queue.truncate(QUEUE_MAX);
    queue
}

/// Reports whether `node` is marked for another term than that of `holder`, and was read after the lock. That term may be newer than
/// the lock, so its annotation must not be removed.
pub(super) fn may_be_marked_since(node: &Reading<Option<Node>>, lock: &Reading<Lock>, holder: Option<&Holder>) -> bool {
    let Some(record) = node.value.as_ref().and_then(|node| node.meta.record.as_ref()) else { return false };
    let known = holder.is_some_and(|holder| record.term == lock.value.term(holder.term));
    !known && lock.tick < node.tick
}
