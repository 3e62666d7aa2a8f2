//! What one request has seen so far.

use std::time::Instant;

use jiff::Timestamp;

use super::{LockChange, NodeChange};
use crate::cluster::{Complete, ControlPlaneNode, LeaseVersion, Node, NodeMark, NodeName, Pod, Term, Uid};
use crate::lock::{Holder, LockState};

/// A fact, and its place in the order in which facts were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// The fact.
    pub value: T,
    /// Facts seen later have a greater one. A fact's reading begins after every fact with a smaller one was complete; of
    /// [`Marked`] that holds for who is named, and its own words say for how long nobody is missing.
    pub tick: u64,
    /// When its reading began.
    pub at: Instant,
}

/// What tells one holding of a slot from a later one of the same node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Its number.
    pub term: u64,
    /// When the reboot was last approved.
    pub approved: Option<Timestamp>,
    /// The node has checked in since.
    pub checked_in: bool,
}

/// The lock as read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Who holds what.
    pub state: LockState,
    /// The Lease it stands in; `None`: there is none yet.
    pub version: Option<LeaseVersion>,
    /// The write of this request that made it; `None`: it was read.
    pub written: Option<LockChange>,
}

/// Nodes marked as rebooting.
///
/// **Who is named** was marked when this fact's reading began, or later. Only of `holders`, who held a slot in the lock
/// seen last, that was not looked up: they may have gone back meanwhile.
///
/// **Nobody is missing** of those whose mark was written before a certain moment and is still there. Of
/// [`Fact::MarkedLately`] nothing is said about that moment. Of [`Fact::Marked`] it is:
///
/// - When this request has marked its own node and seen nothing of it since: the moment of that very write,
///   [`Observed::own_mark`]. More is not needed for the rule that of two who mark themselves at the same time one sees the
///   other: whoever marked itself before we did is named here; whoever did so after finds our mark when it looks again.
/// - Else: the moment when the reading began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// Looked up, each of them.
    pub names: Vec<NodeName>,
    /// Not looked up, because they held a slot.
    pub holders: Vec<NodeName>,
}

/// Something that was read, or the answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The nodes of the control plane.
    ControlPlane(Complete<Vec<ControlPlaneNode>>),
    /// Whether another node can run our own pods.
    Elsewhere(bool),
    /// The lock.
    Lock(Lock),
    /// The Node's metadata; `None`: there is no such Node.
    Mark(Option<NodeMark>),
    /// The nodes marked as rebooting, with nobody missing.
    Marked(Marked),
    /// The nodes marked as rebooting, as far as is known.
    MarkedLately(Marked),
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
    /// How many facts were seen.
    pub ticks: u64,
    /// What this request's own mark of the Node was answered with, while nothing else was seen of the Node.
    pub own_mark: Option<NodeMark>,
    /// The tenure this request acts under: the first it has seen, or the one it has made.
    pub tenure: Option<Tenure>,
    /// What the first look at the lock showed of the node, changed since only by this request's own writes.
    pub first: Option<Option<Tenure>>,
    /// The nodes of the control plane.
    pub control_plane: Option<Seen<Vec<ControlPlaneNode>>>,
    /// Whether another node can run our own pods.
    pub elsewhere: Option<Seen<bool>>,
    /// The lock.
    pub lock: Option<Seen<Lock>>,
    /// The Node's metadata.
    pub mark: Option<Seen<Option<NodeMark>>>,
    /// The nodes marked as rebooting, with nobody missing.
    pub marked: Option<Seen<Marked>>,
    /// The nodes marked as rebooting, as far as is known: enough to refuse, never to approve.
    pub marked_lately: Option<Seen<Marked>>,
    /// The Node.
    pub node: Option<Seen<Option<Node>>>,
    /// The pods of the node.
    pub pods: Option<Seen<Complete<Vec<Pod>>>>,
    /// The Node that has the machine-id of the caller's, whose own Node is gone.
    pub renamed: Option<Seen<Option<Node>>>,
}

impl Observed {
    /// Nothing seen yet of the node `uid`. `tenure`: the one an earlier part of the same request acted under.
    pub fn nothing(uid: Uid, tenure: Option<Tenure>) -> Self {
        Self {
            uid,
            ticks: 0,
            own_mark: None,
            tenure,
            first: None,
            control_plane: None,
            elsewhere: None,
            lock: None,
            mark: None,
            marked: None,
            marked_lately: None,
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
            Fact::ControlPlane(value) => self.control_plane = Some(Seen { value: value.into_inner(), tick, at }),
            Fact::Elsewhere(value) => self.elsewhere = Some(Seen { value, tick, at }),
            Fact::Lock(value) => {
                let held = value.state.holder(&self.uid).map(Tenure::of);
                let own = value.written.is_some();
                if own || self.tenure.is_none() {
                    self.tenure.clone_from(&held);
                }
                if own || self.first.is_none() {
                    self.first = Some(held);
                }
                self.lock = Some(Seen { value, tick, at });
            }
            Fact::Mark(value) => self.mark = Some(Seen { value, tick, at }),
            Fact::Marked(value) => self.marked = Some(Seen { value, tick, at }),
            Fact::MarkedLately(value) => self.marked_lately = Some(Seen { value, tick, at }),
            Fact::Node(value, change) => {
                if change != Some(NodeChange::Restore) {
                    // Our own mark may be new on it, even if the answer to its writing was lost: who else is marked has to be
                    // asked again now that it can be seen.
                    self.marked = None;
                }
                let written = value.as_ref().filter(|_| change == Some(NodeChange::Mark));
                self.own_mark = written.map(|node| node.mark.clone());
                self.node = Some(Seen { value, tick, at });
            }
            Fact::Pods(value) => self.pods = Some(Seen { value, tick, at }),
            Fact::Renamed(value) => self.renamed = Some(Seen { value, tick, at }),
        }
    }

    /// The lock is not what it was seen to be, or may not be.
    pub fn forget_lock(&mut self) {
        self.lock = None;
    }

    /// The Node is not what it was seen to be, or may not be.
    pub fn forget_node(&mut self) {
        self.node = None;
        self.own_mark = None;
    }

    /// The Node's metadata as this request's own mark has left it, when nothing was seen of the Node since.
    pub fn own_mark(&self) -> Option<&NodeMark> {
        self.own_mark.as_ref()
    }
}

impl Marked {
    /// The nodes that are marked and hold no slot in `lock`, the node `own` left out.
    pub fn strangers(seen: Option<&Seen<Self>>, lock: &Seen<Lock>, own: &NodeName) -> Strangers {
        let Some(marked) = seen else { return Strangers::NotLooked };
        let holds = |name: &NodeName| lock.value.state.holders.iter().any(|holder| holder.node == *name);
        if marked.value.holders.iter().any(|name| !holds(name)) {
            return Strangers::NotLooked;
        }
        let names: Vec<NodeName> = marked.value.names.iter().filter(|name| *name != own && !holds(name)).cloned().collect();
        if !names.is_empty() && lock.tick < marked.tick { Strangers::LockTooOld } else { Strangers::Are(names) }
    }
}

/// Answer of [`Marked::strangers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strangers {
    /// These; possibly none.
    Are(Vec<NodeName>),
    /// There may be some, but the lock was read before the marks, so that a node which took its slot since would be
    /// mistaken for one: it has to be read again first.
    LockTooOld,
    /// Nobody has looked, or not at one whose slot is gone since.
    NotLooked,
}

impl Tenure {
    /// The tenure of a holder as it stands.
    pub fn of(holder: &Holder) -> Self {
        let approved = holder.approved.as_ref().map(|approved| approved.at);
        Self { term: holder.term, approved, checked_in: holder.checked_in.is_some() }
    }

    /// The same holding of the slot as `first`, with nothing since but perhaps a check-in.
    pub fn follows(&self, first: &Self) -> bool {
        self.term == first.term && self.approved == first.approved && (self.checked_in || !first.checked_in)
    }
}

impl Lock {
    /// The full name of a tenure counted in this lock.
    pub fn term(&self, term: u64) -> Term {
        Term { lease: self.version.as_ref().map(|version| version.uid.clone()).unwrap_or_default(), term }
    }
}
