//! When a slot is freed: only on evidence, never because time has passed while a reboot may be under way.

use std::time::Duration;

use jiff::Timestamp;

use super::Holder;
use crate::cluster::{Node, Readiness, Status};

/// How long a replica may take between taking a slot and marking its node. A slot held longer than this with an
/// unmarked node and no approval was left behind by a crash.
const MARKING_MAX: Duration = Duration::from_secs(60);

/// What becomes of a holder's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It keeps it, because: a clause about the node.
    Keep(&'static str),
    /// It has checked in, but its node still has to be put back in service.
    RestoreFirst,
    /// The slot is free, because: a clause about the node.
    Free(&'static str),
}

/// Judges a holder by its node as just read; `None` when there is no node of that name.
pub fn release(holder: &Holder, node: Option<&Node>, now: Timestamp) -> Release {
    let Some(node) = node else { return Release::Free("its Node is gone") };
    if node.mark.uid != holder.uid {
        return Release::Free("its Node was made anew");
    }
    let ready = node.readiness != Readiness::NotReady;
    if holder.checked_in.is_some() {
        return match (node.mark.is_in_service(), ready) {
            (false, _) => Release::RestoreFirst,
            (true, true) => Release::Free("it has checked in and is Ready"),
            (true, false) => Release::Keep("has checked in but is not Ready yet"),
        };
    }
    let Some(approved) = &holder.approved else {
        let marked = node.mark.status == Status::Rebooting;
        let age = now.duration_since(holder.since);
        return match marked || age < jiff::SignedDuration::try_from(MARKING_MAX).unwrap_or_default() {
            true => Release::Keep("is being drained"),
            false => Release::Free("it was never marked as rebooting"),
        };
    };
    let rebooted = approved.boot != node.boot_id;
    match (node.mark.is_in_service(), rebooted, ready) {
        (true, true, true) => Release::Free("it has rebooted and is marked Ready"),
        (true, true, false) => Release::Keep("has rebooted but is not Ready yet"),
        (_, true, _) => Release::Keep("has rebooted but has not checked in"),
        (_, false, _) => Release::Keep("may reboot at any moment"),
    }
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
        assert!(format!("{:?}", release(holder, node, at(now))).starts_with(want), "{:?}", release(holder, node, at(now)));
    }

    #[test]
    fn a_slot_is_freed_only_on_evidence() {
        let late = SINCE + 1_000_000;
        check(&holder(true, false), None, SINCE, "Free");
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
        check(&holder(true, true), Some(&node("Ready", "old", "True")), SINCE, "Free");
        let mut anew = node("Ready", "old", "True");
        anew.mark.uid = Uid("2".to_owned());
        check(&holder(true, false), Some(&anew), SINCE, "Free");
    }
}
