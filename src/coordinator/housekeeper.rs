//! The thread that does what `reboot::housekeeping` says: holders every few seconds, all marked nodes every few minutes.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::trouble::told;
use super::{Coordinator, Trouble};
use crate::cluster::{HexId, Member, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::reboot::housekeeping::{self, Tidy};
use crate::reboot::{Caller, Now, Observed};
use crate::system::{backoff, clock, threads};

/// How often holders are looked at: one Lease, and one Node for each holder.
const HOLDERS_EVERY: Duration = Duration::from_secs(10);

/// Every so many rounds all marked nodes are looked at for one without a slot. Without a watch that may take a list.
const ROUNDS_A_SCAN: u32 = 30;

/// Steps for one node in one round.
const STEPS_MAX: usize = 12;

impl Coordinator {
    /// Runs until the process stops. The first scan comes at once: a predecessor may have crashed.
    pub(super) fn keep_house(self: &Arc<Self>) {
        for round in 0u32.. {
            self.ask_for_rights();
            if let Err(trouble) = threads::on_fresh_stack(|| self.tidy_all(round)) {
                warn!("housekeeping is put off: {}", told(&trouble));
            }
            let every = HOLDERS_EVERY.mul_f64(0.8 + 0.4 * backoff::jitter());
            if self.state.wait(every, |state| state.stopping).stopping {
                return;
            }
        }
    }

    fn tidy_all(&self, round: u32) -> Result<(), Trouble> {
        self.tidy_holders().and_then(|()| if round.is_multiple_of(ROUNDS_A_SCAN) { self.tidy_strays() } else { Ok(()) })
    }

    fn tidy_holders(&self) -> Result<(), Trouble> {
        let lock = self.lock().inspect_err(|trouble| self.readiness.lease_was_not_read(trouble))?;
        self.metrics.slots(self.limits.rules.slots, &lock.state);
        for holder in lock.state.holders {
            match self.tidy(&holder.node, &holder.uid, |seen, now| housekeeping::holder(&holder.uid, seen, now.clock)) {
                Ok(Some(why)) => log::debug!("node {} keeps its slot since {:.0}: it {why}", holder.node, holder.since),
                Ok(None) => {}
                Err(trouble) => warn!("node {} cannot be looked after: {}", holder.node, told(&trouble)),
            }
        }
        Ok(())
    }

    fn tidy_strays(&self) -> Result<(), Trouble> {
        for member in self.node_cache.facts_lately(&self.kube)?.members.into_iter().filter(Member::is_marked) {
            let (name, uid) = (&member.name, Uid(member.uid.to_string()));
            if member.record.is_none() {
                info!("node {name} is marked as rebooting by hand or by another manager; it counts as one");
                continue;
            }
            if let Err(trouble) = self.tidy(name, &uid, |seen, now| housekeeping::stray(name, &uid, seen, now.clock)) {
                warn!("node {name} cannot be looked after: {}", told(&trouble));
            }
        }
        Ok(())
    }

    fn tidy(&self, node: &NodeName, uid: &Uid, next: impl Fn(&Observed, Now) -> Tidy) -> Result<Option<&'static str>, Trouble> {
        let Ok(group) = GroupName::parse("housekeeping") else { return Ok(None) };
        let caller = Caller { node: node.clone(), uid: uid.clone(), id: HexId([0; 16]), group, arrived: clock::now().clock };
        let mut seen = Observed::nothing(uid.clone(), None);
        let mut doubts = 0;
        for _ in 0..STEPS_MAX {
            match next(&seen, clock::now()) {
                Tidy::Change(change, why) => {
                    if let Some(why) = why {
                        info!("node {node}: its slot can be freed: {why}");
                    }
                    self.change(&caller, &change, &mut seen, &mut doubts)?;
                }
                Tidy::Done(why) => return Ok(why),
                Tidy::Look(question) => self.look(&caller, question, &mut seen)?,
            }
        }
        Ok(None)
    }
}
