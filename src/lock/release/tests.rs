//! When a slot is kept, freed and given back, and what is said of it.

use super::*;
use crate::cluster::NodeName;
use crate::fleetlock::GroupName;
use crate::lock::DrainReport;

const SINCE: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn holder(approved: bool, checked_in: bool) -> Holder {
    let uid = Uid("1".to_owned());
    let mut lock = LockState::default().take(&NodeName("a".to_owned()), &uid, &GroupName::parse("g").unwrap(), at(SINCE));
    if approved {
        lock = lock.approve(&uid, "old", at(SINCE));
    }
    if checked_in {
        lock = lock.check_in(&uid, at(SINCE));
    }
    lock.holders.remove(0)
}

fn node(status: &str, boot: &str, ready: &str) -> Node {
    let wire = serde_json::json!({"metadata": {"name": "a", "uid": "1", "annotations": {"rebootmanager/status": status}},
        "status": {"nodeInfo": {"bootID": boot}, "conditions": [{"type": "Ready", "status": ready}]}});
    serde_json::from_value(wire).unwrap()
}

#[track_caller]
fn check(holder: &Holder, node: Option<&Node>, now: i64, want: &str) {
    let got = format!("{:?}", release(holder, node, None, &Times::DEFAULT, at(now)));
    assert!(got.starts_with(want), "{got}, not {want}");
}

fn missing(since: i64) -> Holder {
    Holder { missing_since: Some(at(since)), ..holder(true, false) }
}

fn with_uid(mut node: Node, uid: &str) -> Node {
    node.meta.uid = Uid(uid.to_owned());
    node
}

#[test]
fn the_slot_of_an_approved_node_outlives_its_node_object() {
    let (late, minutes_15) = (SINCE + 1_000_000, SINCE + 900);
    check(&holder(true, false), None, late, "Missing");
    check(&missing(SINCE), None, minutes_15 - 1, "Keep");
    check(&missing(SINCE), None, minutes_15, "Free");
    check(&missing(SINCE + 899), None, SINCE, "Keep");
    check(&missing(SINCE + 900), None, SINCE, "Missing");
    let adopted =
        Holder { approved: Some(Approved { at: at(SINCE), boot: String::new(), first: None, unsure: false }), ..holder(true, false) };
    check(&adopted, Some(&with_uid(node("Ready", "new", "True"), "2")), late, "Missing");
    check(&missing(SINCE), Some(&node("Rebooting", "old", "True")), late, "Found");
    for (boot, ready, want) in
        [("new", "True", "Free"), ("new", "False", "Missing"), ("old", "True", "Missing"), ("old", "False", "Missing")]
    {
        let recreated = with_uid(node("Ready", boot, ready), "2");
        check(&holder(true, false), Some(&recreated), late, want);
        let renamed = format!("{:?}", release(&holder(true, false), None, Some(&recreated), &Times::DEFAULT, at(late)));
        assert!(renamed.starts_with(want), "{renamed}, not {want}");
    }
    check(&missing(SINCE), Some(&with_uid(node("Ready", "old", "True"), "2")), minutes_15, "Free");
    check(&holder(true, true), None, SINCE + 119, "Keep");
    check(&holder(true, true), None, SINCE + 120, "Free");
    check(&holder(false, false), None, SINCE, "Free");
    check(&holder(false, false), Some(&with_uid(node("Ready", "old", "True"), "2")), SINCE, "Free");
}

#[test]
fn another_node_of_the_machine_matters_while_the_approved_holder_has_lost_its_own() {
    let with_machine = |approved, checked_in| {
        let machine = crate::cluster::HexId::parse(&"1".repeat(32));
        Holder { machine, ..holder(approved, checked_in) }
    };
    let (own, other) = (node("Rebooting", "old", "True"), with_uid(node("Ready", "new", "True"), "2"));
    for (holder, node, searched) in [
        (with_machine(true, false), None, true),
        (with_machine(true, false), Some(&other), true),
        (with_machine(true, false), Some(&own), false),
        (with_machine(false, false), None, false),
        (with_machine(true, true), None, false),
        (holder(true, false), None, false),
    ] {
        assert_eq!(is_searched_for(&holder, node), searched, "{holder:?} {node:?}");
    }
}

#[test]
fn a_slot_is_freed_only_on_evidence() {
    let late = SINCE + 1_000_000;
    let returned = |since| Holder { returned: Some(at(since)), ..holder(true, false) };
    check(&holder(true, false), Some(&node("Rebooting", "old", "True")), SINCE + 3_599, "Keep(MayReboot)");
    check(&holder(true, false), Some(&node("Rebooting", "old", "True")), late, "Keep(ApprovedForLong)");
    check(&holder(true, false), Some(&node("Ready", "old", "True")), late, "Keep(ApprovedForLong)");
    check(&holder(true, false), Some(&node("Rebooting", "new", "True")), late, "Back");
    check(&holder(true, false), Some(&node("Ready", "new", "False")), late, "Back");
    let never = release(&holder(true, false), Some(&node("Rebooting", "new", "True")), None, &Times::NEVER, at(late));
    assert_eq!(never, Release::Back, "it is recorded, because answers and log say it");
    check(&returned(SINCE), Some(&node("Ready", "new", "False")), late, "Keep(RebootedNotReady)");
    check(&holder(true, false), Some(&node("Ready", "new", "True")), SINCE, "Free(Rebooted)");
    check(&holder(true, true), Some(&node("Rebooting", "old", "True")), SINCE, "RestoreFirst");
    check(&holder(true, true), Some(&node("Ready", "new", "False")), late, "Keep(CheckedInNotReady)");
    check(&holder(true, true), Some(&node("Ready", "new", "True")), SINCE, "Free(CheckedIn)");
    check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 119, "Keep(Unreported)");
    check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 120, "Free(CheckedIn)");
    check(&holder(false, true), Some(&node("Ready", "old", "True")), SINCE, "Free(CheckedIn)");
    check(&holder(false, true), Some(&node("Ready", "old", "Unknown")), SINCE + 299, "Keep(CheckedInNotReady)");
    check(&holder(false, true), Some(&node("Ready", "old", "Unknown")), SINCE + 300, "Free(NotReady)");
}

/// The slot was adopted, or the kubelet had not reported for long: the boot that the Node shows may be the one of the approval.
#[test]
fn a_check_in_proves_no_reboot_if_the_boot_of_the_approval_is_not_known() {
    let reported = |second| Node { heartbeat: Some(at(second)), ..node("Ready", "new", "True") };
    let (mut adopted, mut unsure) = (holder(true, true), holder(true, true));
    adopted.approved.as_mut().unwrap().boot.clear();
    unsure.approved.as_mut().unwrap().unsure = true;
    for holder in [adopted, unsure] {
        check(&holder, Some(&reported(SINCE + 1)), SINCE + 119, "Keep(Unproven)");
        check(&holder, Some(&reported(SINCE - 1)), SINCE + 120, "Free(CheckedIn)");
        check(&Holder { checked_in: None, ..holder }, Some(&with_uid(reported(SINCE), "2")), SINCE, "Missing");
    }
}

/// The condition of a kubelet that is down stays `True` until the node lifecycle controller notices.
#[test]
fn a_check_in_in_the_same_boot_needs_a_later_report_of_the_kubelet() {
    let reported = |second| Node { heartbeat: Some(at(second)), ..node("Ready", "old", "True") };
    check(&holder(true, true), Some(&reported(SINCE)), SINCE + 1_000, "Keep(Unreported)");
    check(&holder(true, true), Some(&reported(SINCE + 1)), SINCE + 1_000, "Free(CheckedIn)");
    check(&holder(true, true), Some(&reported(SINCE + 1)), SINCE + 119, "Keep(Unreported)");
    check(&holder(true, true), Some(&Node { boot_id: "new".to_owned(), ..reported(SINCE) }), SINCE, "Free(CheckedIn)");
}

#[test]
fn a_node_that_was_never_approved_gives_its_slot_back() {
    let late = SINCE + 1_000_000;
    let marked = node("Rebooting", "old", "True");
    let unapproved = holder(false, false);
    // 17 minutes, and the minute within which a request is recorded.
    check(&unapproved, Some(&marked), SINCE + 18 * 60 - 1, "Keep(Draining)");
    check(&unapproved, Some(&marked), SINCE + 18 * 60, "Free(Silent)");
    let asking = Holder { asked: Some(at(late)), ..unapproved.clone() };
    check(&asking, Some(&marked), late + 18 * 60 - 1, "Keep(Draining)");
    check(&asking, Some(&marked), late + 18 * 60, "Free(Silent)");
    let report = |idle, blocked| DrainReport { idle, blocked, ..DrainReport::first("r", at(late)) };
    let blocked = || Some(BlockedDrain { since: at(SINCE), by: "x".to_owned() });
    check(&Holder { drain: Some(report(1_799, blocked())), ..asking.clone() }, Some(&marked), late, "Keep(Blocked)");
    check(&Holder { drain: Some(report(1_800, None)), ..asking.clone() }, Some(&marked), late, "Free(Stalled)");
    let not_ready = |since| Node { readiness_since: Some(at(since)), ..node("Rebooting", "old", "Unknown") };
    check(&asking, Some(&not_ready(late - 299)), late, "Keep(Draining)");
    check(&asking, Some(&not_ready(late - 300)), late, "Free(NotReady)");
    let just_taken = Holder { since: at(late), ..asking.clone() };
    check(&just_taken, Some(&not_ready(SINCE)), late + 299, "Keep(Draining)");
    // A clock that is ahead by a few minutes makes the time later. Without a time, or with one that is further ahead, it counts from the slot.
    check(&asking, Some(&not_ready(late + 300)), late, "Keep(Draining)");
    for unknown in [node("Rebooting", "old", "Unknown"), not_ready(late + 301)] {
        check(&Holder { since: at(late - 299), ..asking.clone() }, Some(&unknown), late, "Keep(Draining)");
        check(&Holder { since: at(late - 300), ..asking.clone() }, Some(&unknown), late, "Free(NotReady)");
    }
    // Marked Ready by hand, or never marked.
    check(&unapproved, Some(&node("Ready", "old", "True")), SINCE + 59, "Keep(DrainingSoon)");
    check(&unapproved, Some(&node("Ready", "old", "True")), SINCE + 61, "Free(NeverMarked)");
    let by_hand = |status: &str, term| {
        let mut node = node(status, "old", "True");
        let term = crate::cluster::Term { lease: Uid::default(), term };
        node.meta.record = Some(crate::cluster::CordonRecord { before: crate::cluster::Before::Schedulable, term, drained: None });
        node
    };
    check(&unapproved, Some(&by_hand("Ready", 1)), SINCE, "Free(CalledOff)");
    check(&unapproved, Some(&by_hand("Ready", 0)), late, "RestoreFirst");
    check(&unapproved, Some(&by_hand("Maintenance", 1)), late, "RestoreFirst");
    check(&holder(true, false), Some(&by_hand("Ready", 1)), SINCE, "Keep(MayReboot)");
}

#[test]
fn an_approved_node_that_is_back_and_does_not_check_in_is_restored_and_freed() {
    let back = SINCE + 100;
    let returned = Holder { returned: Some(at(back)), ..holder(true, false) };
    let ready = |since: i64| Node { readiness_since: Some(at(since)), ..node("Rebooting", "new", "True") };
    // A reboot that is over before the node counts as not Ready does not change the time of the condition.
    check(&returned, Some(&ready(0)), back + 599, "Keep(NotCheckedIn)");
    check(&returned, Some(&ready(0)), back + 600, "CheckIn");
    check(&returned, Some(&ready(back + 300)), back + 899, "Keep(NotCheckedIn)");
    check(&returned, Some(&ready(back + 300)), back + 900, "CheckIn");
    let held = LockState { holders: vec![returned.clone()], ..LockState::default() };
    let recorded = held.never_checked_in(&returned.uid, at(back + 600)).holders.remove(0);
    check(&recorded, Some(&ready(0)), back + 600, "RestoreFirst");
    check(&recorded, Some(&node("Ready", "new", "True")), back + 600, "Free(NeverCheckedIn)");
    check(&returned, Some(&node("Rebooting", "new", "Unknown")), back + 9_999, "Keep(RebootedNotReady)");
    check(&returned, Some(&node("Ready", "new", "True")), back + 600, "Free(Rebooted)");
    let mut unsure = returned.clone();
    unsure.approved.as_mut().unwrap().unsure = true;
    check(&unsure, Some(&ready(0)), back + 9_999, "Keep(ApprovedForLong)");
    // The boot of an adopted slot is not known.
    let adopted = Holder { approved: Some(Approved { at: at(SINCE), boot: String::new(), first: None, unsure: false }), ..returned };
    check(&adopted, Some(&ready(0)), back, "Keep(MayReboot)");
    check(&adopted, Some(&ready(0)), back + 9_999, "Keep(ApprovedForLong)");
}

#[test]
fn no_time_frees_a_slot_if_all_are_never() {
    let late = SINCE + 100_000_000;
    let stalled = DrainReport { idle: 100_000_000, ..DrainReport::first("r", at(late)) };
    let returned = Holder { returned: Some(at(SINCE)), ..holder(true, false) };
    let not_ready = Node { readiness_since: Some(at(SINCE)), ..node("Rebooting", "old", "False") };
    for (holder, node) in [
        (holder(false, false), Some(node("Rebooting", "old", "True"))),
        (Holder { drain: Some(stalled), ..holder(false, false) }, Some(not_ready)),
        (returned, Some(node("Rebooting", "new", "True"))),
        (missing(SINCE), None),
    ] {
        let release = release(&holder, node.as_ref(), None, &Times::NEVER, at(late));
        assert!(matches!(release, Release::Keep(_)), "{holder:?}: {release:?}");
    }
}

#[test]
fn a_slot_that_is_given_back_for_a_reason_of_its_node_defers_it() {
    let uid = Uid("1".to_owned());
    let blocked = BlockedDrain { since: at(SINCE), by: "has 1 pod left: db-0".to_owned() };
    let drain = Some(DrainReport { blocked: Some(blocked), ..DrainReport::first("r", at(SINCE)) });
    let held = |holder: Holder| LockState { holders: vec![holder], ..LockState::default() };
    let image = |name: &str| Node { os_image: name.to_owned(), ..node("Ready", "new", "True") };
    let approved = || Holder { os_image: "41".to_owned(), ..holder(true, true) };
    for (holder, why, node, reason, detail) in [
        (Holder { drain, ..holder(false, false) }, FreeReason::Stalled, None, Some(DeferReason::GaveUp), "has 1 pod left: db-0"),
        (holder(false, false), FreeReason::NotReady, None, Some(DeferReason::NotReady), ""),
        (holder(true, false), FreeReason::NeverRebooted, None, Some(DeferReason::NeverRebooted), ""),
        (holder(false, false), FreeReason::Silent, None, None, ""),
        (approved(), FreeReason::CheckedIn, Some(image("41")), Some(DeferReason::UpdateNotApplied), "41"),
        (approved(), FreeReason::Rebooted, Some(image("41")), Some(DeferReason::UpdateNotApplied), "41"),
        (approved(), FreeReason::NeverCheckedIn, Some(image("41")), Some(DeferReason::UpdateNotApplied), "41"),
        (approved(), FreeReason::CheckedIn, Some(image("42")), None, ""),
        (approved(), FreeReason::CheckedIn, Some(Node { boot_id: "old".to_owned(), ..image("41") }), None, ""),
        (holder(true, true), FreeReason::CheckedIn, Some(image("")), None, ""),
    ] {
        let next = held(holder.clone()).give_back(&uid, why, node.as_ref(), &Times::DEFAULT, at(SINCE));
        let got = next.deferrals.first().map(|deferral| (deferral.reason, deferral.detail.as_str()));
        assert_eq!(got, reason.map(|reason| (reason, detail)), "{why:?} {node:?}");
        assert!(next.holders.is_empty() && next.freed == Some(at(SINCE)));
        let never = held(holder).give_back(&uid, why, node.as_ref(), &Times::NEVER, at(SINCE));
        assert_eq!(never.deferrals, []);
    }
}

#[test]
fn a_new_os_image_ends_the_deferrals_of_its_node_and_no_other_reboot_does() {
    let (uid, name) = (Uid("1".to_owned()), NodeName("a".to_owned()));
    let mut lock = LockState { holders: vec![Holder { os_image: "41".to_owned(), ..holder(true, true) }], ..LockState::default() };
    lock.defer(&name, DeferReason::GaveUp, "", SignedDuration::from_mins(30), at(0));
    let after = |boot: &str, image: &str| {
        let node = Node { os_image: image.to_owned(), ..node("Ready", boot, "True") };
        let next = lock.give_back(&uid, FreeReason::CheckedIn, Some(&node), &Times::DEFAULT, at(SINCE));
        next.deferrals.iter().map(|deferral| deferral.count).collect::<Vec<_>>()
    };
    assert_eq!(after("new", "42"), [0u32; 0]);
    assert_eq!(after("old", "41"), [1]);
    assert_eq!(after("new", "41"), [2]);
}

#[test]
fn a_holder_says_why_it_still_holds_its_slot() {
    let blocked = BlockedDrain { since: at(SINCE), by: "has 1 pod left".to_owned() };
    let drain = Some(DrainReport { blocked: Some(blocked), ..DrainReport::first("r", at(SINCE)) });
    let blocked = BlockedDrain { since: at(SINCE), by: String::new() };
    let report = DrainReport { blocked: Some(blocked), ..DrainReport::first("r", at(SINCE)) };
    let without_details = Holder { drain: Some(report), ..holder(false, false) };
    let (mut unsure, mut adopted) = (holder(true, false), holder(true, false));
    unsure.approved.as_mut().unwrap().unsure = true;
    adopted.approved.as_mut().unwrap().boot.clear();
    let unproven = Holder { checked_in: Some(at(SINCE)), ..adopted.clone() };
    for (holder, says) in [
        (unsure, "approved at 1970-01-01T00:16:40Z; whether it has rebooted since is not known"),
        (adopted, "approved at 1970-01-01T00:16:40Z or before; whether it has rebooted since is not known"),
        (unproven, "checked in at 1970-01-01T00:16:40Z; its slot is kept for two minutes, and until its kubelet is Ready"),
        (
            Holder { never_checked_in: true, ..holder(true, true) },
            "back, and put back in service at 1970-01-01T00:16:40Z without a check-in",
        ),
        (holder(false, false), "being drained"),
        (Holder { drain, ..holder(false, false) }, "being drained, blocked since 1970-01-01T00:16:40Z: it has 1 pod left"),
        (without_details, "being drained, blocked since 1970-01-01T00:16:40Z"),
        (holder(true, false), "approved at 1970-01-01T00:16:40Z and not back yet"),
        (Holder { returned: Some(at(SINCE)), ..holder(true, false) }, "back since 1970-01-01T00:16:40Z, but not checked in"),
        (holder(true, true), "checked in at 1970-01-01T00:16:40Z; its kubelet has not reported since that it is Ready"),
        (
            missing(SINCE),
            "approved; its Node is gone since 1970-01-01T00:16:40Z, and its slot is kept until 1970-01-01T00:31:40Z or until its machine is Ready",
        ),
    ] {
        assert_eq!(holder.state(&Times::DEFAULT, false), says);
    }
    let back = Holder { returned: Some(at(SINCE)), ..holder(true, false) };
    assert_eq!(back.state(&Times::DEFAULT, true), "back since 1970-01-01T00:16:40Z, but its kubelet is not Ready");
    assert!(missing(SINCE).state(&Times::NEVER, false).ends_with("kept until its machine is Ready"));
}

#[test]
fn each_reason_has_its_own_words() {
    use FreeReason::{
        CalledOff, CheckedIn, CheckedInAndGone, ExceedsSlots, GoneForLong, NeverCheckedIn, NeverMarked, NeverRebooted, OtherFirst,
        Rebooted, Recreated, Silent, Stalled,
    };
    use KeepReason::{
        ApprovedForLong, Blocked, CheckedInNotReady, Draining, DrainingSoon, MayReboot, NotCheckedIn, RebootedNotReady, Unproven,
        Unreported,
    };
    let freed = [
        CalledOff,
        CheckedIn,
        CheckedInAndGone,
        ExceedsSlots,
        FreeReason::Gone,
        GoneForLong,
        NeverCheckedIn,
        NeverMarked,
        NeverRebooted,
        FreeReason::NotReady,
        OtherFirst,
        Rebooted,
        Recreated,
        Silent,
        Stalled,
    ]
    .map(|reason| reason.to_string());
    let kept = [
        ApprovedForLong,
        Blocked,
        CheckedInNotReady,
        Draining,
        DrainingSoon,
        KeepReason::Gone,
        MayReboot,
        NotCheckedIn,
        RebootedNotReady,
        Unproven,
        Unreported,
    ]
    .map(|reason| reason.to_string());
    let words: std::collections::BTreeSet<&String> = freed.iter().chain(&kept).collect();
    assert!(words.len() == freed.len() + kept.len() && words.iter().all(|words| words.contains(' ')), "{words:?}");
}

#[test]
fn a_node_whose_drain_was_called_off_must_wait() {
    let called_off = holder(false, false);
    let (uid, name) = (called_off.uid.clone(), called_off.node.clone());
    let lock = LockState { holders: vec![called_off], ..LockState::default() };
    let next = lock.give_back(&uid, FreeReason::CalledOff, None, &Times::DEFAULT, at(SINCE));
    assert_eq!(next.deferral(&name, at(SINCE)).map(|deferral| deferral.reason), Some(DeferReason::CalledOff));
    assert!(next.holders.is_empty());
}
