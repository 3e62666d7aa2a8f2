//! Release of slots: on evidence, or because a node that was never approved would block other nodes. The slot of a node that may be
//! rebooting is freed by no time alone, with one exception: its Node object stays deleted for [`Times::missing`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::drain_report::ASK_EVERY;
use super::times::is_past;
use super::{Approved, BlockedDrain, DeferReason, Holder, LockState, Times};
use crate::cluster::{Node, ReadyCondition, Status, Uid};

/// Maximum time between taking a slot and marking its node. A slot without a mark and without an approval after this time is left from a
/// crash.
const MARKING_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Time for which the slot of an approved node is kept after a check-in that may be in the same boot. Probably the agent was restarted. But
/// its kubelet may not have reported the new boot yet, or the check-in was delayed and the node is about to reboot.
const REPORTING_MAX: SignedDuration = SignedDuration::from_secs(120);

/// Time by which the clock of a machine may be ahead. A later time in its conditions is not used.
pub const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Time after which a node that was approved and has not rebooted is logged as a warning.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Next change of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The slot is kept. The node is in another boot, which must be recorded.
    Back,
    /// The slot is kept. No check-in will come any more, so one must be recorded. An approval that is under way then fails, and the node is
    /// restored next.
    CheckIn,
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
    /// Checked in, but the boot of its approval is not known.
    Unproven,
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
        (Some(checked_in), _) => release_checked_in(holder, checked_in, node, times, now),
        (None, Some(_)) => release_approved(holder, node, times, now),
        (None, None) => release_unapproved(holder, node, times, now),
    }
}

fn release_checked_in(holder: &Holder, checked_in: Timestamp, node: &Node, times: &Times, now: Timestamp) -> Release {
    let is_in_same_boot = holder.approved.as_ref().is_some_and(|approved| approved.boot == node.boot_id);
    let may_be_in_same_boot = holder.approved.is_some() && !holder.is_proven_back(node);
    // The condition of a kubelet that is down stays `True` for a while. A report of the same boot that is older than the check-in proves
    // nothing.
    let is_later = |heartbeat| !is_in_same_boot || heartbeat > checked_in;
    let is_settled = is_past(checked_in, Some(REPORTING_MAX), now) && node.heartbeat.is_none_or(is_later);
    let not_ready_since = changed_since(node, now).map_or(checked_in, |since| since.max(checked_in));
    match (node.meta.is_in_service(), node.readiness != ReadyCondition::NotReady) {
        (false, _) => Release::RestoreFirst,
        // The node is not missing because of a reboot, so its return is not awaited.
        (true, false) if holder.approved.is_none() && is_past(not_ready_since, times.not_ready, now) => Release::Free(FreeReason::NotReady),
        (true, false) => Release::Keep(KeepReason::CheckedInNotReady),
        (true, true) if is_in_same_boot && !is_settled => Release::Keep(KeepReason::Unreported),
        (true, true) if may_be_in_same_boot && !is_settled => Release::Keep(KeepReason::Unproven),
        (true, true) => Release::Free(if holder.never_checked_in { FreeReason::NeverCheckedIn } else { FreeReason::CheckedIn }),
    }
}

fn release_approved(holder: &Holder, node: &Node, times: &Times, now: Timestamp) -> Release {
    let Some(approved) = &holder.approved else { return Release::Keep(KeepReason::MayReboot) };
    if approved.boot != node.boot_id && node.meta.is_in_service() && node.readiness != ReadyCondition::NotReady {
        return Release::Free(FreeReason::Rebooted);
    }
    if !holder.is_proven_back(node) {
        let is_late = is_past(approved.at, Some(OVERDUE_AFTER), now);
        return Release::Keep(if is_late { KeepReason::ApprovedForLong } else { KeepReason::MayReboot });
    }
    let Some(returned) = holder.returned else { return Release::Back };
    let ready_since = changed_since(node, now).map_or(returned, |since| since.max(returned));
    match node.readiness {
        ReadyCondition::NotReady => Release::Keep(KeepReason::RebootedNotReady),
        ReadyCondition::Ready if is_past(ready_since, times.no_check_in, now) => Release::CheckIn,
        ReadyCondition::Ready | ReadyCondition::Absent => Release::Keep(KeepReason::NotCheckedIn),
    }
}

/// Returns the time of the last change of the Ready condition, unless the clock of the machine is far ahead.
fn changed_since(node: &Node, now: Timestamp) -> Option<Timestamp> {
    node.readiness_since.filter(|since| since.duration_since(now) <= AHEAD_MAX)
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
    let not_ready_since = changed_since(node, now).map_or(holder.since, |since| since.max(holder.since));
    let silent = times.silent.map(|silent| silent.saturating_add(ASK_EVERY));
    if node.readiness == ReadyCondition::NotReady && is_past(not_ready_since, times.not_ready, now) {
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
    // If the boot of the approval is not known, no Node is known to be in another one.
    let is_back = |node: &Node| holder.knows_boot() && node.is_back_from(&approved.boot);
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
                // The reboot may have been before the approval.
                if !holder.knows_boot() {
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

    /// Reports whether the boot is known in which the node was approved. That of an adopted slot is not.
    pub fn knows_boot(&self) -> bool {
        self.approved.as_ref().is_some_and(|approved| !approved.boot.is_empty() && !approved.unsure)
    }

    /// Reports whether `node` is in another boot than when its reboot was approved.
    pub fn has_rebooted(&self, node: &Node) -> bool {
        self.approved.as_ref().is_some_and(|approved| !approved.boot.is_empty() && approved.boot != node.boot_id)
    }

    /// Reports whether `node` proves by its boot that the reboot is over.
    pub fn is_proven_back(&self, node: &Node) -> bool {
        self.knows_boot() && self.has_rebooted(node)
    }

    fn runs_the_same_image(&self, node: &Node) -> bool {
        !self.os_image.is_empty() && self.os_image == node.os_image
    }

    fn blocked_by(&self) -> &str {
        self.drain.as_ref().and_then(|drain| drain.blocked.as_ref()).map_or("", |blocked| blocked.by.as_str())
    }

    /// Reports whether the node was found in another boot, and has not checked in since.
    pub fn is_back(&self) -> bool {
        self.returned.is_some() && self.checked_in.is_none()
    }

    /// Returns the clause that says why the node still holds its slot, as "being drained". `is_not_ready`: its kubelet is known not to be
    /// Ready.
    pub fn state(&self, times: &Times, is_not_ready: bool) -> String {
        let until = |since: Timestamp, limit: Option<SignedDuration>| limit.and_then(|limit| since.checked_add(limit).ok());
        match (&self.approved, self.checked_in, self.missing_since, self.returned) {
            (_, Some(since), ..) if self.never_checked_in => format!("back, and put back in service at {since:.0} without a check-in"),
            (Some(_), Some(checked_in), ..) if !self.knows_boot() => {
                format!("checked in at {checked_in:.0}; its slot is kept for two minutes, and until its kubelet is Ready")
            }
            (_, Some(checked_in), ..) => format!("checked in at {checked_in:.0}; its kubelet has not reported since that it is Ready"),
            (Some(_), _, Some(missing), _) => {
                let until = until(missing, times.missing).map(|until| format!("until {until:.0} or ")).unwrap_or_default();
                format!("approved; its Node is gone since {missing:.0}, and its slot is kept {until}until its machine is Ready")
            }
            (Some(_), _, _, Some(returned)) if is_not_ready => format!("back since {returned:.0}, but its kubelet is not Ready"),
            (Some(_), _, _, Some(returned)) => format!("back since {returned:.0}, but not checked in"),
            (Some(approved), ..) if self.knows_boot() => format!("approved at {:.0} and not back yet", approved.at),
            (Some(Approved { at, boot, .. }), ..) => {
                let or_before = if boot.is_empty() { " or before" } else { "" };
                format!("approved at {at:.0}{or_before}; whether it has rebooted since is not known")
            }
            (None, ..) => match self.drain.as_ref().and_then(|drain| drain.blocked.as_ref()) {
                // In a large lock the details are left out.
                Some(BlockedDrain { since, by }) if by.is_empty() => format!("being drained, blocked since {since:.0}"),
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
                "was approved more than an hour ago and is not known to have rebooted; it may still reboot, so only a person can decide"
            }
            Self::Blocked => "is being drained, and its drain is blocked",
            Self::CheckedInNotReady => "has checked in but is not Ready yet",
            Self::Draining => "is being drained",
            Self::DrainingSoon => "is about to be drained",
            Self::Gone => "may be rebooting, and its Node is gone",
            Self::MayReboot => "may reboot at any moment",
            Self::NotCheckedIn => "has rebooted but has not checked in",
            Self::RebootedNotReady => "has rebooted but is not Ready yet",
            Self::Unproven => "has checked in, and the boot of its approval is not known",
            Self::Unreported => "has checked in but its kubelet has not reported another boot",
        })
    }
}

#[cfg(test)]
mod tests;
