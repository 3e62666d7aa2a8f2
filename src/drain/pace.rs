//! Which evictions are asked for next, and when; and the sentence about what is still awaited.
//!
//! Pods of one PodDisruptionBudget go one after the other: while it says no, one question every few seconds stands for
//! all of them, and a yes opens the way for the next at once. Which budget is a pod's, only a refusal says; pods of one
//! controller are thought to have the same.
//!
//! A few evictions are under way at once, and none waits for another: while one budget counts, the API server holds up an
//! eviction for half a second when another, or the controller of budgets, has written the budget just then.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{DrainPlan, Eviction, came_back_clause};
use crate::cluster::{Pod, PodKey, Uid, spoken};

/// Evictions under way at once: enough to keep an API server's answer time from adding up, few enough to be polite.
pub const AT_ONCE: usize = 4;

/// The wait after a first refusal; it grows by half each time, up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// The same for a budget: it has room again as soon as a pod elsewhere is ready, which is often soon.
const BUDGET_WAIT_FIRST: Duration = Duration::from_millis(250);

/// The longest wait between two questions about the same pod or budget.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A pod that was evicted is terminating in the next list; if it is not, it is asked for again after this.
const WAIT_SETTLED: Duration = Duration::from_secs(2);

/// What the drain has learned so far.
#[derive(Debug, Default)]
pub struct Pace {
    pods: HashMap<Uid, Tries>,
    budgets: HashMap<String, Wait>,
    /// The budget that refused a pod of this controller last.
    owners: HashMap<Owner, String>,
    /// No eviction at all before this: the API server asked for patience.
    quiet_until: Option<Instant>,
}

/// How far a drain has come, for whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// A clause: what is left, and why.
    pub clause: String,
    /// Something other than time is in the way.
    pub blocked: bool,
}

/// A controller: namespace, kind and name.
type Owner = (String, String, String);

#[derive(Debug, Default)]
struct Tries {
    asked: u32,
    under_way: bool,
    /// An eviction was answered with "gone": the next list does not have the pod, or that was not so.
    said_gone: bool,
    wait: Wait,
    budget: Option<String>,
    refusal: Option<Refusal>,
}

#[derive(Debug, Default)]
struct Wait {
    tries: u32,
    next: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Refusal {
    since: Timestamp,
    why: String,
}

impl Pace {
    /// The next pod to evict now; from here on its eviction is under way, until [`Pace::record`].
    pub fn begin(&mut self, plan: &DrainPlan, now: Instant) -> Option<Pod> {
        let pod = self.due(plan, now).into_iter().next()?.clone();
        self.pods.entry(pod.uid.clone()).or_default().under_way = true;
        Some(pod)
    }

    /// The pods to evict now, at most a few with those under way, and of each budget that has refused at most one: the one
    /// that was asked for least, so that no pod that may go waits behind one that may not.
    fn due<'a>(&self, plan: &'a DrainPlan, now: Instant) -> Vec<&'a Pod> {
        let (under_way, mut candidates): (Vec<&Pod>, Vec<&Pod>) =
            plan.candidates().iter().partition(|pod| self.tries(pod, |tries| tries.under_way));
        candidates.sort_by_key(|pod| self.tries(pod, |tries| tries.asked));
        let mut budgets: BTreeSet<&str> = under_way.iter().filter_map(|pod| self.budget(pod)).collect();
        let is_due =
            |pod: &&Pod| self.next(pod).is_none_or(|next| next <= now) && self.budget(pod).is_none_or(|budget| budgets.insert(budget));
        candidates.into_iter().filter(is_due).take(AT_ONCE.saturating_sub(under_way.len())).collect()
    }

    /// How long until an eviction is due, as things stand; at most `limit`.
    pub fn rest(&self, plan: &DrainPlan, now: Instant, limit: Duration) -> Duration {
        let rests = plan.candidates().iter().map(|pod| self.next(pod).map_or(Duration::ZERO, |next| next.saturating_duration_since(now)));
        rests.min().unwrap_or(limit).min(limit)
    }

    /// The budget that a pod is known or thought to have.
    fn budget(&self, pod: &Pod) -> Option<&str> {
        let own = self.pods.get(&pod.uid).and_then(|tries| tries.budget.as_deref());
        own.or_else(|| self.owners.get(&owner(pod)?).map(String::as_str))
    }

    fn tries<T: Default>(&self, pod: &Pod, read: impl FnOnce(&Tries) -> T) -> T {
        self.pods.get(&pod.uid).map(read).unwrap_or_default()
    }

    /// Before this moment the pod is not asked for.
    fn next(&self, pod: &Pod) -> Option<Instant> {
        let own = self.pods.get(&pod.uid).and_then(|tries| tries.wait.next);
        let budget = self.budget(pod).and_then(|budget| self.budgets.get(budget)).and_then(|wait| wait.next);
        [own, budget, self.quiet_until].into_iter().flatten().max()
    }

    /// Takes in what became of the eviction of `pod`. `jitter` is in 0..1 and spreads replicas apart.
    pub fn record(&mut self, pod: &Pod, eviction: Eviction, now: Instant, clock: Timestamp, jitter: f64) {
        let known = self.budget(pod).map(str::to_owned);
        let tries = self.pods.entry(pod.uid.clone()).or_default();
        tries.asked += 1;
        tries.under_way = false;
        let refuse = |tries: &mut Tries, why: String| {
            let since = tries.refusal.as_ref().map_or(clock, |refusal| refusal.since);
            tries.refusal = Some(Refusal { since, why });
        };
        match eviction {
            // A list is used for less than `WAIT_SETTLED`, so the list that still has the pod is younger than the first answer.
            Eviction::Gone { answer } if tries.said_gone => {
                refuse(tries, format!("stays: the API server answered {answer}, but still lists the pod"));
                tries.wait.refused(WAIT_FIRST, now, jitter);
            }
            Eviction::Evicted | Eviction::Gone { .. } => {
                tries.said_gone = eviction != Eviction::Evicted;
                tries.refusal = None;
                tries.wait.next = Some(now + WAIT_SETTLED);
                tries.budget = None;
                if let Some(budget) = known {
                    self.budgets.remove(&budget);
                }
            }
            Eviction::Budget { budget, needs } => {
                let named = budget.clone().unwrap_or_else(|| "unnamed".to_owned());
                refuse(tries, format!("is protected by the PodDisruptionBudget {named} ({needs})"));
                match budget {
                    Some(budget) => {
                        tries.wait.next = None;
                        tries.budget = Some(budget.clone());
                        if let Some(owner) = owner(pod) {
                            self.owners.insert(owner, budget.clone());
                        }
                        self.budgets.entry(budget).or_default().refused(BUDGET_WAIT_FIRST, now, jitter);
                    }
                    None => tries.wait.refused(WAIT_FIRST, now, jitter),
                }
            }
            Eviction::RateLimited { after } => {
                refuse(tries, "stays: the API server asks for patience".to_owned());
                tries.wait.refused(WAIT_FIRST, now, jitter);
                self.quiet_until = Some(now + after.clamp(WAIT_FIRST, WAIT_MAX));
            }
            Eviction::Refused { why } | Eviction::Unclear { why } => {
                refuse(tries, format!("stays: {why}"));
                tries.wait.refused(WAIT_FIRST, now, jitter);
            }
        }
    }

    /// Forgets pods that are not in `plan` any more.
    pub fn forget_gone(&mut self, plan: &DrainPlan) {
        let left: Vec<&Uid> = plan.evict.iter().chain(&plan.last).chain(&plan.ending).map(|pod| &pod.uid).collect();
        self.pods.retain(|uid, _| left.contains(&uid));
    }

    /// The clause that ends "node worker-3 ": how many pods are left and what keeps the first of them.
    pub fn progress(&self, plan: &DrainPlan) -> Progress {
        let mut blocked = Vec::new();
        for pod in plan.evict.iter().chain(&plan.last) {
            if let Some(refusal) = self.pods.get(&pod.uid).and_then(|tries| tries.refusal.as_ref()) {
                blocked.push(format!("pod {} {} since {:.0}", pod.key, refusal.why, refusal.since));
            }
        }
        let ending: Vec<String> = plan.ending.iter().map(|pod| pod.key.to_string()).collect();
        let pods = if plan.left() == 1 { "1 pod" } else { &format!("{} pods", plan.left()) };
        let mut clause = format!("has {pods} left");
        if !blocked.is_empty() {
            clause = format!("{clause}: {}", spoken(&blocked));
        }
        if !ending.is_empty() {
            let sign = if blocked.is_empty() { ":" } else { ";" };
            clause = format!("{clause}{sign} terminating: {}", spoken(&ending));
        }
        let came_back: Vec<PodKey> = plan.came_back().map(|pod| pod.key.clone()).collect();
        clause.push_str(&came_back_clause(&came_back));
        Progress { clause, blocked: !blocked.is_empty() }
    }
}

impl Wait {
    fn refused(&mut self, first: Duration, now: Instant, jitter: f64) {
        let grown = first.mul_f64(1.5f64.powi(self.tries.min(20).cast_signed()));
        self.next = Some(now + grown.min(WAIT_MAX).mul_f64(0.8 + 0.4 * jitter));
        self.tries += 1;
    }
}

fn owner(pod: &Pod) -> Option<Owner> {
    let controller = pod.controller.as_ref()?;
    Some((pod.key.namespace.clone(), controller.kind.clone(), controller.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Controller;
    use crate::drain::Stays;

    fn pod(name: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name, "namespace": "shop", "uid": name}})).unwrap()
    }

    /// The same, all of one controller.
    fn owned(names: &[&str], controller: &str) -> Vec<Pod> {
        let mut pods = plan(names).evict;
        for pod in &mut pods {
            pod.controller =
                Some(Controller { api_version: "apps/v1".to_owned(), kind: "ReplicaSet".to_owned(), name: controller.to_owned() });
        }
        pods
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

    const CLOCK: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn a_budget_that_refuses_is_asked_once_for_all_its_pods() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b", "c", "d", "e"]), Instant::now());
        assert_eq!(names(&pace.due(&plan, start)), ["a", "b", "c", "d"]);
        for pod in &plan.evict {
            pace.record(pod, by_budget(), start, CLOCK, 0.5);
        }
        assert!(pace.due(&plan, start).is_empty());
        let later = start + WAIT_MAX * 2;
        assert_eq!(names(&pace.due(&plan, later)), ["a"]);
        pace.record(&plan.evict[0], Eviction::Evicted, later, CLOCK, 0.5);
        assert_eq!(names(&pace.due(&plan, later)), ["b"], "a yes opens the way for the next");
        pace.record(&plan.evict[1], by_budget(), later, CLOCK, 0.5);
        assert!(pace.due(&plan, later).is_empty());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn a_few_evictions_are_under_way_at_once_and_each_pod_in_one_of_them() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b", "c", "d", "e", "f"]), Instant::now());
        let begun: Vec<Pod> = std::iter::from_fn(|| pace.begin(&plan, start)).collect();
        assert_eq!(begun.iter().map(|pod| pod.key.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        pace.record(&begun[2], Eviction::Evicted, start, CLOCK, 0.5);
        assert_eq!(pace.begin(&plan, start), Some(plan.evict[4].clone()));
        assert_eq!(pace.begin(&plan, start), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn while_a_budget_that_has_refused_is_asked_no_other_pod_of_it_is() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let evict = [owned(&["a", "b", "c"], "web"), plan(&["d"]).evict].concat();
        let plan = DrainPlan { evict, ..DrainPlan::default() };
        pace.record(&plan.evict[0], by_budget(), start, CLOCK, 0.5);
        let later = start + BUDGET_WAIT_FIRST;
        assert_eq!(pace.begin(&plan, later), Some(plan.evict[1].clone()));
        assert_eq!(pace.begin(&plan, later), Some(plan.evict[3].clone()), "not c");
        assert_eq!(pace.begin(&plan, later), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn a_refusal_stands_for_all_pods_of_a_controller_and_the_next_question_is_about_another() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let plan = DrainPlan { evict: owned(&["a", "b", "c"], "web"), ..DrainPlan::default() };
        pace.record(&plan.evict[0], by_budget(), start, CLOCK, 0.5);
        assert!(pace.due(&plan, start).is_empty(), "b and c are thought to have the same budget");
        assert_eq!(pace.rest(&plan, start, WAIT_MAX), BUDGET_WAIT_FIRST);
        let later = start + BUDGET_WAIT_FIRST;
        assert_eq!(names(&pace.due(&plan, later)), ["b"], "perhaps only a is protected");
        assert_eq!(pace.rest(&plan, later, WAIT_MAX), Duration::ZERO);
        pace.record(&plan.evict[1], Eviction::Evicted, later, CLOCK, 0.5);
        assert_eq!(names(&pace.due(&plan, later)), ["c"], "a yes opens the way for the next");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn every_refusal_is_tried_again_and_told_since_when() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b"]), Instant::now());
        pace.record(&plan.evict[0], Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.0);
        assert_eq!(names(&pace.due(&plan, start)), ["b"]);
        assert_eq!(names(&pace.due(&plan, start + WAIT_MAX)), ["b", "a"]);
        pace.record(&plan.evict[0], by_budget(), start, "2026-01-01T00:00:00Z".parse().unwrap(), 0.0);
        let progress = pace.progress(&plan);
        assert!(progress.blocked);
        assert_eq!(
            progress.clause,
            "has 2 pods left: pod shop/a is protected by the PodDisruptionBudget shop/web \
             (needs 2 healthy pods and has 2 currently) since 1970-01-01T00:00:00Z"
        );
        pace.record(&plan.evict[0], Eviction::Evicted, start, CLOCK, 0.0);
        assert_eq!(pace.progress(&plan).clause, "has 2 pods left");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn a_rate_limit_quiets_everything_for_a_while() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b"]), Instant::now());
        pace.record(&plan.evict[0], Eviction::RateLimited { after: Duration::from_secs(600) }, start, CLOCK, 0.0);
        assert!(pace.due(&plan, start).is_empty(), "b too");
        assert_eq!(names(&pace.due(&plan, start + WAIT_MAX)), ["b", "a"]);
        assert!(pace.progress(&plan).clause.contains("patience"));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn a_pod_that_is_said_to_be_gone_and_still_listed_is_reported() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a"]), Instant::now());
        let gone = || Eviction::Gone { answer: "404, pods \"a\" not found".to_owned() };
        pace.record(&plan.evict[0], gone(), start, CLOCK, 0.5);
        assert_eq!(pace.progress(&plan), Progress { clause: "has 1 pod left".to_owned(), blocked: false });
        assert_eq!(pace.rest(&plan, start, WAIT_MAX), WAIT_SETTLED);
        let unclear = Eviction::Unclear { why: "timeout".to_owned() };
        for answer in [gone(), unclear, gone()] {
            pace.record(&plan.evict[0], answer, start, CLOCK, 0.5);
            assert!(pace.progress(&plan).blocked);
        }
        let clause = "has 1 pod left: pod shop/a stays: the API server answered 404, pods \"a\" not found, but still lists the pod since \
             1970-01-01T00:00:00Z";
        assert_eq!(pace.progress(&plan).clause, clause);
        pace.record(&plan.evict[0], Eviction::Evicted, start, CLOCK, 0.5);
        pace.record(&plan.evict[0], gone(), start, CLOCK, 0.5);
        assert!(!pace.progress(&plan).blocked, "the eviction worked, and then the pod was gone");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn each_refusal_makes_the_wait_longer_by_half() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a"]), Instant::now());
        for rest in [500, 750, 1125] {
            pace.record(&plan.evict[0], Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.5);
            assert_eq!(pace.rest(&plan, start, WAIT_MAX), Duration::from_millis(rest));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; it is not waited for")]
    fn what_is_known_of_a_pod_that_has_gone_is_forgotten() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b"]), Instant::now());
        for pod in &plan.evict {
            pace.record(pod, Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.5);
        }
        let left = DrainPlan { evict: plan.evict[..1].to_vec(), ..DrainPlan::default() };
        pace.forget_gone(&left);
        assert_eq!(names(&pace.due(&plan, start)), ["b"], "as if it had never been asked for");
        assert_eq!(pace.progress(&plan).clause, "has 2 pods left: pod shop/a stays: webhook since 1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_ending_is_told_beside_what_is_blocked() {
        let ending = || DrainPlan { ending: vec![pod("e")], ..plan(&["a"]) };
        let mut pace = Pace::default();
        assert_eq!(pace.progress(&ending()).clause, "has 2 pods left: terminating: shop/e");
        pace.pods.entry(Uid("a".to_owned())).or_default().refusal = Some(Refusal { since: CLOCK, why: "stays: x".to_owned() });
        let both = "has 2 pods left: pod shop/a stays: x since 1970-01-01T00:00:00Z; terminating: shop/e";
        assert_eq!(pace.progress(&ending()).clause, both);
        let came_back = DrainPlan { staying: vec![(pod("b"), Stays::CameBack), (pod("c"), Stays::Finished)], ..ending() };
        assert_eq!(pace.progress(&came_back).clause, format!("{both}; 1 pod came back and stays: shop/b"));
    }
}
