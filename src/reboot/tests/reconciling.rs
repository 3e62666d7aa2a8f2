//! Which evidence the reconciler takes.

use super::*;
use crate::cluster::Waiting;

impl Fixture {
    fn holder(&self, observed: &Observed) -> String {
        described(reconcile::holder(&uid("n0"), observed, &Times::DEFAULT, self.now.clock))
    }

    fn orphan(&self, observed: &Observed) -> String {
        described(reconcile::orphan(&name("n0"), &uid("n0"), observed, self.now.clock))
    }

    /// The node, marked for the term after the one it is marked for.
    fn marked_again(&self) -> Node {
        let mut node = self.node();
        node.meta.record.as_mut().unwrap().term.term += 1;
        node
    }
}

fn described(step: reconcile::Step) -> String {
    match step {
        reconcile::Step::Change(change) => written(&change),
        reconcile::Step::Done(why) => format!("done: {why:?}"),
        reconcile::Step::Read(question) => format!("read {question:?}"),
    }
}

/// Evidence of the same read is not younger.
#[test]
fn reconcile_decides_by_evidence_that_is_younger_than_the_lock() {
    let fixture = Fixture::approved();
    let observed = |node_tick, lock_tick| fixture.observed(fixture.node(), node_tick, fixture.lock(), lock_tick);
    assert_eq!(fixture.holder(&Observed::new(uid("n0"), None)), "read Lock");
    assert_eq!([1, 2].map(|lock_tick| fixture.holder(&observed(1, lock_tick))), ["read Node", "read Node"]);
    assert_eq!([1, 2].map(|node_tick| fixture.orphan(&observed(node_tick, 1))), ["read Lock", "read Lock"]);
    let mut gone = observed(2, 1);
    (gone.node, gone.renamed) = (Some(fixture.reading(None, 2)), Some(fixture.reading(None, 1)));
    assert_eq!(fixture.holder(&gone), "read Renamed");
}

#[test]
fn an_annotation_with_an_unknown_term_may_be_newer_than_the_lock() {
    let fixture = Fixture::approved();
    let holder = fixture.lock.state.holders[0].clone();
    let another = Holder { term: holder.term + 1, ..holder.clone() };
    let node = fixture.reading(Some(fixture.node()), 2);
    let since = |tick, holder| may_be_marked_since(&node, &fixture.reading(fixture.lock(), tick), holder);
    assert!(since(1, None));
    assert!(since(1, Some(&another)), "the mark is of another term than the slot");
    assert!(!since(1, Some(&holder)), "the mark is of this very term");
    assert!(!since(2, None) && !since(3, None), "the lock is not older");
}

#[test]
fn reconcile_removes_no_annotation_that_may_be_newer_than_the_lock() {
    let fixture = Fixture::approved();
    let holder = |node, node_tick, lock_tick| fixture.holder(&fixture.observed(node, node_tick, fixture.checked_in(), lock_tick));
    assert_eq!(holder(fixture.node(), 2, 1), "write Restore");
    assert_eq!(holder(fixture.marked_again(), 2, 1), "read Lock");
    assert_eq!(holder(fixture.marked_again(), 1, 2), "write Restore");
}

#[test]
fn an_orphan_has_the_same_uid_and_is_marked() {
    let fixture = Fixture::approved();
    let orphan = |node| fixture.orphan(&fixture.observed(node, 1, fixture.freed(&["n0"]), 2));
    assert_eq!(orphan(fixture.node()), "write Restore");
    let mut recreated = fixture.node();
    recreated.meta.uid = uid("another");
    assert_eq!(orphan(recreated), "done: None");
    assert_eq!(orphan(in_service()), "done: None");
}

/// A node that asks takes a free slot within two rounds.
#[test]
fn the_record_of_a_node_that_does_not_take_a_free_slot_is_removed() {
    let fixture = Fixture::approved();
    let ago = |seconds| fixture.now.clock - SignedDuration::from_secs(seconds);
    let next = |node: Node, freed, lock_tick, slots| {
        let mut lock = fixture.freed(&["n0", "x"]);
        lock.state.freed = Some(ago(freed));
        described(reconcile::waiter(&fixture.observed(node, 1, lock, lock_tick), Capacity { slots }, fixture.now.clock))
    };
    let waiting = || {
        let mut node = in_service();
        node.meta.waiting = Some(Waiting { since: ago(86_400), reason: "slots_taken".to_owned() });
        node
    };
    assert_eq!(described(reconcile::waiter(&Observed::new(uid("n0"), None), Capacity { slots: 1 }, fixture.now.clock)), "read Node");
    assert_eq!([1, 2].map(|tick| next(waiting(), 86_400, tick, 2)), ["read Lock", "write Wait"]);
    assert_eq!(next(waiting(), 0, 2, 2), "done: None", "its turn is not over");
    assert_eq!(next(waiting(), 86_400, 2, 1), "done: None", "no slot is free");
    assert_eq!(next(in_service(), 86_400, 2, 2), "done: None");
}

#[test]
fn an_adopted_node_is_approved_and_no_other() {
    let fixture = Fixture::approved();
    let version = Some(LeaseVersion { uid: uid("new"), version: ResourceVersion("4".to_owned()) });
    let observed = fixture.observed(fixture.node(), 1, Lock { version, ..fixture.held(&["other"], &[]) }, 2);
    let adopted = reconcile::orphan(&name("n0"), &uid("n0"), &observed, fixture.now.clock);
    let reconcile::Step::Change(Change::Lock { why: LockChange::Adopt, next, .. }) = adopted else { panic!("{adopted:?}") };
    let approved: Vec<(&str, bool)> = next.holders.iter().map(|holder| (holder.node.as_str(), holder.approved.is_some())).collect();
    assert_eq!(approved, [("other", false), ("n0", true)]);
}
