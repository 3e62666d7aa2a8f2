//! What a request remembers of what it has read and written.

use super::*;

#[test]
fn only_a_write_that_made_a_new_version_is_our_own() {
    let fixture = Fixture::approved();
    let node = |version: u64| {
        let mut node = fixture.node();
        node.meta.version = ResourceVersion(version.to_string());
        node
    };
    for (change, own) in
        [(Some(NodeChange::Mark), true), (Some(NodeChange::Drained), true), (Some(NodeChange::Restore), false), (None, false)]
    {
        let mut observed = Observed::new(uid("n0"), None);
        fixture.record(&mut observed, Fact::Node(Some(node(7)), None));
        fixture.record(&mut observed, Fact::Node(Some(node(8)), change));
        assert_eq!(observed.own_write, own.then(|| node(8).meta), "{change:?}");
        fixture.record(&mut observed, Fact::Node(Some(node(8)), change));
        assert_eq!(observed.own_write, None, "{change:?}: nothing was changed, so the watch has nothing to deliver");
        fixture.record(&mut observed, Fact::Node(Some(node(9)), change));
        observed.forget_node();
        assert_eq!(observed.own_write, None);
    }
}

#[test]
fn the_term_is_the_first_that_was_read_or_the_one_that_was_written() {
    let fixture = Fixture::approved();
    let mut observed = Observed::new(uid("n0"), None);
    for (taken, written, term, first) in [
        (&[][..], None, None, None),
        (&["n0"], None, Some(1), None),
        (&["n0"; 2], None, Some(1), None),
        (&["n0"; 3], Some(LockChange::Take), Some(3), Some(3)),
    ] {
        fixture.record(&mut observed, Fact::Lock(Lock { written, ..fixture.held(taken, &[]) }));
        let number = |held: &Option<HeldTerm>| held.as_ref().map(|held| held.term);
        assert_eq!((number(&observed.term), number(observed.first.as_ref().unwrap())), (term, first), "{taken:?}");
    }
}

#[test]
fn the_fleet_is_read_again_after_every_look_at_the_node_but_the_write_that_restores_it() {
    let fixture = Fixture::approved();
    let restores = [NodeChange::Restore, NodeChange::RestoreCordoned].map(Some);
    for change in [None, Some(NodeChange::Drained), Some(NodeChange::Mark)].into_iter().chain(restores) {
        let mut observed = Observed::new(uid("n0"), None);
        fixture.record(&mut observed, Fact::Fleet(FleetFacts::default()));
        fixture.record(&mut observed, Fact::Node(Some(fixture.node()), change));
        assert_eq!(observed.fleet.is_some(), restores.contains(&change), "{change:?}");
    }
}

#[test]
fn the_record_of_the_drain_is_written_over_the_node_that_was_read() {
    let fixture = Fixture::approved();
    let mut observed = Observed::new(uid("n0"), None);
    let later = fixture.now.instant + Duration::from_secs(3);
    let read = |observed: &Observed| observed.node.as_ref().map(|node| (node.tick, node.at));
    fixture.record(&mut observed, Fact::Node(Some(fixture.node()), None));
    observed.record(Fact::Pods(Complete::of_all_pages(Vec::new())), later);
    observed.record(Fact::Node(Some(fixture.node()), Some(NodeChange::Drained)), later);
    assert_eq!(read(&observed), Some((1, fixture.now.instant)), "it was so since the reading, which is before that of the pods");
    observed.record(Fact::Node(Some(fixture.node()), Some(NodeChange::Mark)), later);
    assert_eq!(read(&observed), Some((4, later)));
}

#[test]
fn a_term_follows_itself_with_nothing_but_a_check_in_since() {
    let term = |term, approved: Option<i64>, checked_in| HeldTerm {
        term,
        approved: approved.map(|at| Timestamp::from_second(at).unwrap()),
        checked_in,
    };
    let first = term(1, Some(1), false);
    assert!(first.follows(&first) && term(1, Some(1), true).follows(&first));
    assert!(term(1, Some(1), true).follows(&term(1, Some(1), true)));
    assert!(!first.follows(&term(1, Some(1), true)), "a check-in is not taken back");
    assert!(!term(2, Some(1), true).follows(&first), "another term");
    assert!(!term(1, Some(2), true).follows(&first), "approved again");
    assert!(!first.follows(&term(1, None, false)), "approved since");
}

#[test]
fn each_purpose_has_its_own_words() {
    use crate::lock::FreeReason::{OtherFirst, Rebooted};
    use LockChange::{Adopt, Approve, Ask, Back, CheckIn, Free, Take};
    let fixture = Fixture::approved();
    let lock = |why| Change::Lock { why, next: LockState::default(), basis: None };
    let node = |why| Change::Node { why, patch: NodePatch::restore(&fixture.node()) };
    let nodes =
        [NodeChange::Drained, NodeChange::Mark, NodeChange::MarkAgain, NodeChange::Restore, NodeChange::RestoreCordoned, NodeChange::Wait]
            .map(node);
    let changes: Vec<Change> =
        [Adopt, Approve, Ask, Back, CheckIn, Free(OtherFirst), Free(Rebooted), Take].map(lock).into_iter().chain(nodes).collect();
    let words: std::collections::BTreeSet<String> = changes.iter().map(Change::purpose).collect();
    assert!(words.len() == changes.len() && words.iter().all(|words| !words.is_empty()), "{words:?}");
}

/// Each change is in the log at info, except the requests of a node that is being drained, which are recorded once a minute.
#[test]
fn only_a_request_that_is_recorded_once_more_is_routine() {
    let lock = Fixture::approved().lock();
    let is_routine = |why| lock.change(why, lock.state.clone()).is_routine();
    assert!(is_routine(LockChange::Ask));
    assert!(![LockChange::Take, LockChange::Approve, LockChange::CheckIn, LockChange::Back].into_iter().any(is_routine));
}
