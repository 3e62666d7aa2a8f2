//! The rules of a check-in at their edges.

use super::*;

/// The step of a check-in that arrived at a time relative to the approval, by a clock relative to it.
fn check_in(boot: &str, arrived: SignedDuration, clock: SignedDuration) -> Step {
    let fixture = Fixture::approved();
    let mut observed = fixture.observed(Node { boot_id: boot.to_owned(), ..fixture.node() }, 2, fixture.lock(), 3);
    observed.meta = Some(fixture.reading(Some(fixture.node().meta), 1));
    observed.first = Some(Some(HeldTerm::of(&fixture.lock.state.holders[0])));
    let approved = fixture.now.clock;
    let caller = Caller { arrived: approved + arrived, ..fixture.caller() };
    steady_state::next(&caller, &observed, &Times::DEFAULT, Now { clock: approved + clock, ..fixture.now })
}

#[test]
fn a_check_in_from_before_the_approval_is_void_and_a_later_one_counts() {
    refused(check_in("0", SignedDuration::from_micros(-1), SignedDuration::ZERO), "superseded by");
    check(check_in("0", SignedDuration::ZERO, SignedDuration::ZERO), "write CheckIn");
}

/// The slot of a node that was marked Ready by hand is freed, too. Any other check-in of a node in service costs two small reads.
#[test]
fn a_check_in_of_a_node_in_service_reads_the_lock_and_its_node_only_if_it_holds_a_slot() {
    let fixture = Fixture::approved();
    let mut node = in_service();
    node.meta.status = Status::Ready;
    let mut observed = Observed::new(uid("n0"), None);
    let next = |observed: &Observed| steady_state::next(&fixture.caller(), observed, &Times::DEFAULT, fixture.now);
    check(next(&observed), "read Meta");
    fixture.record(&mut observed, Fact::Meta(Some(node.meta.clone())));
    check(next(&observed), "read Lock");
    let mut holds = observed.clone();
    fixture.record(&mut observed, Fact::Lock(fixture.freed(&["n0"])));
    assert!(matches!(next(&observed), Step::Answer(Outcome::Settled(Settled::InService(_)))));
    fixture.record(&mut holds, Fact::Lock(fixture.lock()));
    check(next(&holds), "read Node");
    fixture.record(&mut holds, Fact::Node(Some(node), None));
    check(next(&holds), "write CheckIn");
}

/// The boot alone proves nothing: the kubelet may have reported an earlier one late.
#[test]
fn an_approval_of_another_boot_is_overtaken_only_if_it_is_from_the_future() {
    let before = SignedDuration::from_secs(-1);
    refused(check_in("another", before, SignedDuration::ZERO), "superseded by");
    check(check_in("another", before, before), "write CheckIn");
    refused(check_in("0", before, before), "superseded by");
}

#[test]
fn the_log_says_whether_the_node_was_uncordoned() {
    let mut node = Fixture::approved().node();
    assert_eq!(Change::restore(&node).purpose(), "marked Ready, uncordoned");
    node.meta.record.as_mut().unwrap().before = Before::Unschedulable;
    assert_eq!(Change::restore(&node).purpose(), "marked Ready, left cordoned");
    node.unschedulable = false;
    assert_eq!(Change::restore(&node).purpose(), "marked Ready");
}
