//! Held requests and drains, alone and against each other.

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::drains::Drains;
use super::held::{Deadlines, HeldClient, HeldRequest, HeldRequests};
use crate::access::ClientNetwork;
use crate::cluster::{HexId, NodeName, Uid};
use crate::drain::DrainPlan;
use crate::fleetlock::{GroupName, Kind, Reply};
use crate::lock::LockState;
use crate::reboot::{Caller, Drain, HeldTerm};
use crate::system::clock;
use crate::system::guarded::Guarded;

const LONG: Duration = Duration::from_secs(60);

/// For a thread to slip in where it must not.
const MOMENT: Duration = Duration::from_millis(50);

/// A request of the node `n` under term 5, and where its answer arrives.
fn request(limit: Duration) -> (HeldRequest, Receiver<Kind>) {
    let (sender, answer) = channel();
    let (node, uid, group) = (NodeName("n".to_owned()), Uid("u".to_owned()), GroupName::parse("g").unwrap());
    let caller = Caller { node, uid, id: HexId([0; 16]), group, arrived: Timestamp::UNIX_EPOCH };
    let term = Some(HeldTerm { term: 5, approved: None, checked_in: false });
    let responder = Box::new(move |reply: Reply| sender.send(reply.kind()).unwrap());
    let deadline = clock::now().instant + limit;
    let deadlines = Deadlines { drain: deadline, slot: deadline, next: deadline };
    let client = HeldClient { network: ClientNetwork::of([127, 0, 0, 1].into()), presence: Arc::default(), responder };
    (HeldRequest { caller, term, slot: None, deadlines, client }, answer)
}

#[track_caller]
fn check(rejected: &[(HeldRequest, Reply)], want: Option<(Instant, Kind)>) {
    let rejected: Vec<_> = rejected.iter().map(|(request, reply)| (request.deadlines.drain, reply.kind())).collect();
    assert_eq!(rejected, want.into_iter().collect::<Vec<_>>());
}

#[test]
fn of_two_requests_of_a_node_the_newer_is_held() {
    let held = HeldRequests::new(8);
    let [first, second, late] = [10, 30, 20].map(|seconds| request(Duration::from_secs(seconds)).0);
    let deadlines = [&first, &second, &late].map(|request| request.deadlines.drain);
    check(&held.hold(first), None);
    check(&held.hold(second), Some((deadlines[0], Kind::Superseded)));
    check(&held.hold(late), Some((deadlines[2], Kind::Superseded)));
    assert_eq!(held.take(&Uid("u".to_owned()), 5).map(|request| request.deadlines.drain), Some(deadlines[1]));
}

#[test]
fn a_request_is_taken_once_and_not_for_an_earlier_term() {
    let (held, uid) = (HeldRequests::new(8), Uid("u".to_owned()));
    check(&held.hold(request(LONG).0), None);
    let taken = [4, 6, 6].map(|term| held.take(&uid, term).is_some());
    assert_eq!(taken, [false, true, false]);
}

#[test]
fn nothing_is_held_once_the_replica_stops() {
    let held = HeldRequests::new(8);
    check(&held.hold(request(LONG).0), None);
    assert_eq!(held.close().into_iter().map(|(_, reply)| reply.kind()).collect::<Vec<_>>(), [Kind::ShuttingDown]);
    let late = request(LONG).0;
    let deadline = late.deadlines.drain;
    check(&held.hold(late), Some((deadline, Kind::ShuttingDown)));
    assert!(held.take(&Uid("u".to_owned()), 5).is_none() && held.close().is_empty());
    held.answer_at_deadlines(|_caller| unreachable!());
}

#[test]
fn a_client_that_hangs_up_before_or_after_its_request_is_held_is_not_held() {
    for gone_before in [true, false] {
        let held = Arc::new(HeldRequests::new(8));
        let (request, answer) = request(LONG);
        let presence = Arc::clone(&request.client.presence);
        if gone_before {
            presence.hang_up();
        }
        check(&held.hold(request), None);
        held.drop_at_hang_up(&presence);
        presence.hang_up();
        assert_eq!(answer.try_recv(), Ok(Kind::BadRequest), "{gone_before}");
        assert!(held.take(&Uid("u".to_owned()), 5).is_none());
    }
}

#[test]
fn a_request_is_answered_at_its_deadline_also_when_an_earlier_one_comes() {
    let held = HeldRequests::new(8);
    let (mut other, _answer) = request(LONG);
    other.caller.uid = Uid("other".to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| held.answer_at_deadlines(|held| Reply::refusal(Kind::Draining, held.caller.node.to_string())));
        check(&held.hold(other), None);
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            let (request, answer) = request(limit);
            check(&held.hold(request), None);
            assert_eq!(answer.recv_timeout(LONG), Ok(Kind::Draining));
        }
        assert_eq!(held.close().len(), 1);
    });
}

fn drain(term: u64) -> Drain {
    Drain { term, since: Timestamp::UNIX_EPOCH, plan: DrainPlan::default() }
}

/// Reports whether a drain of the node `n` under `term` was started; calls `hold` before the drain can end.
fn starts_and_holds(drains: &Drains, term: u64, hold: impl FnOnce()) -> bool {
    let started = Cell::new(false);
    let start = || {
        started.set(true);
        Ok(())
    };
    drains.while_running(&request(LONG).0.caller, &drain(term), start, hold);
    started.get()
}

fn starts(drains: &Drains, term: u64) -> bool {
    starts_and_holds(drains, term, || ())
}

#[test]
fn a_drain_is_started_once_for_each_term_and_not_after_the_stop() {
    let (drains, uid) = (Drains::default(), Uid("u".to_owned()));
    assert_eq!([5, 5, 6, 6].map(|term| starts(&drains, term)), [true, false, true, false]);
    assert!(!drains.is_running(&uid, 5) && drains.is_running(&uid, 6));
    drains.end(&uid, 5, || ());
    assert!(drains.is_running(&uid, 6), "another drain of the node has ended");
    drains.end(&uid, 6, || ());
    assert!(starts(&drains, 6));
    drains.stop(|| ());
    assert!(!drains.is_running(&uid, 6) && !starts(&drains, 7));
}

#[test]
fn a_drain_without_a_thread_is_started_with_the_next_request() {
    let drains = Drains::default();
    let failed = drains.while_running(&request(LONG).0.caller, &drain(5), || Err(io::ErrorKind::WouldBlock.into()), || "held");
    assert_eq!(failed, "held");
    assert!(starts(&drains, 5));
}

#[test]
fn a_drain_ends_when_its_slot_is_not_held_under_its_term() {
    let Caller { node, uid, group, arrived, .. } = request(LONG).0.caller;
    let first = LockState::default().take(&node, &uid, &group, arrived);
    let (term, freed, checked_in) = (first.last_term, first.free(&uid, arrived), first.check_in(&uid, arrived));
    let again = freed.take(&node, &uid, &group, arrived);
    for (lock, ends) in [(LockState::default(), false), (first, false), (checked_in, true), (freed, true), (again, false)] {
        let drains = Drains::default();
        assert!(starts(&drains, term));
        drains.end_stale(&lock);
        assert_eq!(drains.pause(&uid, term, Duration::ZERO), ends, "{lock:?}");
    }
}

#[test]
fn a_pause_ends_with_the_drain() {
    let (drains, uid) = (Drains::default(), Uid("u".to_owned()));
    assert!(starts(&drains, 5));
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| drains.pause(&uid, 5, LONG));
        assert!(starts(&drains, 6));
        assert!(paused.join().unwrap());
    });
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| drains.pause(&uid, 6, LONG));
        drains.stop(|| ());
        assert!(paused.join().unwrap());
    });
}

/// Calls `first` with a function that begins `second` on another thread, and waits a moment for its end. The end must not come before
/// that of `first`.
fn overlap<T, U: Send>(first: impl FnOnce(&dyn Fn()) -> T, second: impl FnOnce() -> U + Send) -> (T, U) {
    let (inside, second_is_done) = (Barrier::new(2), Guarded::<bool>::default());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            inside.wait();
            let result = second();
            *second_is_done.lock() = true;
            second_is_done.wake();
            result
        });
        let first = first(&|| {
            inside.wait();
            drop(second_is_done.wait(MOMENT, |done| *done));
        });
        (first, second.join().unwrap())
    })
}

#[test]
fn a_request_never_waits_for_a_drain_that_has_ended() {
    let (drains, held, uid) = (Drains::default(), HeldRequests::new(8), Uid("u".to_owned()));
    let hold = || assert!(held.hold(request(LONG).0).is_empty());
    let take = || held.take(&uid, 5).is_some();
    assert!(starts(&drains, 5));
    let starts_first = |pause: &dyn Fn()| {
        starts_and_holds(&drains, 5, || {
            pause();
            hold();
        })
    };
    let (restarted, taken) = overlap(starts_first, || drains.end(&uid, 5, take));
    assert!(!restarted && taken, "taken by the drain that ends");
    assert!(starts(&drains, 5));
    let ends_first = |pause: &dyn Fn()| {
        drains.end(&uid, 5, || {
            pause();
            take()
        })
    };
    let (taken, restarted) = overlap(ends_first, || starts_and_holds(&drains, 5, hold));
    assert!(!taken && restarted, "waits for another drain");
}

#[test]
fn a_drain_that_is_stopped_finds_no_request_to_answer() {
    let (drains, held, uid) = (Drains::default(), HeldRequests::new(8), Uid("u".to_owned()));
    assert!(starts_and_holds(&drains, 5, || assert!(held.hold(request(LONG).0).is_empty())));
    let stop = |pause: &dyn Fn()| {
        drains.stop(|| {
            pause();
            held.close()
        })
    };
    let end = || drains.pause(&uid, 5, LONG) && drains.end(&uid, 5, || held.take(&uid, 5).is_none());
    let (stopped, found_none) = overlap(stop, end);
    assert!(stopped.len() == 1 && found_none);
}

/// Holds a request that waits for a slot since this second: of node `n<since>`, from this address.
fn waits(held: &HeldRequests, since: i64, address: u8) -> Vec<(Timestamp, Kind)> {
    let mut waiting = waiting(since);
    waiting.client.network = ClientNetwork::of([10, 0, 0, address].into());
    let since = |request: &HeldRequest| request.slot.as_ref().unwrap().place.since;
    held.hold(waiting).iter().map(|(request, reply)| (since(request), reply.kind())).collect()
}

/// A request of node `n<since>` that waits for a slot since this second.
fn waiting(since: i64) -> HeldRequest {
    let (mut waiting, _answer) = request(LONG);
    let (node, since) = (NodeName(format!("n{since}")), second(since));
    waiting.caller.uid = Uid(node.to_string());
    let refusal = crate::fleetlock::Refusal::new(Kind::SlotsTaken, "all slots are taken");
    waiting.slot = Some(crate::reboot::SlotWait { place: crate::lock::Place { since, node }, refusal });
    waiting
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_free_slot_is_offered_to_the_request_that_has_waited_longest() {
    let held = HeldRequests::new(8);
    for (number, since) in [30, 10, 20].into_iter().enumerate() {
        assert_eq!(waits(&held, since, u8::try_from(number).unwrap()), []);
    }
    let take = |count| held.take_for_slots(count).iter().map(|held| held.caller.uid.0.clone()).collect::<Vec<_>>();
    assert_eq!((take(0), take(2), take(9)), (vec![], vec!["n10".to_owned(), "n20".to_owned()], vec!["n30".to_owned()]));
}

#[test]
fn of_too_many_waiting_requests_the_latest_is_answered() {
    let held = HeldRequests::new(8);
    // A quarter for one address.
    assert_eq!(waits(&held, 30, 1), []);
    assert_eq!(waits(&held, 20, 1), []);
    assert_eq!(waits(&held, 10, 1), [(second(30), Kind::SlotsTaken)]);
    assert_eq!(waits(&held, 40, 1), [(second(40), Kind::SlotsTaken)]);
    for address in 2..=7 {
        assert_eq!(waits(&held, 100 + i64::from(address), address), []);
    }
    assert_eq!(waits(&held, 50, 8), [(second(107), Kind::SlotsTaken)], "eight of all");
}

#[test]
fn a_request_that_waits_for_a_slot_is_not_taken_by_a_drain() {
    let held = HeldRequests::new(8);
    waits(&held, 10, 1);
    assert!(held.take(&Uid("n10".to_owned()), 99).is_none() && !held.holds(&Uid("n10".to_owned())));
    check(&held.hold(request(LONG).0), None);
    assert!(held.holds(&Uid("u".to_owned())));
    assert_eq!(held.take_for_slots(9).len(), 1);
    assert_eq!(held.close().len(), 1);
    assert!(!held.wait_for_slot_waits(), "closed");
}

#[test]
fn a_wait_for_a_slot_is_decided_once_more_at_its_deadline_and_a_drain_is_answered() {
    let held = HeldRequests::new(8);
    assert_eq!(waits(&held, 10, 1), []);
    assert!(held.take_overdue().is_none(), "there is time left");
    let (mut slot, _answer) = request(Duration::ZERO);
    slot.caller.uid = Uid("other".to_owned());
    let refusal = crate::fleetlock::Refusal::new(Kind::SlotsTaken, "all slots are taken");
    let place = crate::lock::Place { since: second(5), node: slot.caller.node.clone() };
    slot.slot = Some(crate::reboot::SlotWait { place, refusal });
    check(&held.hold(slot), None);
    check(&held.hold(request(Duration::ZERO).0), None);
    assert_eq!(held.take_overdue().map(|held| held.caller.uid.0).as_deref(), Some("other"));
    assert!(held.take_overdue().is_none());
}

#[test]
fn the_request_whose_turn_is_next_waits_longer() {
    let held = HeldRequests::new(12);
    for since in [10, 5, 20] {
        let mut late = waiting(since);
        late.deadlines.slot = clock::now().instant;
        check(&held.hold(late), None);
    }
    let overdue = || held.take_overdue().map(|held| held.caller.uid.0);
    let mut taken = [overdue(), overdue()];
    taken.sort();
    assert_eq!((taken, overdue()), ([Some("n10".to_owned()), Some("n20".to_owned())], None));
    let [next] = held.take_for_slots(9).try_into().ok().unwrap();
    assert!(next.caller.uid.0 == "n5" && next.deadlines.slot == next.deadlines.next);
}
