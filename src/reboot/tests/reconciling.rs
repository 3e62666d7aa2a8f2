//! Which evidence the reconciler takes.

use super::*;

/// Marked for the term after the one it is marked for.
fn marked_again(mut node: Node) -> Node {
    node.meta.record.as_mut().unwrap().term.term += 1;
    node
}

#[test]
fn reconcile_decides_by_evidence_that_is_younger_than_the_lock() {
    let fixture = Fixture::approved();
    let mut observed = Observed::new(fixture.uid.clone(), None);
    let asks = |observed: &Observed, question| matches!(fixture.holder(observed), reconcile::Step::Read(asked) if asked == question);
    assert!(asks(&observed, Question::Lock));
    observed.record(Fact::Node(Some(fixture.node()), None), fixture.now.instant);
    observed.record(Fact::Lock(fixture.lock()), fixture.now.instant);
    assert!(asks(&observed, Question::Node), "the node was read before the lock");
    let mut observed = Observed::new(fixture.uid.clone(), None);
    observed.record(Fact::Lock(fixture.lock()), fixture.now.instant);
    observed.record(Fact::Node(Some(fixture.node()), None), fixture.now.instant);
    assert!(matches!(fixture.orphan(&observed), reconcile::Step::Read(Question::Lock)), "the lock was read before the node");
}

#[test]
fn an_annotation_with_an_unknown_term_may_be_newer_than_the_lock() {
    let fixture = Fixture::approved();
    let holder = fixture.state.holders[0].clone();
    let another = Holder { term: holder.term + 1, ..holder.clone() };
    let node = fixture.reading(Some(fixture.node()), 2);
    let since = |tick, holder| may_be_marked_since(&node, &fixture.reading(fixture.lock(), tick), holder);
    assert!(since(1, None));
    assert!(since(1, Some(&another)), "the mark is of another term than the slot");
    assert!(!since(1, Some(&holder)), "the mark is of this very term");
    assert!(!since(2, None) && !since(3, None), "the lock is not older");
}

#[test]
fn evidence_of_the_same_read_is_not_newer() {
    let fixture = Fixture::approved();
    let together = fixture.observed(fixture.node(), 1, fixture.lock(), 1);
    assert!(matches!(fixture.holder(&together), reconcile::Step::Read(Question::Node)));
    assert!(matches!(fixture.orphan(&together), reconcile::Step::Read(Question::Lock)));
    let mut gone = fixture.observed(fixture.node(), 2, fixture.lock(), 1);
    (gone.node, gone.renamed) = (Some(fixture.reading(None, 2)), Some(fixture.reading(None, 1)));
    assert!(matches!(fixture.holder(&gone), reconcile::Step::Read(Question::Renamed)));
}

#[test]
fn reconcile_removes_no_annotation_that_may_be_newer_than_the_lock() {
    let fixture = Fixture::approved();
    let mut lock = fixture.lock();
    lock.state = lock.state.check_in(&fixture.uid, fixture.now.clock);
    let holder = |node, node_tick, lock_tick| fixture.holder(&fixture.observed(node, node_tick, lock.clone(), lock_tick));
    assert!(matches!(holder(fixture.node(), 2, 1), reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)));
    assert!(matches!(holder(marked_again(fixture.node()), 2, 1), reconcile::Step::Read(Question::Lock)));
    assert!(matches!(
        holder(marked_again(fixture.node()), 1, 2),
        reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)
    ));
}

#[test]
fn an_orphan_has_the_same_uid_and_is_marked() {
    let fixture = Fixture::approved();
    let freed = || Lock { state: fixture.state.free(&fixture.uid), ..fixture.lock() };
    let orphan = |node| fixture.orphan(&fixture.observed(node, 1, freed(), 2));
    assert!(matches!(orphan(fixture.node()), reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)));
    let mut recreated = fixture.node();
    recreated.meta.uid = Uid("another".to_owned());
    assert!(matches!(orphan(recreated), reconcile::Step::Done(None)), "a node of that name made recreated");
    let mut ready = fixture.node();
    (ready.meta.status, ready.meta.record) = (Status::Ready, None);
    assert!(matches!(orphan(ready), reconcile::Step::Done(None)), "in service");
}

#[test]
fn an_adopted_node_is_approved_and_no_other() {
    let fixture = Fixture::approved();
    let other = NodeName("other".to_owned());
    let group = GroupName::parse("default").unwrap();
    let now = fixture.now.clock;
    let state = LockState::default().take(&other, &Uid("other".to_owned()), &group, now);
    let version = Some(LeaseVersion { uid: Uid("new".to_owned()), ..fixture.version.clone() });
    let adopted = fixture.orphan(&fixture.observed(fixture.node(), 1, Lock { state, version, written: None }, 2));
    let reconcile::Step::Change(Change::Lock { why: LockChange::Adopt, next, .. }, None) = adopted else { panic!("{adopted:?}") };
    let approved: Vec<(&str, bool)> = next.holders.iter().map(|holder| (holder.node.as_str(), holder.approved.is_some())).collect();
    assert_eq!(approved, [("other", false), ("n0", true)]);
}
