//! Our own rules, broken on purpose, each in one place: the checker must find out. `runs` holds the table.

use jiff::SignedDuration;
use reboot_manager::cluster::{Before, NodePatch};
use reboot_manager::fleetlock::Kind;
use reboot_manager::reboot::{Change, Fact, Lock, LockChange, NodeChange, Now, Outcome};

use crate::actor::{Actor, Next, Work};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Approves by a list of pods from before the cordon.
    ApprovesByAnOldList,
    /// Approves by the Lease as it was read, and writes nothing.
    ApprovesWithoutWriting,
    /// Does not look at the pods at all.
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
    /// Does not look at the other nodes of the control plane.
    IgnoresTheControlPlane,
    /// Marks without cordoning.
    MarksWithoutCordon,
    /// After a conflict continues with what it had read.
    NeverLooksAgain,
    /// A check-in counts although the node was approved since.
    NeverSuperseded,
    /// Writes without the version it has read.
    OverwritesWhateverIsThere,
    /// A reconciler restores a marked node whether it holds a slot or not.
    RestoresHolders,
    /// Uncordons whatever the record says.
    RestoresSchedulable,
    /// Takes a Lease without its annotation for an empty lock.
    TakesALostAnnotationForAnEmptyLock,
    /// Takes a slot when all are taken.
    TakesBeyondTheSlots,
    /// Never frees a slot.
    WithholdsSlots,
}

impl Mutation {
    pub(crate) const ALL: [Self; Self::WithholdsSlots as usize + 1] = [
        Self::ApprovesByAnOldList,
        Self::ApprovesWithoutWriting,
        Self::DoesNotList,
        Self::DoesNotLookAgain,
        Self::DoesNotWaitForItsOwnWrite,
        Self::FreesAfterAWhile,
        Self::FreesWhenTheNodeIsGone,
        Self::ForgetsWhoseCordonItIs,
        Self::IgnoresTheControlPlane,
        Self::MarksWithoutCordon,
        Self::NeverLooksAgain,
        Self::NeverSuperseded,
        Self::OverwritesWhateverIsThere,
        Self::RestoresHolders,
        Self::RestoresSchedulable,
        Self::TakesALostAnnotationForAnEmptyLock,
        Self::TakesBeyondTheSlots,
        Self::WithholdsSlots,
    ];
}

/// Changes the next step.
pub(crate) fn of(mutation: Mutation, actor: &Actor, next: Next, now: Now) -> Next {
    match (mutation, next) {
        (Mutation::FreesAfterAWhile, Next::Idle) => free_old(actor, now).unwrap_or(Next::Idle),
        (Mutation::FreesWhenTheNodeIsGone, Next::Change(Change::Lock { why: LockChange::Missing, next, basis })) => {
            lock_change(actor, LockChange::Free, |lock| lock.state.free(&actor.uid())).unwrap_or(Next::Change(Change::Lock {
                why: LockChange::Missing,
                next,
                basis,
            }))
        }
        (Mutation::ForgetsWhoseCordonItIs, Next::Change(Change::Node { why: NodeChange::Mark, mut patch })) => {
            patch.record.iter_mut().for_each(|record| record.before = Before::Schedulable);
            Next::Change(Change::Node { why: NodeChange::Mark, patch })
        }
        (Mutation::MarksWithoutCordon, Next::Change(Change::Node { why: NodeChange::Mark, patch })) => {
            Next::Change(Change::Node { why: NodeChange::Mark, patch: NodePatch { unschedulable: None, ..patch } })
        }
        (Mutation::NeverSuperseded, Next::Answer(Outcome::Refused(refusal))) if refusal.kind == Kind::Superseded => {
            check_in(actor, now).unwrap_or(Next::Answer(Outcome::Refused(refusal)))
        }
        (Mutation::RestoresHolders, Next::Idle) => restore_marked(actor).unwrap_or(Next::Idle),
        (Mutation::RestoresSchedulable, Next::Change(Change::Node { why: NodeChange::Restore, patch })) => {
            Next::Change(Change::Node { why: NodeChange::Restore, patch: NodePatch { unschedulable: Some(false), ..patch } })
        }
        (Mutation::TakesBeyondTheSlots, Next::Answer(Outcome::Refused(refusal))) if refusal.kind == Kind::SlotsTaken => {
            take(actor, now).unwrap_or(Next::Answer(Outcome::Refused(refusal)))
        }
        (Mutation::WithholdsSlots, Next::Change(Change::Lock { why: LockChange::Free, .. })) => Next::Idle,
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

fn lock_change(actor: &Actor, why: LockChange, change: impl FnOnce(&Lock) -> reboot_manager::lock::LockState) -> Option<Next> {
    let lock = &actor.observed.lock.as_ref()?.value;
    Some(Next::Change(Change::Lock { why, next: change(lock), basis: lock.version.clone() }))
}

fn free_old(actor: &Actor, now: Now) -> Option<Next> {
    let Work::Holder(uid) = &actor.work else { return None };
    let holder = actor.observed.lock.as_ref()?.value.state.holder(uid)?;
    let long = now.clock.duration_since(holder.since) >= SignedDuration::from_secs(120);
    long.then(|| lock_change(actor, LockChange::Free, |lock| lock.state.free(uid))).flatten()
}

fn check_in(actor: &Actor, now: Now) -> Option<Next> {
    let Work::SteadyState(caller) = &actor.work else { return None };
    actor.observed.lock.as_ref()?.value.state.holder(&caller.uid).filter(|holder| holder.checked_in.is_none())?;
    lock_change(actor, LockChange::CheckIn, |lock| lock.state.check_in(&caller.uid, now.clock))
}

fn restore_marked(actor: &Actor) -> Option<Next> {
    let Work::Orphan(..) = &actor.work else { return None };
    let node = actor.observed.node.as_ref()?.value.as_ref().filter(|node| !node.meta.is_in_service())?;
    Some(Next::Change(Change::Node { why: NodeChange::Restore, patch: NodePatch::restore(node) }))
}

fn take(actor: &Actor, now: Now) -> Option<Next> {
    let Work::PreReboot(caller) = &actor.work else { return None };
    lock_change(actor, LockChange::Take, |lock| lock.state.take(&caller.node, &caller.uid, &caller.group, now.clock))
}
