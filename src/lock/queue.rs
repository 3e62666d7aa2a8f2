//! The queue: which of the nodes that wait takes a free slot.
//!
//! A node that was refused a slot records on its own Node since when it waits. A free slot goes to the node that has waited longest of
//! those still asking. A node without an open request may have stopped asking, so other nodes give way to it for a limited time only:
//!
//! - A request that was waiting when the slot was freed gives way for [`HELD_PATIENCE`]: time enough for the open request of a node that
//!   has waited longer, at whichever replica.
//! - A request that arrived later gives way for [`ABSENT_PATIENCE`]: two rounds of Zincati.

use jiff::{SignedDuration, Timestamp};

use super::LockState;
use crate::cluster::NodeName;

/// Time for which a request that was waiting when a slot was freed gives way.
const HELD_PATIENCE: SignedDuration = SignedDuration::from_secs(1);

/// Time for which a request that found a free slot gives way. Zincati asks every 300 to 330 seconds.
const ABSENT_PATIENCE: SignedDuration = SignedDuration::from_secs(2 * 330);

/// Place of a waiting node in the queue. Nodes that began to wait at the same time are ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Time since which the node waits.
    pub since: Timestamp,
    /// The node's name.
    pub node: NodeName,
}

impl Place {
    fn is_ahead_of(&self, own: &Self) -> bool {
        self < own && self.node != own.node
    }
}

/// The turn of a node that asks for a free slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The node that asks has its turn.
    Own,
    /// The node that asks has its turn. Nodes that have waited since this time or before have not taken the free slot for too long, and
    /// lose their places.
    Passes(Timestamp),
    /// Another node has its turn, at most until this time.
    Of(NodeName, Timestamp),
}

/// Decides whose turn it is. `queue` has the waiting nodes that could take a slot; `own` is the place of the node that asks, whose request
/// arrived at `arrived`; `room` is the number of free slots.
pub fn turn(lock: &LockState, queue: &[Place], own: &Place, room: usize, arrived: Timestamp, now: Timestamp) -> Turn {
    let is_ahead = |other: &&Place| {
        let competes = lock.passed.is_none_or(|passed| other.since > passed) && lock.deferral(&other.node, now).is_none();
        other.is_ahead_of(own) && competes && lock.holders.iter().all(|holder| holder.node != other.node)
    };
    let mut ahead: Vec<&Place> = queue.iter().filter(is_ahead).collect();
    ahead.sort_unstable();
    let Some(first) = ahead.first() else { return Turn::Own };
    if ahead.len() < room {
        return Turn::Own;
    }
    // Without a recorded time, no slot was freed since this version runs.
    let Some(freed) = lock.freed else { return Turn::Own };
    let was_waiting = arrived < freed;
    let patience = if was_waiting { HELD_PATIENCE } else { ABSENT_PATIENCE };
    let until = freed.checked_add(patience).unwrap_or(freed);
    // A time in the future is from a replica whose clock was wrong.
    let is_in_time = now < until && freed.duration_since(now) <= patience;
    match (is_in_time, was_waiting) {
        (true, _) => Turn::Of(first.node.clone(), until),
        (false, true) => Turn::Own,
        // Those that wait since then have not had their turn yet.
        (false, false) => ahead.iter().rfind(|place| place.since < freed).map_or(Turn::Own, |last| Turn::Passes(last.since)),
    }
}

impl LockState {
    /// Reports whether a place since `since` is lost, because its node did not take a slot that was free for long.
    pub fn has_passed(&self, since: Timestamp) -> bool {
        self.passed.is_some_and(|passed| since <= passed)
    }

    /// Returns the time of a new place: now, or right after all places that are lost.
    pub fn next_place(&self, now: Timestamp) -> Timestamp {
        let after = self.passed.and_then(|passed| passed.checked_add(SignedDuration::from_nanos(1)).ok());
        after.map_or(now, |after| after.max(now))
    }

    /// Records that the nodes that wait since `since` or before lose their places.
    pub fn pass(&self, since: Timestamp) -> Self {
        Self { passed: self.passed.max(Some(since)), ..self.clone() }
    }

    /// Reports whether a node that waits for a slot must have stopped asking: a slot has been free for longer than any node gives way.
    pub fn is_abandoned(&self, since: Timestamp, room: usize, now: Timestamp) -> bool {
        let free_since = self.freed.map_or(since, |freed| freed.max(since));
        room > 0 && now.duration_since(free_since) >= ABSENT_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Uid;
    use crate::fleetlock::GroupName;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn place(node: &str, since: i64) -> Place {
        Place { since: at(since), node: NodeName(node.to_owned()) }
    }

    const FREED: i64 = 10_000;

    fn lock() -> LockState {
        LockState { freed: Some(at(FREED)), ..LockState::default() }
    }

    #[track_caller]
    fn check(lock: &LockState, queue: &[(&str, i64)], room: usize, arrived: i64, now: i64, want: &str) {
        let queue: Vec<Place> = queue.iter().map(|(node, since)| place(node, *since)).collect();
        let got = match turn(lock, &queue, &place("m", 500), room, at(arrived), at(now)) {
            Turn::Own => "own".to_owned(),
            Turn::Passes(since) => format!("passes {}", since.as_second()),
            Turn::Of(node, until) => format!("{node} until {}", until.as_second()),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn the_node_that_has_waited_longest_takes_the_slot() {
        let (arrived, now) = (FREED + 5, FREED + 5);
        check(&lock(), &[], 1, arrived, now, "own");
        check(&lock(), &[("m", 100)], 1, arrived, now, "own");
        check(&lock(), &[("a", 600), ("z", 501)], 1, arrived, now, "own");
        check(&lock(), &[("z", 500)], 1, arrived, now, "own");
        check(&lock(), &[("a", 500)], 1, arrived, now, "a until 10660");
        check(&lock(), &[("b", 400), ("c", 300)], 1, arrived, now, "c until 10660");
    }

    #[test]
    fn each_free_slot_serves_one_node() {
        let (arrived, now) = (FREED + 5, FREED + 5);
        check(&lock(), &[("b", 400), ("c", 300)], 2, arrived, now, "c until 10660");
        check(&lock(), &[("b", 400), ("c", 300)], 3, arrived, now, "own");
    }

    #[test]
    fn a_request_that_waited_before_the_slot_was_free_gives_way_for_a_second() {
        check(&lock(), &[("a", 100)], 1, FREED - 1, FREED, "a until 10001");
        check(&lock(), &[("a", 100)], 1, FREED - 1, FREED + 1, "own");
    }

    #[test]
    fn a_node_that_stopped_asking_holds_up_others_for_two_rounds_and_loses_its_place() {
        check(&lock(), &[("a", 100), ("b", 200)], 1, FREED, FREED + 659, "a until 10660");
        check(&lock(), &[("a", 100), ("b", 200)], 1, FREED, FREED + 660, "passes 200");
        let passed = lock().pass(at(200));
        check(&passed, &[("a", 100), ("b", 200)], 1, FREED, FREED + 1, "own");
        check(&passed, &[("a", 100), ("b", 201)], 1, FREED, FREED + 1, "b until 10660");
        assert_eq!(passed.pass(at(100)).passed, Some(at(200)), "a later time is kept");
        assert!(passed.has_passed(at(200)) && !passed.has_passed(at(201)) && !lock().has_passed(at(1)));
    }

    #[test]
    fn a_wrong_clock_does_not_make_others_wait_for_long() {
        check(&lock(), &[("a", 100)], 1, FREED - 10_000, FREED - 9_000, "own");
        check(&lock(), &[("a", 100)], 1, FREED - 661, FREED - 661, "own");
    }

    #[test]
    fn holders_and_deferred_nodes_are_not_in_the_queue() {
        let group = GroupName::parse("default").unwrap();
        let mut busy = lock().take(&NodeName("a".to_owned()), &Uid("a".to_owned()), &group, at(FREED));
        busy.defer(&NodeName("b".to_owned()), crate::lock::DeferReason::GaveUp, "", SignedDuration::from_mins(30), at(FREED));
        check(&busy, &[("a", 100), ("b", 200)], 1, FREED, FREED, "own");
        check(&busy, &[("a", 100), ("b", 200), ("c", 300)], 1, FREED, FREED, "c until 10660");
        let unknown = LockState { freed: None, ..busy };
        check(&unknown, &[("c", 300)], 1, FREED, FREED, "own");
    }

    #[test]
    fn a_wait_is_abandoned_once_a_slot_was_free_for_two_rounds() {
        let cases = [(100, 1, FREED + 659, false), (100, 1, FREED + 660, true), (100, 0, FREED + 9_999, false)];
        for (since, room, now, is) in cases {
            assert_eq!(lock().is_abandoned(at(since), room, at(now)), is, "{since} {room} {now}");
        }
        assert!(!lock().is_abandoned(at(FREED + 100), 1, at(FREED + 700)));
    }

    #[test]
    fn a_node_that_waits_since_the_slot_was_freed_keeps_its_place() {
        let queue = [place("a", 100), place("b", FREED), place("c", FREED + 1)];
        let turn = |queue: &[Place]| turn(&lock(), queue, &place("m", FREED + 2), 1, at(FREED + 2), at(FREED + 660));
        assert_eq!((turn(&queue), turn(&queue[1..])), (Turn::Passes(at(100)), Turn::Own));
    }
}
