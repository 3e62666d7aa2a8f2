//! Which evictions are asked for next, and when; and the sentence about what is still awaited.
//!
//! Pods of one PodDisruptionBudget go one after the other: while it says no, one question every few seconds stands for
//! all of them, and a yes opens the way for the next at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{DrainPlan, Eviction};
use crate::cluster::{Pod, Uid, spoken};

/// Evictions under way at once: enough to keep an API server's answer time from adding up, few enough to be polite.
const AT_ONCE: usize = 4;

/// The wait after a first refusal; it grows by half each time, up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// The longest wait between two questions about the same pod or budget.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A pod that was evicted is terminating in the next list; if it is not, it is asked for again after this.
const WAIT_SETTLED: Duration = Duration::from_secs(2);

/// What the drain has learned so far.
#[derive(Debug, Default)]
pub struct Pace {
    pods: HashMap<Uid, Tries>,
    budgets: HashMap<String, Wait>,
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

#[derive(Debug, Default)]
struct Tries {
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
    /// The pods to evict now, at most a few, and of each budget that has refused at most one.
    pub fn due(&self, plan: &DrainPlan, now: Instant) -> Vec<Pod> {
        let mut due: Vec<Pod> = Vec::new();
        if self.quiet_until.is_some_and(|until| until > now) {
            return due;
        }
        let mut asked: Vec<&str> = Vec::new();
        for pod in plan.candidates() {
            let tries = self.pods.get(&pod.uid);
            if tries.is_some_and(|tries| tries.wait.is_over(now).eq(&false)) {
                continue;
            }
            if let Some(budget) = tries.and_then(|tries| tries.budget.as_deref()) {
                if asked.contains(&budget) || self.budgets.get(budget).is_some_and(|wait| !wait.is_over(now)) {
                    continue;
                }
                asked.push(budget);
            }
            due.push(pod.clone());
            if due.len() == AT_ONCE {
                break;
            }
        }
        due
    }

    /// Takes in what became of the eviction of `pod`. `jitter` is in 0..1 and spreads replicas apart.
    pub fn record(&mut self, pod: &Pod, eviction: Eviction, now: Instant, clock: Timestamp, jitter: f64) {
        let tries = self.pods.entry(pod.uid.clone()).or_default();
        let refuse = |tries: &mut Tries, why: String| {
            let since = tries.refusal.as_ref().map_or(clock, |refusal| refusal.since);
            tries.refusal = Some(Refusal { since, why });
        };
        match eviction {
            Eviction::Evicted | Eviction::Gone => {
                tries.refusal = None;
                tries.wait.next = Some(now + WAIT_SETTLED);
                if let Some(budget) = tries.budget.take() {
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
                        self.budgets.entry(budget).or_default().refused(now, jitter);
                    }
                    None => tries.wait.refused(now, jitter),
                }
            }
            Eviction::RateLimited { after } => {
                refuse(tries, "stays: the API server asks for patience".to_owned());
                tries.wait.refused(now, jitter);
                self.quiet_until = Some(now + after.clamp(WAIT_FIRST, WAIT_MAX));
            }
            Eviction::Refused { why } | Eviction::Unclear { why } => {
                refuse(tries, format!("stays: {why}"));
                tries.wait.refused(now, jitter);
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
        Progress { clause, blocked: !blocked.is_empty() }
    }
}

impl Wait {
    fn is_over(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    fn refused(&mut self, now: Instant, jitter: f64) {
        let grown = WAIT_FIRST.mul_f64(1.5f64.powi(self.tries.min(20).cast_signed()));
        self.next = Some(now + grown.min(WAIT_MAX).mul_f64(0.8 + 0.4 * jitter));
        self.tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name, "namespace": "shop", "uid": name}})).unwrap()
    }

    fn plan(names: &[&str]) -> DrainPlan {
        DrainPlan { evict: names.iter().map(|name| pod(name)).collect(), ..DrainPlan::default() }
    }

    fn names(pods: &[Pod]) -> Vec<&str> {
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
    fn every_refusal_is_tried_again_and_told_since_when() {
        let (mut pace, plan, start) = (Pace::default(), plan(&["a", "b"]), Instant::now());
        pace.record(&plan.evict[0], Eviction::Refused { why: "webhook".to_owned() }, start, CLOCK, 0.0);
        assert_eq!(names(&pace.due(&plan, start)), ["b"]);
        assert_eq!(names(&pace.due(&plan, start + WAIT_MAX)), ["a", "b"]);
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
        let (mut pace, plan, start) = (Pace::default(), plan(&["a"]), Instant::now());
        pace.record(&plan.evict[0], Eviction::RateLimited { after: Duration::from_secs(600) }, start, CLOCK, 0.0);
        assert!(pace.due(&plan, start).is_empty());
        assert_eq!(names(&pace.due(&plan, start + WAIT_MAX)), ["a"]);
        assert!(pace.progress(&plan).clause.contains("patience"));
    }
}
