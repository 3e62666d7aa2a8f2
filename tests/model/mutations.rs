//! Our own rules, broken on purpose, each in one place: the checker must find out.

use std::borrow::Cow;

use jiff::SignedDuration;
use reboot_manager::cluster::{Before, NodePatch};
use reboot_manager::fleetlock::Kind;
use reboot_manager::lock::{FreeReason, LockState};
use reboot_manager::reboot::{Caller, Change, Fact, Lock, LockChange, NodeChange, Now, Outcome, Step};

use crate::actor::{Actor, Work};
use crate::setup::{Event, FAILING, OLDER, ONE, PAIR, Setup};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Approves by a list of pods from before the cordon.
    ApprovesByAnOldList,
    /// Approves by the Lease as it was read, and writes nothing.
    ApprovesWithoutWriting,
    DoesNotList,
    /// Does not look who is marked once it has marked itself.
    DoesNotLookAgain,
    /// Takes the fleet for up to date before its own write has arrived.
    DoesNotWaitForItsOwnWrite,
    /// A reconciler frees a slot that has been held for long.
    FreesAfterAWhile,
    /// A reconciler frees the slot of an approved node at the first "not found".
    FreesWhenTheNodeIsGone,
    /// Takes every cordon for its own.
    ForgetsWhoseCordonItIs,
    IgnoresTheControlPlane,
    /// Keeps the slot of a node that was never approved, has checked in, and is not Ready.
    KeepsTheCheckedIn,
    MarksWithoutCordon,
    /// Keeps the slot of an approved node whose Node is gone.
    NeverFreesTheMissing,
    /// Keeps the slot of a node that is not Ready.
    NeverFreesTheNotReady,
    /// Keeps the slot of a node that is back and does not check in.
    NeverFreesTheReinstalled,
    /// Keeps the slot of a node that was never approved and does not ask any more.
    NeverFreesTheSilent,
    /// Keeps the slot of a node whose drain makes no progress.
    NeverGivesUp,
    /// After a conflict continues with what it had read.
    NeverLooksAgain,
    /// Keeps a free slot for a node that has waited longer, and has stopped asking; and leaves its record.
    NeverPassesTheAbsent,
    /// A check-in counts although the node was approved since.
    NeverSuperseded,
    /// Keeps the slot of an approved node that asks again and does not reboot.
    NeverWithdraws,
    /// Writes without the version it has read.
    OverwritesWhateverIsThere,
    /// A reconciler restores a marked node whether it holds a slot or not.
    RestoresHolders,
    /// Uncordons whatever the record says.
    RestoresSchedulable,
    /// Restores a node that has not checked in for long without a write of the Lease.
    RestoresWithoutACheckIn,
    /// Serves a request from before a reboot as if it had come after it.
    ServesOlderRequests,
    TakesALostAnnotationForAnEmptyLock,
    TakesBeyondTheSlots,
    WithholdsSlots,
}

/// Each mutation, a world as small as may be, and which promise is broken there; with `|` between two that may be.
pub(crate) fn table() -> [(Mutation, Setup, &'static str); Mutation::WithholdsSlots as usize + 1] {
    let cordoned = Setup { cordoned: &[0], ..ONE };
    let older = OLDER.with([(Event::Older, 1)]);
    let plane = Setup { slots: 2, control_plane: true, ..PAIR };
    let time = Setup { time: true, ..ONE };
    let older_request = Setup { pods: 1, prompt: true, gives_back: true, reconcilers: 0, ..ONE };
    let again = Setup { requests: 1, reboots: 2, prompt: true, gives_back: true, ..ONE }.with([(Event::Silence, 1)]);
    [
        (Mutation::ApprovesByAnOldList, ONE.with([(Event::Arrival, 1)]), "with pods left"),
        (Mutation::ApprovesWithoutWriting, ONE, "has no slot any more"),
        (Mutation::DoesNotList, Setup { pods: 1, ..PAIR }, "with pods left"),
        (Mutation::DoesNotLookAgain, older, "may reboot at once"),
        (Mutation::DoesNotWaitForItsOwnWrite, older, "may reboot at once"),
        (Mutation::FreesAfterAWhile, time, "has no slot any more"),
        (Mutation::FreesWhenTheNodeIsGone, ONE.with([(Event::LoneNotFound, 1)]), "has no slot any more"),
        (Mutation::ForgetsWhoseCordonItIs, cordoned, "the administrator's cordon"),
        (Mutation::IgnoresTheControlPlane, plane, "may reboot at once"),
        (Mutation::KeepsTheCheckedIn, FAILING.with([(Event::Restart, 1), (Event::KubeletFailure, 1)]), "no way to an end"),
        (Mutation::MarksWithoutCordon, ONE, "no way to an end"),
        (Mutation::NeverFreesTheMissing, FAILING.with([(Event::Removal, 1)]), "no way to an end"),
        (Mutation::NeverFreesTheNotReady, FAILING.with([(Event::KubeletFailure, 1)]), "the way to an end takes"),
        (Mutation::NeverFreesTheReinstalled, FAILING.with([(Event::Silence, 1)]), "no way to an end"),
        (Mutation::NeverFreesTheSilent, FAILING.with([(Event::Departure, 1)]), "no way to an end"),
        (Mutation::NeverGivesUp, FAILING.with([(Event::Obstruction, 1)]), "no way to an end"),
        (Mutation::NeverPassesTheAbsent, Setup { nodes: 3, ..FAILING }.with([(Event::Departure, 1)]), "no way to an end"),
        (Mutation::NeverWithdraws, FAILING.with([(Event::FailedReboot, 1)]), "no way to an end"),
        (Mutation::NeverLooksAgain, PAIR, "no way to an end"),
        (Mutation::NeverSuperseded, ONE.with([(Event::SecondCall, 1), (Event::Restart, 1)]), "PROMISE BROKEN"),
        (Mutation::OverwritesWhateverIsThere, PAIR, "PROMISE BROKEN"),
        (Mutation::RestoresHolders, ONE, "not cordoned"),
        (Mutation::RestoresSchedulable, cordoned, "the administrator's cordon"),
        (Mutation::RestoresWithoutACheckIn, again, "not cordoned"),
        (Mutation::ServesOlderRequests, older_request.with([(Event::SecondCall, 1), (Event::Silence, 1)]), "PROMISE BROKEN"),
        (Mutation::TakesALostAnnotationForAnEmptyLock, PAIR.with([(Event::LostAnnotation, 1)]), "PROMISE BROKEN"),
        // Two other rules protect this one: the slot is seen to be one too many, and the mark of the other node is seen.
        (Mutation::TakesBeyondTheSlots, PAIR, "nothing"),
        (Mutation::WithholdsSlots, PAIR, "PROMISE BROKEN|no way to an end"),
    ]
}

/// Changes the next step.
pub(crate) fn of(mutation: Mutation, actor: &Actor, next: Option<Step>, now: Now) -> Option<Step> {
    use Mutation as M;
    match (mutation, next) {
        (M::FreesAfterAWhile, None) => free_old(actor, now),
        (M::FreesWhenTheNodeIsGone, Some(Step::Change(Change::Lock { why: LockChange::Missing, .. }))) => {
            lock_change(actor, LockChange::Free(FreeReason::Gone), |state| state.free(actor.work.uid(), now.clock))
        }
        (
            M::ForgetsWhoseCordonItIs,
            Some(Step::Change(Change::Node { why: why @ (NodeChange::Mark | NodeChange::MarkAgain), mut patch })),
        ) => {
            patch.record.iter_mut().for_each(|record| record.before = Before::Schedulable);
            node_change(why, patch)
        }
        (M::KeepsTheCheckedIn, Some(Step::Change(Change::Lock { why: LockChange::Free(FreeReason::NotReady), .. })))
            if actor.has_checked_in() =>
        {
            None
        }
        (M::MarksWithoutCordon, Some(Step::Change(Change::Node { why: why @ (NodeChange::Mark | NodeChange::MarkAgain), patch }))) => {
            node_change(why, NodePatch { unschedulable: None, ..patch })
        }
        (M::NeverSuperseded, Some(Step::Answer(Outcome::Refused(refusal)))) if refusal.kind == Kind::Superseded => {
            check_in(actor, now).or(Some(Step::Answer(Outcome::Refused(refusal))))
        }
        (M::NeverPassesTheAbsent, Some(Step::Change(Change::Lock { why: LockChange::Take, next, .. })))
            if actor.observed.lock.as_ref().is_some_and(|lock| lock.value.state.passed != next.passed) =>
        {
            Some(Step::Answer(Outcome::refused(Kind::Queued, "")))
        }
        (M::NeverPassesTheAbsent, Some(Step::Change(_))) if matches!(actor.work, Work::Waiter(_)) => None,
        (M::RestoresWithoutACheckIn, Some(Step::Change(Change::Lock { why: LockChange::NeverCheckedIn, .. }))) => {
            node_change(NodeChange::Restore, NodePatch::restore(actor.observed.node.as_ref()?.value.as_ref()?))
        }
        (M::RestoresHolders, None) => restore_marked(actor),
        (M::RestoresSchedulable, Some(Step::Change(Change::Node { why: NodeChange::Restore | NodeChange::RestoreCordoned, patch }))) => {
            node_change(NodeChange::Restore, NodePatch { unschedulable: Some(false), ..patch })
        }
        (M::TakesBeyondTheSlots, Some(Step::Answer(Outcome::Refused(refusal)))) if refusal.kind == Kind::SlotsTaken => {
            take(actor, now).or(Some(Step::Answer(Outcome::Refused(refusal))))
        }
        (M::WithholdsSlots, Some(Step::Change(Change::Lock { why: LockChange::Free(_), .. }))) => None,
        (_, next) => next,
    }
}

/// Changes the number of pods that are read.
pub(crate) fn pods(mutation: Option<Mutation>, actor: &Actor, pods: u8) -> u8 {
    match mutation {
        Some(Mutation::ApprovesByAnOldList) => actor.pods_at_first,
        Some(Mutation::DoesNotList) => 0,
        _ => pods,
    }
}

/// Reports whether the mutation assumes that no node is marked.
pub(crate) fn is_blind(mutation: Option<Mutation>, actor: &Actor) -> bool {
    mutation == Some(Mutation::DoesNotLookAgain) && actor.observed.term.is_some()
}

/// Returns the fact that the mutation assumes instead of a write.
pub(crate) fn pretended(mutation: Option<Mutation>, change: &Change, world: &World) -> Option<Fact> {
    match change {
        Change::Lock { why: LockChange::Approve, next, .. } if mutation == Some(Mutation::ApprovesWithoutWriting) => {
            let version = world.lock.version.clone();
            Some(Fact::Lock(Lock { state: next.clone(), version, written: Some(LockChange::Approve) }))
        }
        _ => None,
    }
}

/// Returns the request as the mutation sees it.
pub(crate) fn arrived(mutation: Option<Mutation>, caller: &Caller, now: Now) -> Cow<'_, Caller> {
    match mutation {
        Some(Mutation::ServesOlderRequests) => Cow::Owned(Caller { arrived: now.clock, ..caller.clone() }),
        _ => Cow::Borrowed(caller),
    }
}

fn lock_change(actor: &Actor, why: LockChange, change: impl FnOnce(&LockState) -> LockState) -> Option<Step> {
    let lock = &actor.observed.lock.as_ref()?.value;
    Some(Step::Change(Change::Lock { why, next: change(&lock.state), basis: lock.version.clone() }))
}

fn node_change(why: NodeChange, patch: NodePatch) -> Option<Step> {
    Some(Step::Change(Change::Node { why, patch }))
}

fn free_old(actor: &Actor, now: Now) -> Option<Step> {
    let Work::Holder(uid) = &actor.work else { return None };
    let holder = actor.observed.lock.as_ref()?.value.state.holder(uid)?;
    let long = now.clock.duration_since(holder.since) >= SignedDuration::from_secs(120);
    long.then(|| lock_change(actor, LockChange::Free(FreeReason::Gone), |state| state.free(uid, now.clock))).flatten()
}

fn check_in(actor: &Actor, now: Now) -> Option<Step> {
    let Work::SteadyState(caller) = &actor.work else { return None };
    actor.observed.lock.as_ref()?.value.state.holder(&caller.uid).filter(|holder| holder.checked_in.is_none())?;
    lock_change(actor, LockChange::CheckIn, |state| state.check_in(&caller.uid, now.clock))
}

fn restore_marked(actor: &Actor) -> Option<Step> {
    let Work::Orphan(..) = &actor.work else { return None };
    let node = actor.observed.node.as_ref()?.value.as_ref().filter(|node| !node.meta.is_in_service())?;
    node_change(NodeChange::Restore, NodePatch::restore(node))
}

fn take(actor: &Actor, now: Now) -> Option<Step> {
    let Work::PreReboot(caller) = &actor.work else { return None };
    lock_change(actor, LockChange::Take, |state| state.take(&caller.node, &caller.uid, &caller.group, now.clock))
}
