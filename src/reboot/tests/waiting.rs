//! Nodes that are refused a slot, wait for it, and give one back.

use super::*;
use crate::cluster::Waiting;
use crate::lock::{Approved, FreeReason, Place};

/// A node `n0` that holds no slot, and the facts that one request of it has read.
struct Waiter {
    fixture: Fixture,
    node: Node,
    lock: Lock,
    marked: Vec<&'static str>,
    not_ready: Vec<&'static str>,
    queue: Vec<Place>,
    rules: Rules,
    arrived: Timestamp,
}

impl Waiter {
    fn new(held: &[&str]) -> Self {
        let fixture = Fixture::approved();
        let lock = fixture.held(held, &[]);
        let (marked, not_ready, queue) = (Vec::new(), Vec::new(), Vec::new());
        Self { node: in_service(), lock, marked, not_ready, queue, rules: rules(1), arrived: fixture.now.clock, fixture }
    }

    fn seconds_ago(&self, seconds: i64) -> Timestamp {
        self.fixture.now.clock - SignedDuration::from_secs(seconds)
    }

    fn waits(mut self, seconds: i64, reason: Kind) -> Self {
        self.node.meta.waiting = Some(Waiting { since: self.seconds_ago(seconds), reason: reason.name().to_owned() });
        self
    }

    fn next(&self) -> Step {
        let fixture = &self.fixture;
        let mut observed = fixture.observed(self.node.clone(), 1, self.lock.clone(), 2);
        let not_ready = |name: &&str| Member { readiness: ReadyCondition::NotReady, ..marked_by_hand(name) };
        let members = self.marked.iter().map(|name| marked_by_hand(name)).chain(self.not_ready.iter().map(not_ready)).collect();
        let facts = FleetFacts { members, queue: self.queue.clone() };
        observed.fleet_cached = Some(fixture.reading(facts, 1));
        let caller = Caller { arrived: self.arrived, ..fixture.caller() };
        pre_reboot::next(&caller, &observed, &self.rules, fixture.now)
    }

    fn recorded(&self) -> (i64, String) {
        let step = self.next();
        let Step::Change(Change::Node { why: NodeChange::Wait, patch }) = step else { panic!("{step:?}") };
        let waiting = patch.waiting.unwrap();
        (self.fixture.now.clock.duration_since(waiting.since).as_secs(), waiting.reason)
    }
}

#[test]
fn a_wait_is_recorded_once_and_again_when_its_reason_changes() {
    assert_eq!(Waiter::new(&["x"]).recorded(), (0, "slots_taken".to_owned()));
    let step = Waiter::new(&["x"]).waits(100, Kind::SlotsTaken).next();
    assert!(matches!(&step, Step::Wait(Wait::Slot(wait)) if wait.refusal.kind == Kind::SlotsTaken), "{step:?}");
    assert_eq!(Waiter::new(&["x"]).waits(100, Kind::Deferred).recorded(), (100, "slots_taken".to_owned()));
    let mut passed = Waiter::new(&["x"]).waits(100, Kind::SlotsTaken);
    passed.lock.state = passed.lock.state.pass(passed.seconds_ago(100));
    assert_eq!(passed.recorded(), (0, "slots_taken".to_owned()), "it lost its place");
}

#[test]
fn a_free_slot_is_taken_in_turn() {
    let mut waiter = Waiter::new(&[]).waits(100, Kind::SlotsTaken);
    waiter.lock.state.freed = Some(waiter.seconds_ago(5));
    check(waiter.next(), "write Take");
    waiter.queue = vec![Place { since: waiter.seconds_ago(200), node: name("x") }];
    let step = waiter.next();
    assert!(matches!(&step, Step::Wait(Wait::Slot(wait)) if wait.refusal.kind == Kind::Queued), "{step:?}");
    refused(step, "node n0 must wait: a slot is free, but node x has waited longer and has its turn until 2027-01-15T08:10:55Z");
    // The request was held when the slot was freed.
    waiter.arrived = waiter.seconds_ago(60);
    check(waiter.next(), "write Take");
    waiter.arrived = waiter.seconds_ago(0);
    waiter.lock.state.freed = Some(waiter.seconds_ago(700));
    check(waiter.next(), "write Take");
    waiter.queue.push(Place { since: waiter.seconds_ago(800), node: name("y") });
    let step = waiter.next();
    let Step::Change(Change::Lock { why: LockChange::Take, next, .. }) = step else { panic!("{step:?}") };
    let passed = [800, 200].map(|seconds| next.has_passed(waiter.seconds_ago(seconds)));
    assert_eq!(passed, [true, false], "the first did not come, and the second has not had its turn yet");
}

/// Two slots are free, but a marked node will need one of them, and the other is for the node that has waited longer.
#[test]
fn a_node_that_is_marked_by_hand_leaves_fewer_turns() {
    let mut waiter = Waiter::new(&[]).waits(100, Kind::SlotsTaken);
    waiter.rules = rules(2);
    waiter.lock.state.freed = Some(waiter.seconds_ago(5));
    waiter.queue = vec![Place { since: waiter.seconds_ago(200), node: name("x") }];
    check(waiter.next(), "write Take");
    waiter.marked = vec!["m"];
    refused(waiter.next(), "node n0 must wait: a slot is free, but node x has waited longer");
}

#[test]
fn a_drain_ends_when_its_node_is_marked_ready_by_hand() {
    let fixture = Fixture::approved();
    let mut observed = fixture.looked(fixture.held(&["n0"], &[]), &[], Vec::new());
    observed.node.as_mut().unwrap().value.as_mut().unwrap().meta.status = Status::Ready;
    let step = fixture.pre_reboot(&observed, 1);
    assert!(matches!(step, Step::Change(Change::Lock { why: LockChange::Free(FreeReason::CalledOff), .. })), "{step:?}");
}

#[test]
fn a_deferred_node_takes_no_free_slot_until_its_time_is_over() {
    let mut waiter = Waiter::new(&["n0"]);
    let (uid, times) = (uid("n0"), waiter.rules.times);
    for (minutes, want) in [(29, "deferred"), (30, "write Take")] {
        let since = waiter.seconds_ago(minutes * 60);
        waiter.lock.state = waiter.fixture.held(&["n0"], &[]).state.give_back(&uid, FreeReason::NotReady, None, &times, since);
        match waiter.next() {
            Step::Change(Change::Node { why: NodeChange::Wait, patch }) => assert_eq!(patch.waiting.unwrap().reason, want),
            step => check(step, want),
        }
    }
}

#[test]
fn the_slots_reason_names_what_each_holder_does() {
    let mut waiter = Waiter::new(&["x"]).waits(1, Kind::SlotsTaken);
    refused(waiter.next(), "the slot is held by x since 2027-01-15T08:00:00Z (being drained)");
    waiter.lock = waiter.fixture.held(&["x"], &["x"]);
    refused(waiter.next(), "x since 2027-01-15T08:00:00Z (approved at 2027-01-15T08:00:00Z and not back yet)");
    waiter.lock.state = waiter.lock.state.back(&uid("x"), waiter.seconds_ago(0));
    waiter.not_ready = vec!["y"];
    refused(waiter.next(), "x since 2027-01-15T08:00:00Z (back since 2027-01-15T08:00:00Z, but not checked in)");
    waiter.not_ready = vec!["x"];
    refused(waiter.next(), "x since 2027-01-15T08:00:00Z (back since 2027-01-15T08:00:00Z, but its kubelet is not Ready)");
    let unknown = waiter.fixture.observed(waiter.node.clone(), 1, waiter.lock.clone(), 2);
    check(waiter.fixture.pre_reboot(&unknown, 1), "read FleetCached");
}

/// An agent that asks is not rebooting.
#[test]
fn the_approval_of_a_node_that_keeps_asking_and_does_not_reboot_is_withdrawn() {
    let fixture = Fixture::approved();
    let next = |first: i64, last: i64, boot: &str| {
        let mut lock = fixture.lock();
        let ago = |seconds| fixture.now.clock - SignedDuration::from_secs(seconds);
        lock.state.holders[0].approved = Some(Approved { at: ago(last), boot: boot.to_owned(), first: Some(ago(first)), unsure: false });
        short(pre_reboot::next(&fixture.caller(), &fixture.observed(fixture.node(), 2, lock, 1), &rules(1), fixture.now))
    };
    assert_eq!(next(3_599, 300, "0"), "read Pods");
    assert_eq!(next(3_600, 300, "0"), "write Free");
    assert_eq!(next(3_600, 0, "0"), "read Pods", "the request is not newer than the approval");
    assert_eq!(next(3_600, 300, "other"), "read Pods", "it has rebooted");
    assert_eq!(next(3_600, 300, ""), "write Free", "the boot of an adopted slot is not known");
}

/// The agent may ask in a later boot than the one that the Node shows.
#[test]
fn the_boot_of_a_node_is_in_doubt_if_its_kubelet_has_not_reported_since() {
    let fixture = Fixture::approved();
    let unsure = |heartbeat: Option<i64>, lock: Lock| {
        let mut observed = fixture.looked(lock, &[], Vec::new());
        let node = observed.node.as_mut().unwrap().value.as_mut().unwrap();
        node.heartbeat = heartbeat.map(|seconds| fixture.now.clock - SignedDuration::from_secs(seconds));
        let step = fixture.pre_reboot(&observed, 1);
        let Step::Change(Change::Lock { why: LockChange::Approve, next, .. }) = step else { panic!("{step:?}") };
        next.holders[0].approved.as_ref().unwrap().unsure
    };
    let held = || fixture.held(&["n0"], &[]);
    assert_eq!([None, Some(480), Some(481)].map(|age| unsure(age, held())), [false, false, true]);
    let checked_in = fixture.checked_in().state.take(&name("n0"), &uid("n0"), &group(), fixture.now.clock);
    assert!(unsure(Some(0), Lock { state: checked_in, ..held() }), "it asks again before its kubelet has reported its boot");
}

#[test]
fn the_request_of_a_draining_node_is_recorded_once_a_minute() {
    let fixture = Fixture::approved();
    let mut lock = fixture.held(&["n0"], &[]);
    let next =
        |lock: &Lock| short(pre_reboot::next(&fixture.caller(), &fixture.looked(lock.clone(), &[], Vec::new()), &rules(1), fixture.now));
    for (seconds, want) in [(59, "write Approve"), (60, "write Ask")] {
        lock.state.holders[0].asked = Some(fixture.now.clock - SignedDuration::from_secs(seconds));
        assert_eq!(next(&lock), want);
    }
    lock.state.holders[0].approved = fixture.lock.state.holders[0].approved.clone();
    assert_eq!(next(&lock), "write Approve", "an approval is recorded in any case");
}

/// The marked node may wait for the slot of the node that waits for it.
#[test]
fn a_holder_does_not_wait_for_a_marked_node_for_ever() {
    let fixture = Fixture::approved();
    let next = |seconds: i64| {
        let mut lock = fixture.held(&["n0"], &[]);
        lock.state.holders[0].since = fixture.now.clock - SignedDuration::from_secs(seconds);
        lock.state.holders[0].asked = Some(fixture.now.clock);
        fixture.pre_reboot(&fixture.looked(lock, &["z"], Vec::new()), 1)
    };
    refused(next(1_799), "node n0 keeps its slot but must wait: node z marked");
    check(next(1_800), "write Free");
}

/// Otherwise a node that a gate refuses would keep its slot, or two nodes would wait for each other's.
#[test]
fn the_approval_of_an_uncordoned_node_that_keeps_asking_is_withdrawn_before_any_gate() {
    let fixture = Fixture::approved();
    let node = Node { unschedulable: false, readiness: ReadyCondition::NotReady, ..fixture.node() };
    for (minutes, want) in [(59, "node n0 must wait"), (60, "write Free")] {
        let mut lock = fixture.lock();
        let at = fixture.now.clock - SignedDuration::from_mins(minutes);
        lock.state.holders[0].approved = Some(Approved { at, boot: "0".to_owned(), first: None, unsure: false });
        let step = pre_reboot::next(&fixture.caller(), &fixture.observed(node.clone(), 2, lock, 1), &rules(1), fixture.now);
        assert!(short(step).starts_with(want), "{minutes}");
    }
}
