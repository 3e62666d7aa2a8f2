//! The rules of a check-in at their edges.

use super::*;

#[test]
fn a_check_in_from_before_the_approval_is_void_and_a_later_one_counts() {
    let scene = Scene::approved();
    let holder = &scene.state.holders[0];
    let at = holder.approved.as_ref().unwrap().at;
    let next = |arrived| {
        let mut seen = scene.observed(scene.node(), 2, scene.lock(), 3);
        seen.mark = Some(scene.seen(Some(scene.node().mark), 1));
        seen.first = Some(Some(HeldTerm::of(holder)));
        steady_state::next(&Caller { arrived, ..scene.caller() }, &seen, scene.now)
    };
    assert!(refused(next(at - jiff::SignedDuration::from_micros(1))).contains("has called again since"));
    assert!(matches!(next(at), Step::Change(Change::Lock { why: LockChange::CheckIn, .. })));
}

/// The boot alone proves nothing: the kubelet may have reported an earlier one late.
#[test]
fn an_approval_of_another_boot_is_overtaken_only_if_it_is_from_the_future() {
    let scene = Scene::approved();
    let second = jiff::SignedDuration::from_secs(1);
    let next = |boot: &str, clock| {
        let node = Node { boot_id: boot.to_owned(), ..scene.node() };
        let mut seen = scene.observed(node, 2, scene.lock(), 3);
        seen.mark = Some(scene.seen(Some(scene.node().mark), 1));
        seen.first = Some(Some(HeldTerm::of(&scene.state.holders[0])));
        steady_state::next(&Caller { arrived: scene.now.clock - second, ..scene.caller() }, &seen, Now { clock, ..scene.now })
    };
    assert!(refused(next("another", scene.now.clock)).contains("has called again since"));
    let before = scene.now.clock - second;
    assert!(matches!(next("another", before), Step::Change(Change::Lock { why: LockChange::CheckIn, .. })));
    assert!(refused(next("0", before)).contains("has called again since"));
}
