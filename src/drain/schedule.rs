//! Schedule of the evictions: which pod is next, and at what time.
//!
//! Pods of one PodDisruptionBudget are evicted one after the other. While the budget refuses, one attempt every few seconds suffices
//! for all of them. After a granted eviction the next one is due at once. Only a refusal names the budget of a pod, and pods of one
//! controller are assumed to have the same budget.
//!
//! A few evictions are in flight at once, because the API server delays an eviction by half a second if its budget was written just
//! before, by another eviction or by the disruption controller.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{DrainPlan, Eviction, Refused};
use crate::cluster::{Pod, Uid};

/// Pause after a first refusal. Each further refusal makes the pause longer by half, up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// Pause after the first refusal of a budget. The budget often allows the next eviction soon, once a replacement pod is ready.
const BUDGET_WAIT_FIRST: Duration = Duration::from_millis(250);

/// Maximum pause between two attempts on one pod or budget.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Pause before a pod is evicted again that is not terminating although its eviction was granted.
const WAIT_SETTLED: Duration = Duration::from_secs(2);

/// Results of the evictions so far.
#[derive(Debug, Default)]
pub struct Schedule {
    pods: HashMap<Uid, Attempts>,
    budgets: HashMap<String, Wait>,
    /// The budget that refused a pod of this controller last.
    owners: HashMap<Owner, String>,
    /// Time before which no eviction is sent, because the API server limits the rate.
    quiet_until: Option<Instant>,
    /// Time since which the drain was blocked at another replica, and the reason, which names the pods.
    before: Option<(Timestamp, String)>,
}

/// A controller: namespace, kind and name.
type Owner = (String, String, String);

#[derive(Debug, Default)]
struct Attempts {
    count: u32,
    in_flight: bool,
    /// The answer to an eviction was "gone". If the next list still has the pod, the answer was wrong.
    reported_gone: bool,
    wait: Wait,
    budget: Option<String>,
    /// Time of the first refusal, and the last refusal.
    refused: Option<(Timestamp, Eviction)>,
}

#[derive(Debug, Default)]
struct Wait {
    refusals: u32,
    next: Option<Instant>,
}

impl Schedule {
    /// Creates the schedule of a drain that another replica began and that was blocked since then by `blocked`, which names the pods. A pod
    /// that is refused here, too, has been refused since then.
    pub fn continuing(since: Timestamp, blocked: &str) -> Self {
        Self { before: Some((since, blocked.to_owned())), ..Self::default() }
    }

    /// Returns the next pod to evict now. The eviction is in flight until [`Schedule::record`].
    pub fn begin(&mut self, plan: &DrainPlan, now: Instant) -> Option<Pod> {
        let pod = self.due(plan, now).into_iter().next()?.clone();
        self.pods.entry(pod.uid.clone()).or_default().in_flight = true;
        Some(pod)
    }

    /// Returns the pods to evict now, at most one for each budget that has refused.
    fn due<'a>(&self, plan: &'a DrainPlan, now: Instant) -> Vec<&'a Pod> {
        let (in_flight, mut candidates): (Vec<&Pod>, Vec<&Pod>) =
            plan.candidates().iter().partition(|pod| self.pods.get(&pod.uid).is_some_and(|attempts| attempts.in_flight));
        // Fewest attempts first, so that no pod waits behind one whose eviction is refused.
        candidates.sort_by_key(|pod| self.pods.get(&pod.uid).map_or(0, |attempts| attempts.count));
        let mut budgets: BTreeSet<&str> = in_flight.iter().filter_map(|pod| self.budget(pod)).collect();
        let is_due =
            |pod: &&Pod| self.next(pod).is_none_or(|next| next <= now) && self.budget(pod).is_none_or(|budget| budgets.insert(budget));
        candidates.into_iter().filter(is_due).collect()
    }

    /// Returns the time until the next eviction is due; at most `limit`.
    pub fn rest(&self, plan: &DrainPlan, now: Instant, limit: Duration) -> Duration {
        let rests = plan.candidates().iter().map(|pod| self.next(pod).map_or(Duration::ZERO, |next| next.saturating_duration_since(now)));
        rests.min().unwrap_or(limit).min(limit)
    }

    /// Returns the known or assumed budget of a pod.
    fn budget(&self, pod: &Pod) -> Option<&str> {
        let own = self.pods.get(&pod.uid).and_then(|attempts| attempts.budget.as_deref());
        own.or_else(|| self.owners.get(&owner(pod)?).map(String::as_str))
    }

    /// Returns the time before which the pod is not evicted.
    fn next(&self, pod: &Pod) -> Option<Instant> {
        let own = self.pods.get(&pod.uid).and_then(|attempts| attempts.wait.next);
        let budget = self.budget(pod).and_then(|budget| self.budgets.get(budget)).and_then(|wait| wait.next);
        [own, budget, self.quiet_until].into_iter().flatten().max()
    }

    /// Records the result of the eviction of `pod`. `jitter` is in 0..1 and spreads replicas apart.
    pub fn record(&mut self, pod: &Pod, eviction: Eviction, now: Instant, clock: Timestamp, jitter: f64) {
        let known = self.budget(pod).map(str::to_owned);
        let attempts = self.pods.entry(pod.uid.clone()).or_default();
        attempts.count += 1;
        attempts.in_flight = false;
        match &eviction {
            // A list is used for less than `WAIT_SETTLED`, so a list that still has the pod is younger than the first answer.
            Eviction::Gone { .. } if attempts.reported_gone => attempts.wait.refused(WAIT_FIRST, now, jitter),
            Eviction::Evicted | Eviction::Gone { .. } => {
                attempts.reported_gone = eviction != Eviction::Evicted;
                attempts.refused = None;
                attempts.wait.next = Some(now + WAIT_SETTLED);
                attempts.budget = None;
                if let Some(budget) = known {
                    self.budgets.remove(&budget);
                }
                return;
            }
            Eviction::Budget { budget: Some(budget), .. } => {
                attempts.wait.next = None;
                attempts.budget = Some(budget.clone());
                if let Some(owner) = owner(pod) {
                    self.owners.insert(owner, budget.clone());
                }
                self.budgets.entry(budget.clone()).or_default().refused(BUDGET_WAIT_FIRST, now, jitter);
            }
            Eviction::RateLimited { after } => {
                attempts.wait.refused(WAIT_FIRST, now, jitter);
                self.quiet_until = Some(now + (*after).clamp(WAIT_FIRST, WAIT_MAX));
            }
            Eviction::Budget { budget: None, .. } | Eviction::Postponed { .. } | Eviction::Refused { .. } | Eviction::Unclear { .. } => {
                attempts.wait.refused(WAIT_FIRST, now, jitter);
            }
        }
        let before = self.before.as_ref().filter(|(_, blocked)| blocked.contains(&pod.key.to_string())).map_or(clock, |(since, _)| *since);
        let since = attempts.refused.as_ref().map_or(before, |(since, _)| *since);
        attempts.refused = Some((since, eviction));
    }

    /// Forgets pods that are no longer in `plan`.
    pub fn forget_gone(&mut self, plan: &DrainPlan) {
        let left: BTreeSet<&Uid> = plan.pods().map(|pod| &pod.uid).collect();
        self.pods.retain(|uid, _| left.contains(uid));
    }

    /// Returns the refusal of the eviction of `pod`, if the last attempt was refused.
    pub(super) fn refused(&self, pod: &Pod) -> Option<Refused> {
        let (since, by) = self.pods.get(&pod.uid)?.refused.clone()?;
        Some(Refused { pod: pod.key.clone(), by, since })
    }
}

impl Wait {
    fn refused(&mut self, first: Duration, now: Instant, jitter: f64) {
        let grown = first.mul_f64(1.5f64.powi(self.refusals.min(20).cast_signed()));
        self.next = Some(now + grown.min(WAIT_MAX).mul_f64(0.8 + 0.4 * jitter));
        self.refusals += 1;
    }
}

fn owner(pod: &Pod) -> Option<Owner> {
    let controller = pod.controller.as_ref()?;
    Some((pod.key.namespace.clone(), controller.kind.clone(), controller.name.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::drain::Progress;

    fn pod(name: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop", "uid": name}})).unwrap()
    }

    /// Makes pods of the ReplicaSet `web`.
    fn owned(names: &[&str]) -> Vec<Pod> {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": true});
        let pod = |name| json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "ownerReferences": [owner]}});
        names.iter().map(|name| serde_json::from_value(pod(name)).unwrap()).collect()
    }

    fn plan(names: &[&str]) -> DrainPlan {
        DrainPlan { evict: names.iter().map(|name| pod(name)).collect(), ..DrainPlan::default() }
    }

    fn names<'a>(pods: &[&'a Pod]) -> Vec<&'a str> {
        pods.iter().map(|pod| pod.key.name.as_str()).collect()
    }

    fn by_budget() -> Eviction {
        Eviction::Budget { budget: Some("shop/web".to_owned()), needs: "needs 2 healthy pods and has 2 currently".to_owned() }
    }

    #[expect(clippy::disallowed_methods, reason = "only the clock makes an Instant; no test waits for one")]
    fn start() -> Instant {
        Instant::now()
    }

    const CLOCK: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_budget_that_refuses_is_tried_with_one_pod_at_a_time() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a", "b", "c", "d", "e"]), start());
        assert_eq!(names(&schedule.due(&plan, start)), ["a", "b", "c", "d", "e"]);
        for pod in &plan.evict {
            schedule.record(pod, by_budget(), start, CLOCK, 0.5);
        }
        assert!(schedule.due(&plan, start).is_empty());
        let later = start + WAIT_MAX * 2;
        assert_eq!(names(&schedule.due(&plan, later)), ["a"]);
        schedule.record(&plan.evict[0], Eviction::Evicted, later, CLOCK, 0.5);
        assert_eq!(names(&schedule.due(&plan, later)), ["b"], "an eviction opens the way for the next");
        schedule.record(&plan.evict[1], by_budget(), later, CLOCK, 0.5);
        assert!(schedule.due(&plan, later).is_empty());
    }

    #[test]
    fn a_pod_is_in_one_eviction_at_a_time() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a", "b"]), start());
        let begun: Vec<Pod> = std::iter::from_fn(|| schedule.begin(&plan, start)).collect();
        assert_eq!(begun, plan.evict);
        schedule.record(&begun[1], Eviction::Unclear { why: "timeout".to_owned() }, start, CLOCK, 0.5);
        assert_eq!(schedule.begin(&plan, start), None);
        assert_eq!(schedule.begin(&plan, start + WAIT_MAX), Some(begun[1].clone()), "a is still in flight");
    }

    #[test]
    fn a_budget_that_has_refused_has_one_eviction_in_flight() {
        let (mut schedule, start) = (Schedule::default(), start());
        let evict = [owned(&["a", "b", "c"]), plan(&["d"]).evict].concat();
        let plan = DrainPlan { evict, ..DrainPlan::default() };
        schedule.record(&plan.evict[0], by_budget(), start, CLOCK, 0.5);
        let later = start + BUDGET_WAIT_FIRST;
        assert_eq!(schedule.begin(&plan, later), Some(plan.evict[1].clone()));
        assert_eq!(schedule.begin(&plan, later), Some(plan.evict[3].clone()), "not c");
        assert_eq!(schedule.begin(&plan, later), None);
    }

    #[test]
    fn a_refusal_counts_for_all_pods_of_the_controller() {
        let (mut schedule, start) = (Schedule::default(), start());
        let plan = DrainPlan { evict: owned(&["a", "b", "c"]), ..DrainPlan::default() };
        schedule.record(&plan.evict[0], by_budget(), start, CLOCK, 0.5);
        assert!(schedule.due(&plan, start).is_empty(), "b and c are taken to have the same budget");
        assert_eq!(schedule.rest(&plan, start, WAIT_MAX), BUDGET_WAIT_FIRST);
        let later = start + BUDGET_WAIT_FIRST;
        assert_eq!(names(&schedule.due(&plan, later)), ["b"], "perhaps only a is protected");
        assert_eq!(schedule.rest(&plan, later, WAIT_MAX), Duration::ZERO);
        schedule.record(&plan.evict[1], Eviction::Evicted, later, CLOCK, 0.5);
        assert_eq!(names(&schedule.due(&plan, later)), ["c"], "an eviction opens the way for the next");
    }

    #[test]
    fn every_refusal_is_retried_and_reported_since_the_first() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a", "b"]), start());
        schedule.record(&plan.evict[0], Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.0);
        assert_eq!(names(&schedule.due(&plan, start)), ["b"]);
        assert_eq!(names(&schedule.due(&plan, start + WAIT_MAX)), ["b", "a"]);
        schedule.record(&plan.evict[0], by_budget(), start, "2026-01-01T00:00:00Z".parse().unwrap(), 0.0);
        let progress = Progress::of(&plan, &schedule, CLOCK);
        assert!(progress.is_blocked());
        assert_eq!(
            progress.to_string(),
            "has 2 pods left: pod shop/a is protected by the PodDisruptionBudget shop/web \
             (needs 2 healthy pods and has 2 currently) since 1970-01-01T00:00:00Z"
        );
        schedule.record(&plan.evict[0], Eviction::Evicted, start, CLOCK, 0.0);
        assert_eq!(Progress::of(&plan, &schedule, CLOCK).to_string(), "has 2 pods left");
    }

    #[test]
    fn a_rate_limit_stops_all_evictions_for_a_while() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a", "b"]), start());
        schedule.record(&plan.evict[0], Eviction::RateLimited { after: Duration::from_secs(600) }, start, CLOCK, 0.0);
        assert!(schedule.due(&plan, start).is_empty(), "b too");
        assert_eq!(names(&schedule.due(&plan, start + WAIT_MAX)), ["b", "a"]);
        assert!(Progress::of(&plan, &schedule, CLOCK).to_string().contains("limits the rate"));
    }

    #[test]
    fn a_pod_reported_gone_and_still_listed_is_blocked() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a"]), start());
        let gone = || Eviction::Gone { answer: "404, pods \"a\" not found".to_owned() };
        schedule.record(&plan.evict[0], gone(), start, CLOCK, 0.5);
        assert_eq!(Progress::of(&plan, &schedule, CLOCK), Progress { left: 1, ..Progress::default() });
        assert_eq!(schedule.rest(&plan, start, WAIT_MAX), WAIT_SETTLED);
        let unclear = Eviction::Unclear { why: "timeout".to_owned() };
        for answer in [gone(), unclear, gone()] {
            schedule.record(&plan.evict[0], answer, start, CLOCK, 0.5);
            assert!(Progress::of(&plan, &schedule, CLOCK).is_blocked());
        }
        let clause = "has 1 pod left: pod shop/a is not evicted: the API server answered 404, pods \"a\" not found, but still lists the pod since \
             1970-01-01T00:00:00Z";
        assert_eq!(Progress::of(&plan, &schedule, CLOCK).to_string(), clause);
        schedule.record(&plan.evict[0], Eviction::Evicted, start, CLOCK, 0.5);
        schedule.record(&plan.evict[0], gone(), start, CLOCK, 0.5);
        assert!(!Progress::of(&plan, &schedule, CLOCK).is_blocked(), "the eviction worked, and then the pod was gone");
    }

    #[test]
    fn each_refusal_makes_the_wait_longer_by_half() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a"]), start());
        for rest in [500, 750, 1125] {
            schedule.record(&plan.evict[0], Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.5);
            assert_eq!(schedule.rest(&plan, start, WAIT_MAX), Duration::from_millis(rest));
        }
    }

    #[test]
    fn attempts_on_a_pod_that_is_gone_are_forgotten() {
        let (mut schedule, plan, start) = (Schedule::default(), plan(&["a", "b"]), start());
        for pod in &plan.evict {
            schedule.record(pod, Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.5);
        }
        let left = DrainPlan { evict: plan.evict[..1].to_vec(), ..DrainPlan::default() };
        schedule.forget_gone(&left);
        assert_eq!(names(&schedule.due(&plan, start)), ["b"], "as if it had never been tried");
        assert_eq!(
            Progress::of(&plan, &schedule, CLOCK).to_string(),
            "has 2 pods left: pod shop/a is not evicted: webhook since 1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn a_pod_that_was_refused_at_another_replica_has_been_refused_since_then() {
        let (now, clock) = (start(), Timestamp::from_second(1_000).unwrap());
        let mut schedule = Schedule::continuing(Timestamp::UNIX_EPOCH, "has 2 pods left: pod shop/a is protected by a budget");
        let mut since = |name: &str| {
            schedule.record(&pod(name), by_budget(), now, clock, 0.0);
            schedule.refused(&pod(name)).unwrap().since
        };
        assert_eq!((since("a"), since("b")), (Timestamp::UNIX_EPOCH, clock));
    }
}
