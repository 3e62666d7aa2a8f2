//! Release of slots, on evidence. Time alone frees no slot while its node may be rebooting, with one exception: the slot of a Node
//! that stays deleted for [`MISSING_MAX`] is freed.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::Holder;
use crate::cluster::{Node, ReadyCondition, Status};

/// Maximum time between taking a slot and marking its node. A slot without a mark and without an approval after this time is left from a
/// crash.
const MARKING_MAX: Duration = Duration::from_secs(60);

/// Time for which the slot of an approved node is kept after a check-in in the same boot. Probably the agent was restarted. But its
/// kubelet may not have reported the new boot yet, or the check-in was delayed and the node is about to reboot.
const REPORTING_MAX: Duration = Duration::from_secs(120);

/// Time for which the slot of an approved node is kept after its Node object is deleted. A cloud controller deletes the Node of a machine
/// that it sees stopped, and the machine may be rebooting. A new Node of the machine that is Ready in another boot ends this time.
pub const MISSING_MAX: Duration = Duration::from_secs(15 * 60);

/// Next change of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeReason {
    /// Checked in, and Ready in another boot or for long enough.
    CheckedIn,
    /// Checked in for long enough, and the Node is gone.
    CheckedInAndGone,
    /// Never approved, and the Node is gone.
    Gone,
    /// Approved, and the Node is gone for [`MISSING_MAX`].
    GoneForLong,
    /// Neither approved nor marked, a minute after the slot was taken.
    NeverMarked,
    /// Ready in another boot, and in service.
    Rebooted,
    /// The machine has another Node, which is Ready in another boot.
    Recreated,
}

/// Reason to keep a slot. Displayed as the clause that ends "node worker-3 ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
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
    /// In another boot and in service, and not Ready.
    RebootedNotReady,
    /// Checked in, but its Node still shows the boot of the approval.
    Unreported,
}

/// Decides about the slot of `holder`. `node` is the Node of its name, as just read; `renamed`, if [`is_searched_for`], another Node with
/// its machine-id.
pub fn release(holder: &Holder, node: Option<&Node>, renamed: Option<&Node>, now: Timestamp) -> Release {
    let Some(node) = node.filter(|node| node.meta.uid == holder.uid) else {
        return release_without_node(holder, [node, renamed], now);
    };
    if holder.missing_since.is_some() {
        return Release::Found;
    }
    let ready = node.readiness != ReadyCondition::NotReady;
    if let Some(checked_in) = holder.checked_in {
        let unreported = holder.approved.as_ref().is_some_and(|approved| approved.boot == node.boot_id);
        return match (node.meta.is_in_service(), ready) {
            (false, _) => Release::RestoreFirst,
            (true, false) => Release::Keep(KeepReason::CheckedInNotReady),
            (true, true) if unreported && !is_past(checked_in, REPORTING_MAX, now) => Release::Keep(KeepReason::Unreported),
            (true, true) => Release::Free(FreeReason::CheckedIn),
        };
    }
    let Some(approved) = &holder.approved else {
        return match (node.meta.status == Status::Rebooting, &node.meta.record) {
            (true, _) => Release::Keep(KeepReason::Draining),
            (false, _) if !is_past(holder.since, MARKING_MAX, now) => Release::Keep(KeepReason::DrainingSoon),
            // Set to Ready by hand, with our cordon left.
            (false, Some(_)) => Release::RestoreFirst,
            (false, None) => Release::Free(FreeReason::NeverMarked),
        };
    };
    let rebooted = approved.boot != node.boot_id;
    match (node.meta.is_in_service(), rebooted, ready) {
        (true, true, true) => Release::Free(FreeReason::Rebooted),
        (true, true, false) => Release::Keep(KeepReason::RebootedNotReady),
        (_, true, _) => Release::Keep(KeepReason::NotCheckedIn),
        (_, false, _) => Release::Keep(KeepReason::MayReboot),
    }
}

/// Reports whether another Node with the machine-id of `holder` must be searched, because the holder is approved and its own Node is
/// gone. `node` is the Node of its name, if any.
pub fn is_searched_for(holder: &Holder, node: Option<&Node>) -> bool {
    let is_gone = node.is_none_or(|node| node.meta.uid != holder.uid);
    is_gone && holder.machine.is_some() && holder.approved.is_some() && holder.checked_in.is_none()
}

/// Decides about a holder whose Node is gone. `successors` are Nodes that may belong to its machine.
fn release_without_node(holder: &Holder, successors: [Option<&Node>; 2], now: Timestamp) -> Release {
    let Some(approved) = &holder.approved else { return Release::Free(FreeReason::Gone) };
    if let Some(checked_in) = holder.checked_in {
        let is_settled = is_past(checked_in, REPORTING_MAX, now);
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
        Some(since) if is_past(now, MISSING_MAX, since) => Release::Missing,
        Some(since) if is_past(since, MISSING_MAX, now) => Release::Free(FreeReason::GoneForLong),
        Some(_) => Release::Keep(KeepReason::Gone),
    }
}

impl fmt::Display for FreeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoneForLong => return write!(f, "its Node has been gone for {} minutes", MISSING_MAX.as_secs() / 60),
            Self::CheckedIn => "it has checked in and is Ready",
            Self::CheckedInAndGone => "it has checked in and its Node is gone",
            Self::Gone => "its Node is gone",
            Self::NeverMarked => "it was never marked as rebooting",
            Self::Rebooted => "it has rebooted and is marked Ready",
            Self::Recreated => "its Node was recreated, and is Ready in another boot",
        })
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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

fn is_past(since: Timestamp, limit: Duration, now: Timestamp) -> bool {
    now.duration_since(since) >= jiff::SignedDuration::try_from(limit).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeName, Uid};
    use crate::fleetlock::GroupName;
    use crate::lock::LockState;

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
        let got = format!("{:?}", release(holder, node, None, at(now)));
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
        let adopted = Holder { approved: Some(crate::lock::Approved { at: at(SINCE), boot: String::new() }), ..holder(true, false) };
        check(&adopted, Some(&with_uid(node("Ready", "new", "True"), "2")), late, "Missing");
        check(&missing(SINCE), Some(&node("Rebooting", "old", "True")), late, "Found");
        for (boot, ready, want) in
            [("new", "True", "Free"), ("new", "False", "Missing"), ("old", "True", "Missing"), ("old", "False", "Missing")]
        {
            let recreated = with_uid(node("Ready", boot, ready), "2");
            check(&holder(true, false), Some(&recreated), late, want);
            let renamed = format!("{:?}", release(&holder(true, false), None, Some(&recreated), at(late)));
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
        check(&holder(true, false), Some(&node("Rebooting", "old", "True")), late, "Keep");
        check(&holder(true, false), Some(&node("Rebooting", "new", "True")), late, "Keep");
        check(&holder(true, false), Some(&node("Ready", "old", "True")), late, "Keep");
        check(&holder(true, false), Some(&node("Ready", "new", "False")), late, "Keep");
        check(&holder(true, false), Some(&node("Ready", "new", "True")), SINCE, "Free");
        check(&holder(false, false), Some(&node("Rebooting", "old", "True")), late, "Keep");
        check(&holder(false, false), Some(&node("Ready", "old", "True")), SINCE + 59, "Keep");
        check(&holder(false, false), Some(&node("Ready", "old", "True")), SINCE + 61, "Free");
        check(&holder(true, true), Some(&node("Rebooting", "old", "True")), SINCE, "RestoreFirst");
        check(&holder(true, true), Some(&node("Ready", "new", "False")), late, "Keep");
        check(&holder(true, true), Some(&node("Ready", "new", "True")), SINCE, "Free");
        check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 119, "Keep");
        check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE + 120, "Free");
        check(&holder(false, true), Some(&node("Ready", "old", "True")), SINCE, "Free");
        let mut by_hand = node("Ready", "old", "True");
        let term = crate::cluster::Term { lease: Uid::default(), term: 1 };
        by_hand.meta.record = Some(crate::cluster::CordonRecord { before: crate::cluster::Before::Schedulable, term, drained: None });
        check(&holder(false, false), Some(&by_hand), late, "RestoreFirst");
    }

    #[test]
    fn each_reason_has_its_own_words() {
        let freed = {
            use FreeReason::{CheckedIn, CheckedInAndGone, Gone, GoneForLong, NeverMarked, Rebooted, Recreated};
            [CheckedIn, CheckedInAndGone, Gone, GoneForLong, NeverMarked, Rebooted, Recreated].map(|reason| reason.to_string())
        };
        let kept = {
            use KeepReason::{CheckedInNotReady, Draining, DrainingSoon, Gone, MayReboot, NotCheckedIn, RebootedNotReady, Unreported};
            [CheckedInNotReady, Draining, DrainingSoon, Gone, MayReboot, NotCheckedIn, RebootedNotReady, Unreported]
                .map(|reason| reason.to_string())
        };
        let words: std::collections::BTreeSet<&String> = freed.iter().chain(&kept).collect();
        assert!(words.len() == freed.len() + kept.len() && words.iter().all(|words| words.contains(' ')), "{words:?}");
    }
}
