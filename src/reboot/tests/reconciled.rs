//! Which evidence the reconciler takes.

use super::*;

/// Marked for the term after the one it is marked for.
fn marked_anew(mut node: Node) -> Node {
    node.mark.record.as_mut().unwrap().term.term += 1;
    node
}

#[test]
fn reconcile_decides_by_evidence_that_is_younger_than_the_lock() {
    let scene = Scene::approved();
    let mut observed = Observed::nothing(scene.uid.clone(), None);
    let asks = |observed: &Observed, question| matches!(scene.holder(observed), reconcile::Step::Look(asked) if asked == question);
    assert!(asks(&observed, Question::Lock));
    observed.fold(Fact::Node(Some(scene.node()), None), scene.now.instant);
    observed.fold(Fact::Lock(scene.lock()), scene.now.instant);
    assert!(asks(&observed, Question::Node), "the node was read before the lock");
    let mut observed = Observed::nothing(scene.uid.clone(), None);
    observed.fold(Fact::Lock(scene.lock()), scene.now.instant);
    observed.fold(Fact::Node(Some(scene.node()), None), scene.now.instant);
    assert!(matches!(scene.orphan(&observed), reconcile::Step::Look(Question::Lock)), "the lock was read before the node");
}

#[test]
fn a_mark_that_an_older_lock_does_not_know_may_be_newer_than_it() {
    let scene = Scene::approved();
    let holder = scene.state.holders[0].clone();
    let another = Holder { term: holder.term + 1, ..holder.clone() };
    let node = scene.seen(Some(scene.node()), 2);
    let since = |tick, holder| may_be_marked_since(&node, &scene.seen(scene.lock(), tick), holder);
    assert!(since(1, None));
    assert!(since(1, Some(&another)), "the mark is of another term than the slot");
    assert!(!since(1, Some(&holder)), "the mark is of this very term");
    assert!(!since(2, None) && !since(3, None), "the lock is not older");
}

#[test]
fn evidence_of_the_same_look_is_not_younger() {
    let scene = Scene::approved();
    let together = scene.observed(scene.node(), 1, scene.lock(), 1);
    assert!(matches!(scene.holder(&together), reconcile::Step::Look(Question::Node)));
    assert!(matches!(scene.orphan(&together), reconcile::Step::Look(Question::Lock)));
    let mut gone = scene.observed(scene.node(), 2, scene.lock(), 1);
    (gone.node, gone.renamed) = (Some(scene.seen(None, 2)), Some(scene.seen(None, 1)));
    assert!(matches!(scene.holder(&gone), reconcile::Step::Look(Question::Renamed)));
}

#[test]
fn reconcile_restores_no_mark_that_may_be_newer_than_the_lock() {
    let scene = Scene::approved();
    let mut lock = scene.lock();
    lock.state = lock.state.check_in(&scene.uid, scene.now.clock);
    let holder = |node, node_tick, lock_tick| scene.holder(&scene.observed(node, node_tick, lock.clone(), lock_tick));
    assert!(matches!(holder(scene.node(), 2, 1), reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)));
    assert!(matches!(holder(marked_anew(scene.node()), 2, 1), reconcile::Step::Look(Question::Lock)));
    assert!(matches!(
        holder(marked_anew(scene.node()), 1, 2),
        reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)
    ));
}

#[test]
fn an_orphan_is_the_very_node_and_marked() {
    let scene = Scene::approved();
    let freed = || Lock { state: scene.state.free(&scene.uid), ..scene.lock() };
    let orphan = |node| scene.orphan(&scene.observed(node, 1, freed(), 2));
    assert!(matches!(orphan(scene.node()), reconcile::Step::Change(Change::Node { why: NodeChange::Restore, .. }, None)));
    let mut anew = scene.node();
    anew.mark.uid = Uid("another".to_owned());
    assert!(matches!(orphan(anew), reconcile::Step::Done(None)), "a node of that name made anew");
    let mut ready = scene.node();
    (ready.mark.status, ready.mark.record) = (Status::Ready, None);
    assert!(matches!(orphan(ready), reconcile::Step::Done(None)), "in service");
}

#[test]
fn who_is_adopted_is_approved_and_nobody_else() {
    let scene = Scene::approved();
    let other = NodeName("other".to_owned());
    let group = GroupName::parse("default").unwrap();
    let now = scene.now.clock;
    let state = LockState::default().take(&other, &Uid("other".to_owned()), &group, now);
    let version = Some(LeaseVersion { uid: Uid("new".to_owned()), ..scene.version.clone() });
    let adopted = scene.orphan(&scene.observed(scene.node(), 1, Lock { state, version, written: None }, 2));
    let reconcile::Step::Change(Change::Lock { why: LockChange::Adopt, next, .. }, None) = adopted else { panic!("{adopted:?}") };
    let approved: Vec<(&str, bool)> = next.holders.iter().map(|holder| (holder.node.as_str(), holder.approved.is_some())).collect();
    assert_eq!(approved, [("other", false), ("n0", true)]);
}
