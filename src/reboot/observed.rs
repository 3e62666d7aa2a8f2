//! What one request has seen so far.

use std::time::Instant;

use jiff::Timestamp;

use super::{LockChange, NodeChange};
use crate::cluster::{Before, Complete, Hosts, LeaseVersion, Member, Node, NodeMeta, NodeName, Pod, Status, Term, Uid, Unavailable};
use crate::fleetlock::Fleet;
use crate::lock::{Holder, LockState};

/// A fact, and its place in the order in which facts were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// The fact.
    pub value: T,
    /// Facts seen later have a greater one. A fact's reading begins after every fact with a smaller one was complete; [`FleetFacts`]
    /// says how late it may be.
    pub tick: u64,
    /// Time when the read began.
    pub at: Instant,
}

/// A term of a slot as first seen, or as made: a later one of the same node differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTerm {
    /// Number of the term.
    pub term: u64,
    /// Time of the last approval.
    pub approved: Option<Timestamp>,
    /// The node has checked in since.
    pub checked_in: bool,
}

/// The lock as read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The slots and their holders.
    pub state: LockState,
    /// The Lease that holds it; `None` if the Lease does not exist yet.
    pub version: Option<LeaseVersion>,
    /// The write of this request that made it; `None`: it was read.
    pub written: Option<LockChange>,
}

/// The known state of the fleet: of each node as much as the rules need of the others.
///
/// For [`Fact::FleetLately`] nothing is promised about its age. For [`Fact::Fleet`] **no change is missing** that was written before a
/// certain moment:
///
/// - If this request has written its own Node, and has seen no newer state of it: the moment of that write, [`Observed::own_write`]. No
///   more is needed for the rule that of two nodes marked at the same time one sees the other. A node marked before our write is among
///   these; a node marked later finds ours when it reads again.
/// - Otherwise: the moment when the read began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetFacts {
    /// The nodes with the rebooting annotation or a record of our cordon, and those of the control plane; by name.
    pub members: Vec<Member>,
}

/// Something that was read, or the answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The other nodes that may run our own pods.
    Elsewhere(Hosts),
    /// The fleet, with no change missing up to the moment that [`FleetFacts`] names.
    Fleet(FleetFacts),
    /// The fleet as far as is known.
    FleetLately(FleetFacts),
    /// The lock.
    Lock(Lock),
    /// The Node's metadata; `None`: there is no such Node.
    Meta(Option<NodeMeta>),
    /// The Node, as read or as it is after the change named; `None`: there is no such Node.
    Node(Option<Node>, Option<NodeChange>),
    /// The pods of the node.
    Pods(Complete<Vec<Pod>>),
    /// The Node that has the machine-id of the caller's, whose own Node is gone; `None`: there is none.
    Renamed(Option<Node>),
}

/// Everything seen by one request. Absent means: not looked yet, or not to be relied on any more.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Node that the request is about.
    pub uid: Uid,
    /// Number of facts recorded.
    pub ticks: u64,
    /// The Node's metadata as this request's own write has left it, while nothing else was seen of the Node.
    pub own_write: Option<NodeMeta>,
    /// The term this request acts under: the first it has seen, or the one it has made.
    pub term: Option<HeldTerm>,
    /// State of the node in the first lock that was read, changed since only by this request's own writes.
    pub first: Option<Option<HeldTerm>>,
    /// The other nodes that may run our own pods.
    pub elsewhere: Option<Seen<Hosts>>,
    /// The fleet, with no change missing up to the moment that [`FleetFacts`] names.
    pub fleet: Option<Seen<FleetFacts>>,
    /// The fleet as far as is known: enough to refuse, never to approve.
    pub fleet_lately: Option<Seen<FleetFacts>>,
    /// The lock.
    pub lock: Option<Seen<Lock>>,
    /// The Node's metadata.
    pub meta: Option<Seen<Option<NodeMeta>>>,
    /// The Node.
    pub node: Option<Seen<Option<Node>>>,
    /// The pods of the node.
    pub pods: Option<Seen<Complete<Vec<Pod>>>>,
    /// The Node that has the machine-id of the caller's, whose own Node is gone.
    pub renamed: Option<Seen<Option<Node>>>,
}

impl Observed {
    /// Nothing seen yet of the node `uid`. `term`: the one an earlier part of this request acted under.
    pub fn nothing(uid: Uid, term: Option<HeldTerm>) -> Self {
        Self {
            uid,
            ticks: 0,
            own_write: None,
            term,
            first: None,
            elsewhere: None,
            fleet: None,
            fleet_lately: None,
            lock: None,
            meta: None,
            node: None,
            pods: None,
            renamed: None,
        }
    }

    /// Takes in a fact whose reading began at `at`.
    pub fn fold(&mut self, fact: Fact, at: Instant) {
        self.ticks += 1;
        let tick = self.ticks;
        match fact {
            Fact::Elsewhere(value) => self.elsewhere = Some(Seen { value, tick, at }),
            Fact::Fleet(value) => self.fleet = Some(Seen { value, tick, at }),
            Fact::FleetLately(value) => self.fleet_lately = Some(Seen { value, tick, at }),
            Fact::Lock(value) => {
                let held = value.state.holder(&self.uid).map(HeldTerm::of);
                let own = value.written.is_some();
                if own || self.term.is_none() {
                    self.term.clone_from(&held);
                }
                if own || self.first.is_none() {
                    self.first = Some(held);
                }
                self.lock = Some(Seen { value, tick, at });
            }
            Fact::Meta(value) => self.meta = Some(Seen { value, tick, at }),
            Fact::Node(value, change) => self.fold_node(value, change, tick, at),
            Fact::Pods(value) => self.pods = Some(Seen { value, tick, at }),
            Fact::Renamed(value) => self.renamed = Some(Seen { value, tick, at }),
        }
    }

    fn fold_node(&mut self, value: Option<Node>, change: Option<NodeChange>, tick: u64, at: Instant) {
        let before = self.node.take();
        if change != Some(NodeChange::Restore) {
            // Our own annotation may be new on it, even if the answer to the write was lost. Other nodes can see it from now on, so the
            // fleet must be read again.
            self.fleet = None;
        }
        let written = value.as_ref().filter(|_| matches!(change, Some(NodeChange::Drained | NodeChange::Mark)));
        // A patch that changed nothing got no new version, so the watch has nothing to deliver.
        let is_new =
            |node: &&Node| before.as_ref().and_then(|before| before.value.as_ref()).is_none_or(|old| old.meta.version != node.meta.version);
        self.own_write = written.filter(is_new).map(|node| node.meta.clone());
        // The record of the drain is written over the version that was read: the Node was as it is now from that reading on.
        let (tick, at) = match before {
            Some(before) if change == Some(NodeChange::Drained) => (before.tick, before.at),
            _ => (tick, at),
        };
        self.node = Some(Seen { value, tick, at });
    }

    /// Returns the fleet that was read last.
    pub fn newest_fleet(&self) -> Option<&Seen<FleetFacts>> {
        [&self.fleet, &self.fleet_lately].into_iter().flatten().max_by_key(|seen| seen.tick)
    }

    /// The lock is not what it was seen to be, or may not be.
    pub fn forget_lock(&mut self) {
        self.lock = None;
    }

    /// The Node is not what it was seen to be, or may not be.
    pub fn forget_node(&mut self) {
        self.node = None;
        self.own_write = None;
    }
}

impl FleetFacts {
    /// Of `fleet`.
    pub fn of(fleet: &Fleet) -> Self {
        let is_asked_for = |member: &&Member| member.is_marked() || member.control_plane;
        Self { members: fleet.members().iter().filter(is_asked_for).cloned().collect() }
    }

    /// The nodes other than `own` that are marked as rebooting and hold no slot in `lock`. A record of our cordon for a term
    /// that this very Lease has counted does not make one: its slot was given back, and the node is being restored.
    pub fn rebooting_without_slot(seen: Option<&Seen<Self>>, lock: &Seen<Lock>, own: &NodeName) -> Others {
        let Some(fleet) = seen else { return Others::NotRead };
        let holds = |member: &&Member| lock.value.state.holders.iter().any(|holder| holder.node == member.name);
        let marked = fleet.value.members.iter().filter(|member| member.status == Status::Rebooting && member.name != *own);
        let others: Vec<&Member> = marked.filter(|member| !holds(member) && !lock.value.has_counted(member)).collect();
        if !others.is_empty() && lock.tick < fleet.tick {
            return Others::LockTooOld;
        }
        Others::Are(others.into_iter().map(|member| member.name.clone()).collect())
    }
}

/// The result of [`FleetFacts::rebooting_without_slot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Others {
    /// The rebooting nodes; possibly none.
    Are(Vec<NodeName>),
    /// Unknown: the lock was read before the fleet. A node that took its slot in between must not be mistaken for one without a slot,
    /// so the lock must be read again first.
    LockTooOld,
    /// The fleet was not read yet.
    NotRead,
}

impl HeldTerm {
    /// Returns the current term of a holder.
    pub fn of(holder: &Holder) -> Self {
        let approved = holder.approved.as_ref().map(|approved| approved.at);
        Self { term: holder.term, approved, checked_in: holder.checked_in.is_some() }
    }

    /// Reports whether this is the term `first`, with no change since but perhaps a check-in.
    pub fn follows(&self, first: &Self) -> bool {
        self.term == first.term && self.approved == first.approved && (self.checked_in || !first.checked_in)
    }
}

impl Lock {
    /// Returns why the member is unavailable; `None` if it is available. The Lease decides about a slot: if the Lease has counted the
    /// member's term and has no such slot any more, its annotation and cordon are being undone and do not count.
    pub(super) fn unavailable(&self, member: &Member) -> Option<Unavailable> {
        let mut left = member.clone();
        if self.has_counted(member) {
            left.status = Status::Ready;
            left.unschedulable &= member.record.as_ref().is_some_and(|record| record.before == Before::Unschedulable);
        }
        left.unavailable()
    }

    /// Reports whether the member's cordon was recorded under this Lease, for a term that this state of the lock has counted.
    pub(super) fn has_counted(&self, member: &Member) -> bool {
        let lease = self.version.as_ref().map(|version| &version.uid);
        member.record.as_ref().is_some_and(|record| lease == Some(&record.term.lease) && record.term.term <= self.state.last_term)
    }

    /// The full name of a term that this lock has counted.
    pub fn term(&self, term: u64) -> Term {
        Term { lease: self.version.as_ref().map(|version| version.uid.clone()).unwrap_or_default(), term }
    }
}

/// Reports whether the annotation of `node` names another term than this lock, and the lock was read first. That term may be a newer
/// one, whose annotation must not be undone.
pub(super) fn may_be_marked_since(node: &Seen<Option<Node>>, lock: &Seen<Lock>, holder: Option<&Holder>) -> bool {
    let Some(record) = node.value.as_ref().and_then(|node| node.meta.record.as_ref()) else { return false };
    let known = holder.is_some_and(|holder| record.term == lock.value.term(holder.term));
    !known && lock.tick < node.tick
}
