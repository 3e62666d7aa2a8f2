//! What is walked, and how often something may go wrong in it.

use std::fmt;

use crate::mutations::Mutation;

/// Size of a world, and number of faults that may happen in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Nodes `n0`, `n1`, … whose agents ask us.
    pub(crate) nodes: usize,
    /// The name of one more node, which an annotation-only manager looks after.
    pub(crate) older: Option<&'static str>,
    pub(crate) slots: usize,
    /// Pods on each node that have to go.
    pub(crate) pods: u8,
    /// Reboots that each node wants.
    pub(crate) reboots: u8,
    /// Requests that can be under way at once, over all replicas.
    pub(crate) requests: usize,
    /// Reconcilers that can be under way at once.
    pub(crate) reconcilers: usize,
    /// Kubelets report a boot before the agent can check in; otherwise at any time after it.
    pub(crate) prompt: bool,
    /// Any minute may pass at any point.
    pub(crate) time: bool,
    /// The view of the fleet may be as late as `reboot::FleetFacts` says; otherwise it is never late.
    pub(crate) late: bool,
    /// All nodes are of the control plane.
    pub(crate) control_plane: bool,
    /// Slots are given back after the default times, and an hour may pass at any point. Kubelets must be prompt.
    pub(crate) gives_back: bool,
    /// The nodes that an administrator has cordoned before.
    pub(crate) cordoned: &'static [usize],
    pub(crate) may: Allowance,
    pub(crate) mutation: Option<Mutation>,
}

/// Two nodes want the one slot, and nothing goes wrong.
pub(crate) const PAIR: Setup = Setup {
    nodes: 2,
    older: None,
    slots: 1,
    pods: 0,
    reboots: 1,
    requests: 2,
    reconcilers: 1,
    prompt: false,
    time: false,
    late: false,
    control_plane: false,
    gives_back: false,
    cordoned: &[],
    may: Allowance([0; Event::ALL.len()]),
    mutation: None,
};

/// Two nodes, of which one may fail for good.
pub(crate) const FAILING: Setup = Setup { pods: 1, requests: 1, prompt: true, ..PAIR };

/// World of one node whose own requests overtake each other.
pub(crate) const ONE: Setup = Setup { nodes: 1, ..PAIR };

/// World of one node beside one of an annotation-only manager.
pub(crate) const OLDER: Setup = Setup { older: Some("z"), late: true, ..ONE };

impl Setup {
    /// Reports whether a node may fail for good, and all that frees its slot is time. Where time passes, an agent that never checks in is
    /// no such failure.
    pub(crate) fn may_fail(&self) -> bool {
        let lasts = |event: &Event| *event != Event::Silence || !self.gives_back;
        FAILURES.iter().filter(|event| lasts(event)).any(|event| self.may.left(*event) > 0)
    }

    /// Lets each of these events happen that number of times.
    pub(crate) fn with<const N: usize>(mut self, events: [(Event, u8); N]) -> Self {
        self.may.set(events);
        self
    }
}

/// Something that happens a limited number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request or a reconciler ends at any point: its replica dies.
    Death,
    /// A write that is not done, or is done and its answer lost.
    Fault,
    /// A write that was given up and is done later.
    LateWrite,
    /// An agent that does not wait for its answer and calls again.
    SecondCall,
    /// An agent that restarts without a reboot.
    Restart,
    /// An approved node that asks again.
    SecondThought,
    Cordon,
    Uncordon,
    /// A pod that comes to a node, also to one that is cordoned already.
    Arrival,
    LeaseDeletion,
    /// The annotation with the lock is taken from the Lease.
    LostAnnotation,
    /// The API server says once of a Node that it does not exist, and it does.
    LoneNotFound,
    NodeDeletion,
    /// A machine that is back and never checks in: its agent is off, or it was reinstalled.
    Silence,
    /// A drain without progress for half an hour.
    Standstill,
    /// A client that closes its connection, and asks again later.
    HangUp,
    /// An agent that stops for good: it never asks, reboots or checks in again.
    Departure,
    /// A node whose pods can never be evicted.
    Obstruction,
    /// A kubelet that is down for good.
    KubeletFailure,
    /// An approved node that cannot reboot, whose agent asks again and again.
    FailedReboot,
    /// A machine that has lost its power for good.
    PowerLoss,
    /// A machine that is removed for good, with its Node.
    Removal,
    /// A machine that starts again without an approval.
    Crash,
    /// A node that an administrator marks as rebooting by hand.
    HandMark,
    /// A reboot of the annotation-only manager's node.
    Older,
}

impl Event {
    /// All events, each with how often it may happen in a random walk.
    pub(crate) const ALL: [(Self, u8); Self::Older as usize + 1] = [
        (Self::Death, 5),
        (Self::Fault, 5),
        (Self::LateWrite, 3),
        (Self::SecondCall, 9),
        (Self::Restart, 3),
        (Self::SecondThought, 3),
        (Self::Cordon, 3),
        (Self::Uncordon, 3),
        (Self::Arrival, 3),
        (Self::LeaseDeletion, 0),
        (Self::LostAnnotation, 2),
        // A second one, a quarter of an hour later, is believed.
        (Self::LoneNotFound, 1),
        (Self::NodeDeletion, 2),
        (Self::Silence, 0),
        (Self::Standstill, 0),
        (Self::HangUp, 2),
        (Self::Departure, 0),
        (Self::Obstruction, 0),
        (Self::KubeletFailure, 0),
        (Self::FailedReboot, 0),
        (Self::PowerLoss, 0),
        (Self::Removal, 0),
        (Self::Crash, 2),
        (Self::HandMark, 0),
        (Self::Older, 0),
    ];
}

/// Number of times that each event may still happen, in the order of [`Event::ALL`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance(pub(crate) [u8; Event::ALL.len()]);

/// Failures of one node that last.
pub(crate) const FAILURES: [Event; 8] = [
    Event::Departure,
    Event::FailedReboot,
    Event::HandMark,
    Event::KubeletFailure,
    Event::Obstruction,
    Event::PowerLoss,
    Event::Removal,
    Event::Silence,
];

impl Allowance {
    pub(crate) fn left(&self, event: Event) -> u8 {
        self.0[event as usize]
    }

    pub(crate) fn set<const N: usize>(&mut self, events: [(Event, u8); N]) {
        events.into_iter().for_each(|(event, count)| self.0[event as usize] = count);
    }

    pub(crate) fn spend(&mut self, event: Event) {
        self.0[event as usize] -= 1;
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(Event::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0).map(|((event, _), count)| (event, count)))
            .finish()
    }
}
