//! The thread that performs `reboot::reconcile`: for holders every few seconds, for all marked nodes every few minutes.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};

use super::Error;
use super::error::error_chain;
use super::perform::{Performer, read_lock};
use crate::cluster::{HexId, Member, NodeName, Uid};
use crate::fleetlock::GroupName;
use crate::lock::{Capacity, KeepReason};
use crate::metrics::Metrics;
use crate::reboot::reconcile::{self, Step};
use crate::reboot::{Caller, Now, Observed};
use crate::system::{backoff, clock, threads};

/// Time between two checks of the holders, which read the Lease and one Node for each holder.
const HOLDERS_EVERY: Duration = Duration::from_secs(10);

/// Number of rounds between two searches for marked nodes without a slot. Without a watch, a search may read a list.
const ROUNDS_A_SCAN: u32 = 30;

/// Steps for one node in one round.
const STEPS_MAX: usize = 12;

/// Finishes what a crash or an administrator has interrupted, if no request does.
pub(super) struct Reconciler {
    pub(super) performer: Arc<Performer>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) capacity: Capacity,
}

impl Reconciler {
    /// Runs until the process stops. The first round searches at once, because a former replica may have crashed.
    pub(super) fn run(&self) {
        let Performer { kube, readiness, stop, .. } = &*self.performer;
        for round in 0u32.. {
            readiness.check_rights(kube);
            if let Err(error) = threads::on_fresh_stack(|| self.round(round)) {
                warn!("reconcile failed, will retry: {}", error_chain(&error));
            }
            if *stop.wait(HOLDERS_EVERY.mul_f64(0.8 + 0.4 * backoff::jitter()), |stop| *stop) {
                return;
            }
        }
    }

    fn round(&self, round: u32) -> Result<(), Error> {
        self.holders()?;
        if round.is_multiple_of(ROUNDS_A_SCAN) { self.orphans() } else { Ok(()) }
    }

    fn holders(&self) -> Result<(), Error> {
        let Performer { kube, readiness, .. } = &*self.performer;
        let lock = read_lock(kube, readiness).inspect_err(|error| readiness.lease_was_not_read(error))?;
        self.metrics.slots(self.capacity, &lock.state);
        for holder in lock.state.holders {
            self.node(&holder.node, &holder.uid, |observed, now| reconcile::holder(&holder.uid, observed, now.clock));
        }
        Ok(())
    }

    fn orphans(&self) -> Result<(), Error> {
        let Performer { kube, node_cache, .. } = &*self.performer;
        for member in node_cache.cached_facts(kube)?.members.into_iter().filter(Member::has_our_annotations) {
            let (name, uid) = (&member.name, Uid(member.uid.to_string()));
            if member.record.is_none() {
                info!("node {name} is marked Rebooting by hand or by another manager; it counts as unavailable");
                continue;
            }
            self.node(name, &uid, |observed, now| reconcile::orphan(name, &uid, observed, now.clock));
        }
        Ok(())
    }

    fn node(&self, node: &NodeName, uid: &Uid, next: impl Fn(&Observed, Now) -> Step) {
        match self.steps(node, uid, next) {
            Ok(Some(why)) => debug!("node {node} keeps its slot: it {why}"),
            Ok(None) => {}
            Err(error) => warn!("cannot reconcile node {node}: {}", error_chain(&error)),
        }
    }

    /// Performs `next` until nothing is left to do. Returns the reason if a slot is kept.
    fn steps(&self, node: &NodeName, uid: &Uid, next: impl Fn(&Observed, Now) -> Step) -> Result<Option<KeepReason>, Error> {
        let Some(group) = GroupName::parse("reconcile") else { return Ok(None) };
        let caller = Caller { node: node.clone(), uid: uid.clone(), id: HexId([0; 16]), group, arrived: clock::now().clock };
        let mut observed = Observed::new(uid.clone(), None);
        let mut unknown_outcomes = 0;
        for _ in 0..STEPS_MAX {
            match next(&observed, clock::now()) {
                Step::Change(change, why) => {
                    if let Some(why) = why {
                        info!("node {node}: its slot can be freed: {why}");
                    }
                    self.performer.change(&caller, &change, &mut observed, &mut unknown_outcomes)?;
                }
                Step::Done(why) => return Ok(why),
                Step::Read(question) => self.performer.read(&caller, question, &mut observed)?,
            }
        }
        Ok(None)
    }
}
