//! Rare events: what a run should reach, and how often it did. Each is recognised by what is observed from outside: the Lease, answers,
//! calls at the proxy, log lines.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Rare event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    AnswerLost,
    BackOffOver,
    BothAtOnce,
    ContinuedAfterKill,
    DeletedAndFreed,
    EarlyCheckIn,
    EvictedTwice,
    GivenUp,
    HandedOver,
    HungUpBeforeApproval,
    Lone404,
    OtherRebooting,
    Silent,
    SlotToOtherReplica,
    Withdrawn,
}

use Event::*;

/// All events with their names.
pub(crate) const EVENTS: [(Event, &str); 15] = [
    (EvictedTwice, "a pod was evicted twice in one term, because its controller brought it back"),
    (EarlyCheckIn, "a check-in of a machine that no Node names yet"),
    (HungUpBeforeApproval, "a client hung up during the drain, and its next answer was the approval"),
    (SlotToOtherReplica, "a slot freed at one replica went to a request held at the other"),
    (BackOffOver, "a node took a slot after its back-off"),
    (ContinuedAfterKill, "a drain was continued by the other replica after SIGKILL"),
    (HandedOver, "a drain was handed over at SIGTERM, and continued"),
    (Silent, "a slot was freed because the client was silent"),
    (GivenUp, "a drain was given up"),
    (Withdrawn, "an approval was withdrawn"),
    (DeletedAndFreed, "the Node of an approved node was deleted, and its slot freed"),
    (AnswerLost, "the write of an approval was done, and its answer lost"),
    (Lone404, "a 404 that is not of Kubernetes, on the Node of an approved holder"),
    (OtherRebooting, "a node waited for one that was marked by hand"),
    (BothAtOnce, "both replicas wrote the Lease at once, and one got 409"),
];

/// Log lines of the program that report an event.
const LINES: [(Event, &str); 5] = [
    (Silent, "slot freed: it was never approved, and no longer asks"),
    (GivenUp, "slot freed: it was never approved, and its drain has made no progress"),
    (Withdrawn, "slot freed: it was approved, asks again and has not rebooted"),
    (OtherRebooting, ": 404 other_rebooting: "),
    (DeletedAndFreed, "slot freed: its Node has been gone for too long"),
];

/// Number of times that each event was reached.
#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Event, usize>>);

impl Counts {
    /// Counts one event.
    pub(crate) fn add(&self, event: Event) {
        *self.0.lock().unwrap().entry(event).or_default() += 1;
    }

    /// Returns the number of times that `event` was reached.
    pub(crate) fn of(&self, event: Event) -> usize {
        self.0.lock().unwrap().get(&event).copied().unwrap_or_default()
    }

    /// Counts the events that a log reports.
    pub(crate) fn add_log(&self, lines: &[String]) {
        for line in lines {
            LINES.iter().filter(|(_, text)| line.contains(text)).for_each(|(event, _)| self.add(*event));
        }
    }

    /// Prints a table.
    pub(crate) fn print(&self) {
        println!("| rare event | reached |\n|---|--:|");
        EVENTS.iter().for_each(|(event, name)| println!("| {name} | {} |", self.of(*event)));
    }
}

/// Returns the name of an event.
pub(crate) fn name(event: Event) -> &'static str {
    EVENTS.iter().find(|(known, _)| *known == event).map_or("", |(_, name)| name)
}
