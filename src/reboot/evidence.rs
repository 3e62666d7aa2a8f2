//! Proofs behind a 200 to a pre-reboot. Only its check can make a proof, and no proof can be copied or stored. Without all three there
//! is no [`Approval`], and without an approval no 200.

use std::time::{Duration, Instant};

use super::{Lock, LockChange, Reading};
use crate::cluster::{Complete, Node, Pod, PodKey, Uid};
use crate::drain::DrainPlan;

/// Maximum age of a proof. A replica that was frozen finds its proofs too old, and reads again.
pub const PROOF_AGE_MAX: Duration = Duration::from_secs(15);

/// The slot is held: this request wrote the approval into the Lease, over the version that named the node a holder.
#[derive(Debug)]
pub struct HeldSlot {
    tick: u64,
    at: Instant,
}

/// The node was seen marked for its term and unschedulable.
#[derive(Debug)]
pub struct Cordoned {
    tick: u64,
    at: Instant,
}

/// A complete list of the node's pods, begun after the cordon was seen, holds no pod to evict.
#[derive(Debug)]
pub struct Emptied {
    tick: u64,
    at: Instant,
    came_back: Vec<PodKey>,
}

/// The node may reboot.
#[derive(Debug)]
pub struct Approval {
    came_back: Vec<PodKey>,
}

/// A proof is too old, or the proofs were not made in the order cordon, empty, slot.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

impl HeldSlot {
    /// Makes the proof from the answer to the write that approved the node `uid`.
    pub fn of(lock: &Reading<Lock>, uid: &Uid) -> Option<Self> {
        let holder = lock.value.state.holder(uid)?;
        let approved = lock.value.written == Some(LockChange::Approve) && holder.approved.is_some() && holder.checked_in.is_none();
        approved.then_some(Self { tick: lock.tick, at: lock.at })
    }
}

impl Cordoned {
    /// Makes the proof from the Node as read; `None` if the node is not cordoned under the term `term` of `lock`.
    pub fn of(node: &Reading<Option<Node>>, lock: &Lock, term: u64) -> Option<Self> {
        let cordoned = node.value.as_ref()?.is_cordoned_for(&lock.term(term));
        cordoned.then_some(Self { tick: node.tick, at: node.at })
    }
}

impl Emptied {
    /// Makes the proof from a complete list of pods. `Err`: the list is too old, or pods are left, with the plan for them.
    pub fn of(
        pods: &Reading<Complete<Vec<Pod>>>,
        cordoned: &Cordoned,
        plan: impl FnOnce(&[Pod]) -> DrainPlan,
    ) -> Result<Self, Option<DrainPlan>> {
        if pods.tick <= cordoned.tick {
            return Err(None);
        }
        let plan = plan(pods.value.items());
        if !plan.is_empty() {
            return Err(Some(plan));
        }
        Ok(Self { tick: pods.tick, at: pods.at, came_back: plan.came_back().map(|pod| pod.key.clone()).collect() })
    }
}

impl Approval {
    /// Combines the proofs at the moment `now`.
    #[expect(clippy::needless_pass_by_value, reason = "the proofs are used up")]
    pub fn of(cordoned: Cordoned, emptied: Emptied, slot: HeldSlot, now: Instant) -> Result<Self, Stale> {
        let ordered = cordoned.tick < emptied.tick && emptied.tick < slot.tick;
        let recent = [cordoned.at, emptied.at, slot.at].iter().all(|at| now.saturating_duration_since(*at) <= PROOF_AGE_MAX);
        if ordered && recent { Ok(Self { came_back: emptied.came_back }) } else { Err(Stale) }
    }

    /// Returns the pods that came back to the cordoned node, which the reboot ends.
    pub fn came_back(&self) -> &[PodKey] {
        &self.came_back
    }
}
