//! Single rules at their edges, on values made by hand: what an interleaving at random meets too seldom.

use super::*;

/// A node that is approved: what a request reads of it.
struct Scene {
    world: World,
    uid: Uid,
}

impl Scene {
    fn approved() -> Self {
        let mut world = World::new(1);
        world.call(0);
        world.run(1, 100);
        assert_eq!(world.machines[0].client, Client::Approved);
        Self { world, uid: Uid("u0".to_owned()) }
    }

    fn node(&self) -> Node {
        self.world.machines[0].node.clone()
    }

    fn lock(&self) -> Lock {
        Lock { state: self.world.lock.clone(), version: self.world.lease.clone(), written: None }
    }

    fn seen<T>(&self, value: T, tick: u64) -> Seen<T> {
        Seen { value, tick, at: self.world.start }
    }

    /// Node and lock, read at these ticks.
    fn observed(&self, node: Node, node_tick: u64, lock: Lock, lock_tick: u64) -> Observed {
        let mut observed = Observed::nothing(self.uid.clone(), None);
        observed.node = Some(self.seen(Some(node), node_tick));
        observed.lock = Some(self.seen(lock, lock_tick));
        observed
    }

    fn holder(&self, observed: &Observed) -> reconcile::Step {
        reconcile::holder(&self.uid, observed, self.world.now().clock)
    }

    fn orphan(&self, observed: &Observed) -> reconcile::Step {
        reconcile::orphan(&NodeName("n0".to_owned()), &self.uid, observed, self.world.now().clock)
    }
}

/// Marked for the term after the one it is marked for.
fn marked_anew(mut node: Node) -> Node {
    node.mark.record.as_mut().unwrap().term.term += 1;
    node
}

#[test]
fn evidence_of_the_same_look_is_not_younger() {
    let scene = Scene::approved();
    let together = scene.observed(scene.node(), 1, scene.lock(), 1);
    assert!(matches!(scene.holder(&together), reconcile::Step::Look(Question::Node)));
    assert!(matches!(scene.orphan(&together), reconcile::Step::Look(Question::Lock)));
}

#[test]
fn a_list_of_the_same_look_as_the_cordon_proves_nothing() {
    let scene = Scene::approved();
    let lock = Lock { written: Some(LockChange::Approve), ..scene.lock() };
    let cordoned = |tick| Cordoned::of(&scene.seen(Some(scene.node()), tick), &lock, 1).unwrap();
    let emptied = || Emptied::of(&scene.seen(Complete::of_all_pages(Vec::new()), 2), &cordoned(1), |_| DrainPlan::default()).unwrap();
    let slot = || HeldSlot::of(&scene.seen(lock.clone(), 3), &scene.uid).unwrap();
    assert!(Approval::of(cordoned(1), emptied(), slot(), scene.world.start).is_ok());
    assert!(Approval::of(cordoned(2), emptied(), slot(), scene.world.start).is_err());
}

#[test]
fn reconcile_restores_no_mark_that_may_be_newer_than_the_lock() {
    let scene = Scene::approved();
    let mut lock = scene.lock();
    lock.state = lock.state.check_in(&scene.uid, scene.world.now().clock);
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
    let freed = || Lock { state: scene.world.lock.free(&scene.uid), ..scene.lock() };
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
    let now = scene.world.now().clock;
    let state = LockState::default().take(&other, &Uid("other".to_owned()), &group, now);
    let version = scene.world.lease.clone().map(|version| LeaseVersion { uid: Uid("new".to_owned()), ..version });
    let adopted = scene.orphan(&scene.observed(scene.node(), 1, Lock { state, version, written: None }, 2));
    let reconcile::Step::Change(Change::Lock { why: LockChange::Adopt, next, .. }, None) = adopted else { panic!("{adopted:?}") };
    let approved: Vec<(&str, bool)> = next.holders.iter().map(|holder| (holder.node.as_str(), holder.approved.is_some())).collect();
    assert_eq!(approved, [("other", false), ("n0", true)]);
}

#[test]
fn each_purpose_has_its_own_words() {
    use LockChange::{Adopt, Approve, CheckIn, Free, Take};
    let scene = Scene::approved();
    let lock = |why| Change::Lock { why, next: LockState::default(), basis: None };
    let node = |why| Change::Node { why, patch: NodePatch::restore(&scene.node()) };
    let nodes = [NodeChange::Drained, NodeChange::Mark, NodeChange::Restore].map(node);
    let changes: Vec<Change> = [Adopt, Approve, CheckIn, Free, Take].map(lock).into_iter().chain(nodes).collect();
    let words: std::collections::BTreeSet<&str> = changes.iter().map(Change::purpose).collect();
    assert!(words.len() == changes.len() && words.iter().all(|words| words.contains(' ')), "{words:?}");
}

#[test]
fn only_a_write_that_made_a_new_version_is_our_own() {
    let scene = Scene::approved();
    let versions = |version: u64| {
        let mut node = scene.node();
        node.mark.version = ResourceVersion(version.to_string());
        node
    };
    for (change, own) in
        [(Some(NodeChange::Mark), true), (Some(NodeChange::Drained), true), (Some(NodeChange::Restore), false), (None, false)]
    {
        let mut observed = Observed::nothing(scene.uid.clone(), None);
        observed.fold(Fact::Node(Some(versions(7)), None), scene.world.start);
        observed.fold(Fact::Node(Some(versions(8)), change), scene.world.start);
        assert_eq!(observed.own_write.as_ref(), own.then(|| versions(8).mark).as_ref(), "{change:?}");
        observed.fold(Fact::Node(Some(versions(8)), change), scene.world.start);
        assert_eq!(observed.own_write, None, "{change:?}: nothing was changed, so the watch has nothing to deliver");
        observed.fold(Fact::Node(Some(versions(9)), change), scene.world.start);
        observed.forget_node();
        assert_eq!(observed.own_write, None);
    }
}

#[test]
fn the_record_of_the_drain_is_written_over_the_node_that_was_read() {
    let scene = Scene::approved();
    let mut observed = Observed::nothing(scene.uid.clone(), None);
    let later = scene.world.start + Duration::from_secs(3);
    observed.fold(Fact::Node(Some(scene.node()), None), scene.world.start);
    observed.fold(Fact::Pods(Complete::of_all_pages(Vec::new())), later);
    observed.fold(Fact::Node(Some(scene.node()), Some(NodeChange::Drained)), later);
    let seen = observed.node.as_ref().unwrap();
    assert_eq!((seen.tick, seen.at), (1, scene.world.start), "it was so since the reading, which is before that of the pods");
    observed.fold(Fact::Node(Some(scene.node()), Some(NodeChange::Mark)), later);
    let seen = observed.node.as_ref().unwrap();
    assert_eq!((seen.tick, seen.at), (4, later));
}

#[test]
fn others_are_the_marked_who_hold_no_slot_and_are_not_asked_for() {
    let scene = Scene::approved();
    let name = |name: &str| NodeName(name.to_owned());
    let others = |names: &[&str], fleet, lock, own: &str| {
        let members = names.iter().map(|node| marked_by_hand(node)).collect();
        let fleet = scene.seen(FleetFacts { members }, fleet);
        FleetFacts::rebooting_without_slot(Some(&fleet), &scene.seen(scene.lock(), lock), &name(own))
    };
    let are = |names: &[&str]| Others::Are(names.iter().map(|node| name(node)).collect());
    assert_eq!(others(&["n0", "n1", "n2"], 1, 2, "n1"), are(&["n2"]), "n0 holds a slot, and n1 asks");
    assert_eq!(others(&["n2"], 2, 1, "n1"), Others::LockTooOld);
    assert_eq!(others(&["n2"], 2, 2, "n1"), are(&["n2"]), "the lock is not older");
    assert_eq!(others(&["n0", "n1"], 2, 1, "n1"), are(&[]), "none of these can be mistaken for another");
    assert_eq!(FleetFacts::rebooting_without_slot(None, &scene.seen(scene.lock(), 1), &name("n1")), Others::NotRead);
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
    assert!(!term(1, Some(2), true).follows(&first), "approved anew");
    assert!(!first.follows(&term(1, None, false)), "approved since");
}

impl Scene {
    fn pre_reboot(&self, seen: &Observed, slots: usize) -> Step {
        pre_reboot::next(
            &self.world.caller(0),
            seen,
            &Rules { capacity: Capacity { slots }, protect_control_plane: true, ours: Ours::default() },
            self.world.now(),
        )
    }

    /// The lock in which so many others hold slots, too.
    fn lock_with(&self, others: usize) -> Lock {
        let (group, now) = (GroupName::parse("default").unwrap(), self.world.now().clock);
        let take = |state: LockState, other: usize| state.take(&NodeName(format!("x{other}")), &Uid(format!("x{other}")), &group, now);
        Lock { state: (0..others).fold(self.world.lock.clone(), take), ..self.lock() }
    }
}

fn takes(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Take, .. }))
}

#[track_caller]
fn refused(step: Step) -> String {
    let Step::Answer(outcome) = step else { panic!("{step:?}") };
    crate::fleetlock::Reply::from(outcome).value().to_owned()
}

#[test]
fn an_approved_node_that_was_uncordoned_starts_anew_once_it_is_sure_and_there_is_room() {
    let scene = Scene::approved();
    let uncordoned = || Node { unschedulable: false, ..scene.node() };
    let next = |node, lock, others| scene.pre_reboot(&scene.observed(uncordoned(), node, scene.lock_with(others), lock), 1);
    assert!(matches!(next(1, 2, 0), Step::Look(Question::Node)), "the mark may not have been made yet");
    assert!(takes(&next(2, 1, 0)) && takes(&next(1, 1, 0)));
    assert_eq!(refused(next(2, 1, 1)), "node n0 has to wait: the slot is held by x0 since 2027-01-15T08:00:00Z");
}

#[test]
fn a_refusal_counts_the_slots_in_words() {
    let scene = Scene::approved();
    let freed = |others| {
        let lock = scene.lock_with(others);
        Lock { state: lock.state.free(&scene.uid), ..lock }
    };
    let mut ready = scene.node();
    (ready.mark.status, ready.mark.record, ready.unschedulable) = (Status::Ready, None, false);
    let says = |slots| refused(scene.pre_reboot(&scene.observed(ready.clone(), 1, freed(slots), 2), slots));
    assert!(says(1).contains("has to wait: the slot is held by x0 since "), "{}", says(1));
    assert!(says(2).contains("has to wait: all slots are held by x0 since "), "{}", says(2));
}

impl Scene {
    /// The lock in which the node holds its first term, not approved yet; `before` others took a slot before it, `after` after it.
    fn lock_held(&self, before: usize, after: usize) -> Lock {
        let (group, now) = (GroupName::parse("default").unwrap(), self.world.now().clock);
        let take = |state: LockState, name: &str| state.take(&NodeName(name.to_owned()), &Uid(name.to_owned()), &group, now);
        let mut state = (0..before).fold(LockState::default(), |state, other| take(state, &format!("x{other}")));
        state = state.take(&NodeName("n0".to_owned()), &self.uid, &group, now);
        state = (0..after).fold(state, |state, other| take(state, &format!("y{other}")));
        Lock { state, ..self.lock() }
    }

    /// The node, marked for the term that it holds in this lock.
    fn node_held(&self, lock: &Lock) -> Node {
        let mut node = self.node();
        node.mark.record.as_mut().unwrap().term.term = lock.state.holder(&self.uid).unwrap().term;
        node
    }

    /// As of the lock, then the node, then the pods, then the fleet after the drain was recorded.
    fn looked(&self, lock: Lock, marked: &[&str], pods: Vec<Pod>) -> Observed {
        let node = self.node_held(&lock);
        let mut observed = self.observed(node, 2, lock, 1);
        let members = marked.iter().map(|name| marked_by_hand(name)).collect();
        observed.pods = Some(self.seen(Complete::of_all_pages(pods), 4));
        observed.fleet = Some(self.seen(FleetFacts { members }, 5));
        // A fleet that was read after the lock would have the lock read again.
        observed.lock.as_mut().unwrap().tick = if marked.is_empty() { 1 } else { 6 };
        observed
    }
}

fn goes_back(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Free, .. }))
}

fn approves(step: &Step) -> bool {
    matches!(step, Step::Change(Change::Lock { why: LockChange::Approve, .. }))
}

#[test]
fn beyond_the_slots_is_who_came_last_or_beside_one_that_is_approved() {
    let scene = Scene::approved();
    let next = |lock: Lock, slots| scene.pre_reboot(&scene.looked(lock, &[], Vec::new()), slots);
    assert!(goes_back(&next(scene.lock_held(1, 0), 1)), "the other was first");
    assert!(approves(&next(scene.lock_held(0, 1), 1)), "the other came after it");
    assert!(approves(&next(scene.lock_held(1, 0), 2)), "there is room for both");
    let mut lock = scene.lock_held(0, 1);
    lock.state = lock.state.approve(&Uid("y0".to_owned()), "0", scene.world.now().clock);
    assert!(goes_back(&next(lock, 1)), "the other came after it and is approved");
    let mut lock = scene.lock_held(1, 0);
    lock.state = lock.state.approve(&scene.uid, "0", scene.world.now().clock);
    assert!(approves(&next(lock, 1)), "who is approved does not go back");
}

#[test]
fn a_mark_is_made_over_a_node_that_was_read_before_the_lock() {
    let scene = Scene::approved();
    let mut ready = scene.node();
    (ready.mark.status, ready.mark.record, ready.unschedulable) = (Status::Ready, None, false);
    let next = |node, lock| scene.pre_reboot(&scene.observed(ready.clone(), node, scene.lock_held(0, 0), lock), 1);
    assert!(matches!(next(1, 2), Step::Change(Change::Node { why: NodeChange::Mark, .. })));
    assert!(matches!(next(2, 1), Step::Look(Question::Lock)));
    assert!(matches!(next(1, 1), Step::Look(Question::Lock)));
}

#[test]
fn who_else_is_marked_is_asked_before_the_approval_and_not_after_it() {
    let scene = Scene::approved();
    let mut observed = scene.observed(scene.node(), 2, scene.lock_held(0, 0), 1);
    assert!(matches!(scene.pre_reboot(&observed, 1), Step::Look(Question::FleetLately)));
    observed.own_write = Some(scene.node().mark);
    assert!(matches!(scene.pre_reboot(&observed, 1), Step::Look(Question::Fleet)), "it has just marked itself");
    assert!(matches!(scene.pre_reboot(&scene.observed(scene.node(), 2, scene.lock(), 1), 1), Step::Look(Question::Pods)));
    let mut observed = scene.looked(scene.lock_held(0, 0), &[], Vec::new());
    observed.fleet = None;
    observed.fleet_lately = Some(scene.seen(FleetFacts::default(), 3));
    let step = scene.pre_reboot(&observed, 1);
    let Step::Change(Change::Node { why: NodeChange::Drained, patch }) = step else { panic!("{step:?}") };
    observed.own_write = Some(crate::cluster::NodeMark { record: patch.record, ..scene.node().mark });
    observed.fleet = Some(scene.seen(FleetFacts::default(), 3));
    assert!(matches!(scene.pre_reboot(&observed, 1), Step::Look(Question::Fleet)), "it was read before the pods");
    let one = refused(scene.pre_reboot(&scene.looked(scene.lock_held(0, 0), &["z"], Vec::new()), 1));
    assert!(one.contains(": node z marked rebootmanager/status=Rebooting without a slot"), "{one}");
    let two = refused(scene.pre_reboot(&scene.looked(scene.lock_held(0, 0), &["y", "z"], Vec::new()), 1));
    assert!(two.contains(": nodes y and z marked rebootmanager/status=Rebooting without a slot"), "{two}");
    assert!(goes_back(&scene.pre_reboot(&scene.looked(scene.lock_held(0, 0), &["a"], Vec::new()), 1)), "the other is the first by name");
}

#[test]
fn our_own_pod_asks_for_another_node_and_no_other_pod_does() {
    let scene = Scene::approved();
    let pod = |uid: &str| -> Pod {
        let wire =
            json!({"metadata": {"namespace": "shop", "name": uid, "uid": uid}, "spec": {"nodeName": "n0"}, "status": {"phase": "Running"}});
        serde_json::from_value(wire).unwrap()
    };
    let rules = Rules {
        capacity: Capacity { slots: 1 },
        protect_control_plane: true,
        ours: Ours { uid: Some(Uid("us".to_owned())), ..Ours::default() },
    };
    let next = |pods| pre_reboot::next(&scene.world.caller(0), &scene.looked(scene.lock_held(0, 0), &[], pods), &rules, scene.world.now());
    assert!(matches!(next(vec![pod("us")]), Step::Look(Question::Elsewhere)));
    assert!(matches!(next(vec![pod("other")]), Step::Wait(Wait::Drain(_))));
    assert!(matches!(next(vec![pod("us"), pod("other")]), Step::Wait(Wait::Drain(_))), "the others go first");
    assert!(approves(&next(vec![])));
}

#[test]
fn an_approval_counts_when_it_was_written_after_the_pods_were_listed() {
    let scene = Scene::approved();
    let next = |lock_tick| {
        let mut seen = scene.looked(Lock { written: Some(LockChange::Approve), ..scene.lock() }, &[], Vec::new());
        seen.lock.as_mut().unwrap().tick = lock_tick;
        scene.pre_reboot(&seen, 1)
    };
    assert!(matches!(next(5), Step::Answer(Outcome::Approved(..))));
    assert!(approves(&next(4)) && approves(&next(3)));
}

#[test]
fn a_request_goes_on_only_under_its_own_term() {
    let scene = Scene::approved();
    let next = |lock: Lock| {
        let mut seen = scene.looked(lock, &[], Vec::new());
        seen.term = Some(HeldTerm { term: 1, approved: None, checked_in: false });
        scene.pre_reboot(&seen, 1)
    };
    assert!(approves(&next(scene.lock_held(0, 0))));
    let mut lock = scene.lock_held(0, 0);
    lock.state = lock.state.check_in(&scene.uid, scene.world.now().clock);
    assert!(refused(next(lock)).contains("has called again since"), "checked in since");
    let mut lock = scene.lock_held(1, 0);
    lock.state = lock.state.free(&Uid("x0".to_owned()));
    assert!(refused(next(lock)).contains("has called again since"), "a later term");
}

#[test]
fn a_check_in_from_before_the_approval_is_void_and_a_later_one_counts() {
    let scene = Scene::approved();
    let holder = &scene.world.lock.holders[0];
    let at = holder.approved.as_ref().unwrap().at;
    let next = |arrived| {
        let mut seen = scene.observed(scene.node(), 2, scene.lock(), 3);
        seen.mark = Some(scene.seen(Some(scene.node().mark), 1));
        seen.first = Some(Some(HeldTerm::of(holder)));
        steady_state::next(&Caller { arrived, ..scene.world.caller(0) }, &seen, scene.world.now())
    };
    assert!(refused(next(at - jiff::SignedDuration::from_micros(1))).contains("has called again since"));
    assert!(matches!(next(at), Step::Change(Change::Lock { why: LockChange::CheckIn, .. })));
}
