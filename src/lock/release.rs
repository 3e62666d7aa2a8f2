//! Release of slots: on evidence, or because a node that was never approved would block other nodes. The slot of a node that may be
//! rebooting is freed by no time alone, with one exception: its Node object stays deleted for [`Times::missing`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::drain_report::ASK_EVERY;
use super::times::is_past;
use super::{BlockedDrain, DeferReason, Holder, LockState, Times};
use crate::cluster::{Node, ReadyCondition, Status, Uid};

/// Maximum time between taking a slot and marking its node. A slot without a mark and without an approval after this time is left from a
/// crash.
const MARKING_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Time for which the slot of an approved node is kept after a check-in in the same boot. Probably the agent was restarted. But its
/// kubelet may not have reported the new boot yet, or the check-in was delayed and the node is about to reboot.
const REPORTING_MAX: SignedDuration = SignedDuration::from_secs(120);

/// Time after which a node that was approved and has not rebooted is logged as a warning.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Next change of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The slot is kept. The node is in another boot, which must be recorded.
    Back,
    /// The slot is kept. The missing Node exists again, and `missing_since` must be removed.
    Found,
    /// The slot can be freed.
    Free(FreeReason),
    /// The slot is kept.
    Keep(KeepReason),
    /// The slot is kept. The Node is gone, which must be recorded.
    Missing,
    /// The cordon and the annotations of the node must be restored before the slot is freed.
    RestoreFirst,
}

/// Reason to free a slot. Displayed as a message about the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FreeReason {
    /// Never approved, and marked Ready by a person while it was being drained.
    CalledOff,
    /// Checked in, and Ready in another boot or for long enough.
    CheckedIn,
    /// Checked in for long enough, and the Node is gone.
    CheckedInAndGone,
    /// More nodes hold slots than there are slots, and this one took its slot last.
    ExceedsSlots,
    /// Never approved, and the Node is gone.
    Gone,
    /// Approved, and the Node is gone for [`Times::missing`].
    GoneForLong,
    /// Ready in another boot for [`Times::no_check_in`], without a check-in.
    NeverCheckedIn,
    /// Neither approved nor marked, a minute after the slot was taken.
    NeverMarked,
    /// Approved, still asking after [`Times::not_rebooted`], and not rebooted.
    NeverRebooted,
    /// Never approved, and not Ready for [`Times::not_ready`].
    NotReady,
    /// Another node, which is marked or of the control plane, goes first.
    OtherFirst,
    /// Ready in another boot, and in service.
    Rebooted,
    /// The machine has another Node, which is Ready in another boot.
    Recreated,
    /// Never approved, and no longer asking.
    Silent,
    /// Never approved, and its drain makes no progress.
    Stalled,
}

/// Reason to keep a slot. Displayed as the clause that ends "node worker-3 ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepReason {
    /// Approved more than an hour ago, and not rebooted.
    ApprovedForLong,
    /// Marked, not approved yet, and its drain is blocked.
    Blocked,
    /// Checked in, and not Ready.
    CheckedInNotReady,
    /// Marked, and not approved yet.
    Draining,
    /// Just taken, and not marked yet.
    DrainingSoon,
    /// Approved, and the Node is gone.
    Gone,
    /// Approved, and nothing proves yet that the reboot is over.
    MayReboot,
    /// In another boot, and neither checked in nor in service.
    NotCheckedIn,
    /// In another boot, and not Ready.
    RebootedNotReady,
    /// Checked in, but its Node still shows the boot of the approval.
    Unreported,
}

/// Decides about the slot of `holder`. `node` is the Node of its name, as just read; `renamed`, if [`is_searched_for`], another Node with
/// its machine-id.
pub fn release(holder: &Holder, node: Option<&Node>, renamed: Option<&Node>, times: &Times, now: Timestamp) -> Release {
    let Some(node) = node.filter(|node| node.meta.uid == holder.uid) else {
        return release_without_node(holder, [node, renamed], times, now);
    };
    if holder.missing_since.is_some() {
        return Release::Found;
    }
    match (holder.checked_in, &holder.approved) {
        (Some(checked_in), _) => release_checked_in(holder, checked_in, node, now),
        (None, Some(_)) => release_approved(holder, node, times, now),
        (None, None) => release_unapproved(holder, node, times, now),
    }
}

fn release_checked_in(holder: &Holder, checked_in: Timestamp, node: &Node, now: Timestamp) -> Release {
    let in_same_boot = holder.approved.as_ref().is_some_and(|approved| approved.boot == node.boot_id);
    // The condition of a kubelet that is down stays `True` for a while. A report that is older than the check-in proves nothing.
    let is_reported = is_past(checked_in, Some(REPORTING_MAX), now) && node.heartbeat.is_none_or(|heartbeat| heartbeat > checked_in);
    match (node.meta.is_in_service(), node.readiness != ReadyCondition::NotReady) {
        (false, _) => Release::RestoreFirst,
        (true, false) => Release::Keep(KeepReason::CheckedInNotReady),
        (true, true) if in_same_boot && !is_reported => Release::Keep(KeepReason::Unreported),
        (true, true) => Release::Free(FreeReason::CheckedIn),
    }
}

fn release_approved(holder: &Holder, node: &Node, times: &Times, now: Timestamp) -> Release {
    let Some(approved) = &holder.approved else { return Release::Keep(KeepReason::MayReboot) };
    if approved.boot == node.boot_id {
        let is_late = is_past(approved.at, Some(OVERDUE_AFTER), now);
        return Release::Keep(if is_late { KeepReason::ApprovedForLong } else { KeepReason::MayReboot });
    }
    // The boot of an adopted slot is not known, so no boot of the node is known to be another one.
    let is_known = !approved.boot.is_empty() && !approved.unsure;
    let is_ready = node.readiness == ReadyCondition::Ready;
    let ready_since = holder.returned.map(|returned| node.readiness_since.map_or(returned, |since| since.max(returned)));
    let is_silent = is_known && is_ready && ready_since.is_some_and(|since| is_past(since, times.no_check_in, now));
    match (node.meta.is_in_service(), node.readiness != ReadyCondition::NotReady) {
        (true, true) => Release::Free(if is_silent { FreeReason::NeverCheckedIn } else { FreeReason::Rebooted }),
        _ if is_known && holder.returned.is_none() && times.no_check_in.is_some() => Release::Back,
        (false, true) if is_silent => Release::RestoreFirst,
        (false, true) => Release::Keep(KeepReason::NotCheckedIn),
        (_, false) => Release::Keep(KeepReason::RebootedNotReady),
    }
}

fn release_unapproved(holder: &Holder, node: &Node, times: &Times, now: Timestamp) -> Release {
    if holder.is_called_off(node) {
        return Release::Free(FreeReason::CalledOff);
    }
    if node.meta.status != Status::Rebooting {
        return match &node.meta.record {
            _ if !is_past(holder.since, Some(MARKING_MAX), now) => Release::Keep(KeepReason::DrainingSoon),
            // Our cordon of an earlier term is left.
            Some(_) => Release::RestoreFirst,
            None => Release::Free(FreeReason::NeverMarked),
        };
    }
    // No 200 was sent, and each approval is a compare-and-swap. So an approval that is under way fails once the slot is freed.
    let not_ready_since = node.readiness_since.filter(|_| node.readiness == ReadyCondition::NotReady);
    let silent = times.silent.map(|silent| silent.saturating_add(ASK_EVERY));
    if not_ready_since.is_some_and(|since| is_past(since.max(holder.since), times.not_ready, now)) {
        Release::Free(FreeReason::NotReady)
    } else if holder.drain.as_ref().is_some_and(|drain| drain.is_stalled(times.stalled)) {
        Release::Free(FreeReason::Stalled)
    } else if is_past(holder.last_asked(), silent, now) {
        Release::Free(FreeReason::Silent)
    } else {
        let is_blocked = holder.drain.as_ref().is_some_and(|drain| drain.blocked.is_some());
        Release::Keep(if is_blocked { KeepReason::Blocked } else { KeepReason::Draining })
    }
}

/// Reports whether another Node with the machine-id of `holder` must be searched, because the holder is approved and its own Node is
/// gone. `node` is the Node of its name, if any.
pub fn is_searched_for(holder: &Holder, node: Option<&Node>) -> bool {
    let is_gone = node.is_none_or(|node| node.meta.uid != holder.uid);
    is_gone && holder.machine.is_some() && holder.approved.is_some() && holder.checked_in.is_none()
}

/// Decides about a holder whose Node is gone. `successors` are Nodes that may belong to its machine.
fn release_without_node(holder: &Holder, successors: [Option<&Node>; 2], times: &Times, now: Timestamp) -> Release {
    let Some(approved) = &holder.approved else { return Release::Free(FreeReason::Gone) };
    if let Some(checked_in) = holder.checked_in {
        let is_settled = is_past(checked_in, Some(REPORTING_MAX), now);
        return if is_settled { Release::Free(FreeReason::CheckedInAndGone) } else { Release::Keep(KeepReason::MayReboot) };
    }
    // An adopted slot has no boot, so no Node is known to be in another one.
    let is_back = |node: &Node| !approved.boot.is_empty() && node.is_back_from(&approved.boot);
    if successors.into_iter().flatten().any(is_back) {
        return Release::Free(FreeReason::Recreated);
    }
    match holder.missing_since {
        None => Release::Missing,
        // A time in the future is from a replica whose clock was wrong. The time is recorded once more.
        Some(since) if is_past(now, times.missing, since) => Release::Missing,
        Some(since) if is_past(since, times.missing, now) => Release::Free(FreeReason::GoneForLong),
        Some(_) => Release::Keep(KeepReason::Gone),
    }
}

impl LockState {
    /// Frees the slot of `uid` for the reason `why`, and records what follows for the next turn of its node: a back-off, or the end of one.
    /// `node`: the Node as just read.
    pub fn give_back(&self, uid: &Uid, why: FreeReason, node: Option<&Node>, times: &Times, now: Timestamp) -> Self {
        let mut next = self.free(uid, now);
        let Some(holder) = self.holder(uid) else { return next };
        let (reason, detail) = match why {
            FreeReason::CalledOff => (DeferReason::CalledOff, ""),
            FreeReason::Stalled => (DeferReason::GaveUp, holder.blocked_by()),
            FreeReason::NotReady => (DeferReason::NotReady, ""),
            FreeReason::NeverRebooted => (DeferReason::NeverRebooted, ""),
            FreeReason::CheckedIn | FreeReason::NeverCheckedIn | FreeReason::Rebooted => {
                let Some(node) = node.filter(|node| holder.has_rebooted(node)) else { return next };
                if !holder.runs_the_same_image(node) {
                    next.undefer(&holder.node);
                    return next;
                }
                (DeferReason::UpdateNotApplied, node.os_image.as_str())
            }
            _ => return next,
        };
        if let Some(back_off) = times.back_off {
            next.defer(&holder.node, reason, detail, back_off, now);
        }
        next
    }
}

impl Holder {
    /// Reports whether a person called off the drain of `node`, which is not approved: it is marked Ready and still has the cordon of this
    /// term. This program removes both in one write.
    pub fn is_called_off(&self, node: &Node) -> bool {
        let has_our_cordon = node.meta.record.as_ref().is_some_and(|record| record.term.term == self.term);
        self.approved.is_none() && node.meta.status == Status::Ready && has_our_cordon
    }

    /// Reports whether `node` is in another boot than when its reboot was approved.
    fn has_rebooted(&self, node: &Node) -> bool {
        self.approved.as_ref().is_some_and(|approved| !approved.boot.is_empty() && approved.boot != node.boot_id)
    }

    fn runs_the_same_image(&self, node: &Node) -> bool {
        !self.os_image.is_empty() && self.os_image == node.os_image
    }

    fn blocked_by(&self) -> &str {
        self.drain.as_ref().and_then(|drain| drain.blocked.as_ref()).map_or("", |blocked| blocked.by.as_str())
    }

    /// Returns the clause that says why the node still holds its slot, as "being drained".
    pub fn state(&self, times: &Times) -> String {
        let until = |since: Timestamp, limit: Option<SignedDuration>| limit.and_then(|limit| since.checked_add(limit).ok());
        match (&self.approved, self.checked_in, self.missing_since, self.returned) {
            (_, Some(checked_in), ..) => format!("checked in at {checked_in:.0}; its kubelet has not reported since that it is Ready"),
            (Some(_), _, Some(missing), _) => {
                let until = until(missing, times.missing).map(|until| format!("until {until:.0} or ")).unwrap_or_default();
                format!("approved; its Node is gone since {missing:.0}, and its slot is kept {until}until its machine is Ready")
            }
            (Some(_), _, _, Some(returned)) => format!("back since {returned:.0}, but not checked in"),
            (Some(approved), ..) => format!("approved at {:.0} and not back yet", approved.at),
            (None, ..) => match self.drain.as_ref().and_then(|drain| drain.blocked.as_ref()) {
                Some(BlockedDrain { since, by }) => format!("being drained, blocked since {since:.0}: it {by}"),
                None => "being drained".to_owned(),
            },
        }
    }
}

impl fmt::Display for FreeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CalledOff => "a person marked it Ready while it was being drained, which calls the drain off",
            Self::CheckedIn => "it has checked in and is Ready",
            Self::CheckedInAndGone => "it has checked in and its Node is gone",
            Self::ExceedsSlots => "there are more holders than slots, and it took its slot last",
            Self::Gone => "its Node is gone",
            Self::GoneForLong => "its Node has been gone for too long (--release-deleted-after)",
            Self::NeverCheckedIn => "it has rebooted, is Ready, and has not checked in for too long (--release-rebooted-after)",
            Self::NeverMarked => "it was never marked as rebooting",
            Self::NeverRebooted => "it was approved, asks again and has not rebooted for too long (--withdraw-after)",
            Self::NotReady => "it was never approved, and has not been Ready for too long (--give-up-not-ready-after)",
            Self::OtherFirst => "another node is unavailable or goes first",
            Self::Rebooted => "it has rebooted and is marked Ready",
            Self::Recreated => "its Node was recreated, and is Ready in another boot",
            Self::Silent => "it was never approved, and no longer asks (--release-silent-after)",
            Self::Stalled => "it was never approved, and its drain has made no progress for too long (--give-up-after)",
        })
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApprovedForLong => {
                "was approved more than an hour ago and has not rebooted; it may still reboot, so only a person can decide"
            }
            Self::Blocked => "is being drained, and its drain is blocked",
            Self::CheckedInNotReady => "has checked in but is not Ready yet",
            Self::Draining => "is being drained",
            Self::DrainingSoon => "is about to be drained",
            Self::Gone => "may be rebooting, and its Node is gone",
            Self::MayReboot => "may reboot at any moment",
            Self::NotCheckedIn => "has rebooted but has not checked in",
            Self::RebootedNotReady => "has rebooted but is not Ready yet",
            Self::Unreported => "has checked in but its kubelet has not reported another boot",
        })
    }
}

#[cfg(test)]
mod tests {
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
        let adopted = Holder {
            approved: Some(crate::lock::Approved { at: at(SINCE), boot: String::new(), first: None, unsure: false }),
            ..holder(true, false)
        };
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
        check(&returned(SINCE), Some(&node("Ready", "new", "False")), late, "Keep(RebootedNotReady)");
        check(&holder(true, false), Some(&node("Ready", "new", "True")), SINCE, "Free(Rebooted)");
        check(&holder(true, true), Some(&node("Rebooting", "old", "True")), SINCE, "RestoreFirst");
        check(&holder(true, true), Some(&node("Ready", "new", "False")), late, "Keep(CheckedInNotReady)");
        check(&holder(true, true), Some(&node("Ready", "new", "True")), SINCE, "Free(CheckedIn)");
        check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 119, "Keep(Unreported)");
        check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 120, "Free(CheckedIn)");
        check(&holder(false, true), Some(&node("Ready", "old", "True")), SINCE, "Free(CheckedIn)");
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
        check(&asking, Some(&node("Rebooting", "old", "Unknown")), late, "Keep(Draining)");
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
        check(&returned, Some(&ready(0)), back + 600, "RestoreFirst");
        check(&returned, Some(&ready(back + 300)), back + 899, "Keep(NotCheckedIn)");
        check(&returned, Some(&ready(back + 300)), back + 900, "RestoreFirst");
        check(&returned, Some(&node("Rebooting", "new", "Unknown")), back + 9_999, "Keep(RebootedNotReady)");
        check(&returned, Some(&node("Ready", "new", "True")), back + 600, "Free(NeverCheckedIn)");
        let mut unsure = returned.clone();
        unsure.approved.as_mut().unwrap().unsure = true;
        check(&unsure, Some(&ready(0)), back + 9_999, "Keep(NotCheckedIn)");
        // The boot of an adopted slot is not known.
        let adopted =
            Holder { approved: Some(crate::lock::Approved { at: at(SINCE), boot: String::new(), first: None, unsure: false }), ..returned };
        check(&adopted, Some(&ready(0)), back + 9_999, "Keep(NotCheckedIn)");
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
        for (holder, says) in [
            (holder(false, false), "being drained"),
            (Holder { drain, ..holder(false, false) }, "being drained, blocked since 1970-01-01T00:16:40Z: it has 1 pod left"),
            (holder(true, false), "approved at 1970-01-01T00:16:40Z and not back yet"),
            (Holder { returned: Some(at(SINCE)), ..holder(true, false) }, "back since 1970-01-01T00:16:40Z, but not checked in"),
            (holder(true, true), "checked in at 1970-01-01T00:16:40Z; its kubelet has not reported since that it is Ready"),
            (
                missing(SINCE),
                "approved; its Node is gone since 1970-01-01T00:16:40Z, and its slot is kept until 1970-01-01T00:31:40Z or until its machine is Ready",
            ),
        ] {
            assert_eq!(holder.state(&Times::DEFAULT), says);
        }
        assert!(missing(SINCE).state(&Times::NEVER).ends_with("kept until its machine is Ready"));
    }

    #[test]
    fn each_reason_has_its_own_words() {
        use FreeReason::{
            CalledOff, CheckedIn, CheckedInAndGone, ExceedsSlots, GoneForLong, NeverCheckedIn, NeverMarked, NeverRebooted, OtherFirst,
            Rebooted, Recreated, Silent, Stalled,
        };
        use KeepReason::{
            ApprovedForLong, Blocked, CheckedInNotReady, Draining, DrainingSoon, MayReboot, NotCheckedIn, RebootedNotReady, Unreported,
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
}
