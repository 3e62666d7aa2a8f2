//! What the proofs behind an approval can and cannot be made from.

use super::*;

impl Fixture {
    /// A value whose reading began after that number of seconds.
    fn after<T>(&self, seconds: u64, value: T, tick: u64) -> Reading<T> {
        Reading { value, tick, at: self.now.instant + Duration::from_secs(seconds) }
    }

    fn cordoned(&self, tick: u64) -> Cordoned {
        Cordoned::of(&self.reading(Some(self.node()), tick), &self.lock(), 1).unwrap()
    }

    fn emptied(&self, pods: &Reading<Complete<Vec<Pod>>>, cordoned: &Cordoned) -> Option<Emptied> {
        Emptied::of(pods, cordoned, |pods| DrainPlan::of(pods, &Ours::default(), self.now.clock, None)).ok()
    }

    fn slot(&self, seconds: u64, tick: u64) -> HeldSlot {
        HeldSlot::of(&self.after(seconds, Lock { written: Some(LockChange::Approve), ..self.lock() }, tick), &uid("n0")).unwrap()
    }
}

fn pods(pods: Vec<Pod>) -> Complete<Vec<Pod>> {
    Complete::of_all_pages(pods)
}

#[test]
fn proofs_that_are_old_or_out_of_order_approve_nothing() {
    let fixture = Fixture::approved();
    let old = PROOF_AGE_MAX.as_secs();
    // The ticks of the node, the pods and the lock; the seconds between the first and the others, and between the first and the approval.
    for ([node, list, lock], seconds, now, approves, why) in [
        ([1, 2, 3], 0, 0, true, ""),
        ([1, 2, 3], 0, old, true, ""),
        ([1, 2, 2], 0, 0, false, "the slot was not seen after the pods"),
        ([1, 2, 3], 9, old + 1, false, "frozen after the cordon was seen"),
        ([2, 1, 3], 0, 0, false, "listed before the cordon"),
        ([2, 2, 3], 0, 0, false, "listed with the cordon"),
        ([1, 3, 2], 0, 0, false, "slot seen before the list"),
    ] {
        let cordoned = fixture.cordoned(node);
        let emptied = fixture.emptied(&fixture.after(seconds, pods(Vec::new()), list), &cordoned);
        let now = fixture.now.instant + Duration::from_secs(now);
        let approval = emptied.and_then(|emptied| Approval::of(cordoned, emptied, fixture.slot(seconds, lock), now).ok());
        assert_eq!(approval.is_some(), approves, "{why}");
    }
}

#[test]
fn a_list_with_the_tick_of_the_cordon_proves_nothing() {
    let fixture = Fixture::approved();
    for (tick, proves) in [(1, true), (2, false)] {
        let emptied = fixture.emptied(&fixture.reading(pods(Vec::new()), 2), &fixture.cordoned(1)).unwrap();
        let approval = Approval::of(fixture.cordoned(tick), emptied, fixture.slot(0, 3), fixture.now.instant);
        assert_eq!(approval.is_ok(), proves);
    }
}

#[test]
fn a_slot_that_was_only_read_proves_nothing() {
    let fixture = Fixture::approved();
    let proves = |written, node| HeldSlot::of(&fixture.reading(Lock { written, ..fixture.lock() }, 9), &uid(node)).is_some();
    assert!(!proves(None, "n0") && !proves(Some(LockChange::Take), "n0"));
    assert!(proves(Some(LockChange::Approve), "n0") && !proves(Some(LockChange::Approve), "other"));
}

#[test]
fn a_node_is_cordoned_only_when_it_is_marked_for_this_term_and_unschedulable() {
    let fixture = Fixture::approved();
    let proves = |node, term| Cordoned::of(&fixture.reading(Some(node), 1), &fixture.lock(), term).is_some();
    assert!(proves(fixture.node(), 1) && !proves(fixture.node(), 2));
    assert!(!proves(Node { unschedulable: false, ..fixture.node() }, 1), "uncordoned");
    let mut ready = fixture.node();
    ready.meta.status = Status::Ready;
    assert!(!proves(ready, 1), "not marked");
}

#[test]
fn an_approval_names_the_pods_that_stay_because_they_came_back() {
    let fixture = Fixture::approved();
    let wire = json!({"metadata": {"namespace": "shop", "name": "back", "uid": "p", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"nodeName": "n0", "tolerations": [{"operator": "Exists"}]}, "status": {"phase": "Running"}});
    let pods = pods(vec![serde_json::from_value(wire).unwrap()]);
    let emptied = fixture.emptied(&fixture.reading(pods, 2), &fixture.cordoned(1)).unwrap();
    let approval = Approval::of(fixture.cordoned(1), emptied, fixture.slot(0, 3), fixture.now.instant).ok().unwrap();
    assert_eq!(approval.came_back().iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop/back"]);
}
