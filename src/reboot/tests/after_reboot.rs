//! The rules of a check-in at their edges.

use super::*;

#[test]
fn a_check_in_from_before_the_approval_is_void_and_a_later_one_counts() {
    let fixture = Fixture::approved();
    let holder = &fixture.state.holders[0];
    let at = holder.approved.as_ref().unwrap().at;
    let next = |arrived| {
        let mut observed = fixture.observed(fixture.node(), 2, fixture.lock(), 3);
        observed.meta = Some(fixture.reading(Some(fixture.node().meta), 1));
        observed.first = Some(Some(HeldTerm::of(holder)));
        steady_state::next(&Caller { arrived, ..fixture.caller() }, &observed, fixture.now)
    };
    assert!(refused(next(at - jiff::SignedDuration::from_micros(1))).contains("superseded by"));
    assert!(matches!(next(at), Step::Change(Change::Lock { why: LockChange::CheckIn, .. })));
}

/// The boot alone proves nothing: the kubelet may have reported an earlier one late.
#[test]
fn an_approval_of_another_boot_is_overtaken_only_if_it_is_from_the_future() {
    let fixture = Fixture::approved();
    let second = jiff::SignedDuration::from_secs(1);
    let next = |boot: &str, clock| {
        let node = Node { boot_id: boot.to_owned(), ..fixture.node() };
        let mut observed = fixture.observed(node, 2, fixture.lock(), 3);
        observed.meta = Some(fixture.reading(Some(fixture.node().meta), 1));
        observed.first = Some(Some(HeldTerm::of(&fixture.state.holders[0])));
        steady_state::next(&Caller { arrived: fixture.now.clock - second, ..fixture.caller() }, &observed, Now { clock, ..fixture.now })
    };
    assert!(refused(next("another", fixture.now.clock)).contains("superseded by"));
    let before = fixture.now.clock - second;
    assert!(matches!(next("another", before), Step::Change(Change::Lock { why: LockChange::CheckIn, .. })));
    assert!(refused(next("0", before)).contains("superseded by"));
}
