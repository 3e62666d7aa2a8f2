//! Progress of a drain, as values and as a clause of a message.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{DrainPlan, Eviction, Schedule};
use crate::cluster::{Pod, PodKey, join_names};

/// Time for which a webhook may postpone an eviction before the drain counts as blocked. A live migration usually takes less.
const POSTPONED_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Progress of a drain. Displayed as the clause that ends "node worker-3 ".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of pods left.
    pub left: usize,
    /// Pods left whose eviction is refused, which blocks the drain.
    pub blocked: Vec<Refused>,
    /// Pods left whose eviction a webhook has postponed, but not for long.
    pub postponed: Vec<Refused>,
    /// Pods left that are evicted once their owner is gone.
    pub waiting: Vec<Waiting>,
    /// Pods left that are terminating.
    pub terminating: Vec<PodKey>,
    /// Pods that came back to the cordoned node, and are skipped.
    pub came_back: Vec<PodKey>,
    /// The error, if Kubernetes could not be read.
    pub error: Option<String>,
}

/// A pod whose eviction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The pod.
    pub pod: PodKey,
    /// The last answer.
    pub by: Eviction,
    /// The time of the first refusal.
    pub since: Timestamp,
}

/// A pod that is evicted once its owner is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The pod.
    pub pod: PodKey,
    /// The pod that owns it, on the same node.
    pub owner: PodKey,
}

impl Progress {
    /// Returns the progress of `plan`, with the evictions of `schedule`.
    pub fn of(plan: &DrainPlan, schedule: &Schedule, now: Timestamp) -> Self {
        let key = |pod: &Pod| pod.key.clone();
        let refused = plan.evict.iter().chain(&plan.own).filter_map(|pod| schedule.refused(pod));
        let (blocked, postponed) = refused.partition(|refused| refused.is_blocking(now));
        Self {
            left: plan.left(),
            blocked,
            postponed,
            waiting: plan.waiting.iter().map(|(pod, owner)| Waiting { pod: pod.key.clone(), owner: owner.clone() }).collect(),
            terminating: plan.terminating.iter().map(key).collect(),
            came_back: plan.came_back().map(key).collect(),
            error: None,
        }
    }

    /// Returns the progress of a drain that could not read from Kubernetes.
    pub fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// Reports whether an eviction is refused or Kubernetes cannot be read.
    pub fn is_blocked(&self) -> bool {
        self.error.is_some() || !self.blocked.is_empty()
    }
}

impl Refused {
    fn is_blocking(&self, now: Timestamp) -> bool {
        !matches!(self.by, Eviction::Postponed { .. }) || now.duration_since(self.since) >= POSTPONED_MAX
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "cannot be drained now: {error}");
        }
        write!(f, "has {} {} left", self.left, if self.left == 1 { "pod" } else { "pods" })?;
        let clauses =
            [clause("", &self.blocked), clause("", &self.postponed), clause("", &self.waiting), clause("terminating: ", &self.terminating)];
        for (number, clause) in clauses.into_iter().flatten().enumerate() {
            write!(f, "{} {clause}", if number == 0 { ":" } else { ";" })?;
        }
        f.write_str(&came_back_clause(&self.came_back))
    }
}

/// Returns the clause about these pods, of which it names at most three.
fn clause<T: fmt::Display>(begin: &str, pods: &[T]) -> Option<String> {
    (!pods.is_empty()).then(|| format!("{begin}{}", join_names(pods)))
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {} {} since {:.0}", self.pod, self.by, self.since)
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {} waits for its owner, the pod {}", self.pod, self.owner)
    }
}

/// Returns the clause that names the pods that came back; empty if none did.
pub fn came_back_clause(pods: &[PodKey]) -> String {
    match pods {
        [] => String::new(),
        [one] => format!("; 1 pod came back and is kept: {one}"),
        several => format!("; {} pods came back and are kept: {}", several.len(), join_names(several)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn key(name: &str) -> PodKey {
        PodKey { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn refused(pod: &str, by: Eviction) -> Refused {
        Refused { pod: key(pod), by, since: Timestamp::UNIX_EPOCH }
    }

    #[expect(clippy::disallowed_methods, reason = "only the clock makes an Instant; no test waits for one")]
    fn clock() -> Instant {
        Instant::now()
    }

    #[track_caller]
    fn check(progress: &Progress, want: &str, is_blocked: bool) {
        assert_eq!((progress.to_string().as_str(), progress.is_blocked()), (want, is_blocked));
    }

    #[test]
    fn terminating_pods_are_named_beside_blocked_ones() {
        let terminating = || Progress { left: 2, terminating: vec![key("e")], ..Progress::default() };
        check(&Progress { left: 1, ..Progress::default() }, "has 1 pod left", false);
        check(&terminating(), "has 2 pods left: terminating: shop/e", false);
        let both = "has 2 pods left: pod shop/a is not evicted: x since 1970-01-01T00:00:00Z; terminating: shop/e";
        let blocked = vec![refused("a", Eviction::Refused { why: "x".to_owned() })];
        check(&Progress { blocked: blocked.clone(), ..terminating() }, both, true);
        let waiting =
            Progress { blocked: blocked.clone(), waiting: vec![Waiting { pod: key("b"), owner: key("c") }], ..Progress::default() };
        check(
            &waiting,
            "has 0 pods left: pod shop/a is not evicted: x since 1970-01-01T00:00:00Z; pod shop/b waits for its owner, the pod shop/c",
            true,
        );
        let came_back = Progress { blocked, came_back: vec![key("b")], ..terminating() };
        check(&came_back, &format!("{both}; 1 pod came back and is kept: shop/b"), true);
        check(&Progress::failed("timeout".to_owned()), "cannot be drained now: timeout", true);
    }

    #[test]
    fn each_eviction_that_blocks_has_its_own_words() {
        let why = || "x".to_owned();
        for (by, want) in [
            (Eviction::Budget { budget: Some("shop/db".to_owned()), needs: why() }, "is protected by the PodDisruptionBudget shop/db (x)"),
            (Eviction::Budget { budget: None, needs: why() }, "is protected by a PodDisruptionBudget (x)"),
            (Eviction::Gone { answer: "404".to_owned() }, "is not evicted: the API server answered 404, but still lists the pod"),
            (Eviction::Postponed { why: why() }, "is not evicted yet: x"),
            (Eviction::RateLimited { after: std::time::Duration::ZERO }, "is not evicted yet: the API server limits the rate of requests"),
            (Eviction::Refused { why: why() }, "is not evicted: x"),
            (Eviction::Unclear { why: why() }, "is not evicted: x"),
        ] {
            assert_eq!(refused("a", by).to_string(), format!("pod shop/a {want} since 1970-01-01T00:00:00Z"));
        }
    }

    #[test]
    fn an_eviction_that_a_webhook_postpones_blocks_after_ten_minutes() {
        let plan = DrainPlan {
            evict: vec![serde_json::from_value(json!({"metadata": {"name": "vm", "namespace": "shop"}})).unwrap()],
            ..DrainPlan::default()
        };
        let now = clock();
        let progress = |by: Eviction, at: &str| {
            let mut schedule = Schedule::default();
            schedule.record(&plan.evict[0], by, now, Timestamp::UNIX_EPOCH, 0.5);
            schedule.record(&plan.evict[0], Eviction::Postponed { why: "x".to_owned() }, now, "1970-01-01T00:09:00Z".parse().unwrap(), 0.5);
            Progress::of(&plan, &schedule, at.parse().unwrap())
        };
        let want = "has 1 pod left: pod shop/vm is not evicted yet: x since 1970-01-01T00:00:00Z";
        for (at, is_blocked) in [("1970-01-01T00:00:00Z", false), ("1970-01-01T00:09:59Z", false), ("1970-01-01T00:10:00Z", true)] {
            check(&progress(Eviction::Postponed { why: "y".to_owned() }, at), want, is_blocked);
            check(&progress(Eviction::Unclear { why: "y".to_owned() }, at), want, is_blocked);
        }
    }

    #[test]
    fn pods_that_came_back_are_named() {
        assert_eq!(came_back_clause(&[]), "");
        assert_eq!(came_back_clause(&[key("a")]), "; 1 pod came back and is kept: shop/a");
        let several = ["a", "b", "c", "d"].map(key);
        assert_eq!(came_back_clause(&several), "; 4 pods came back and are kept: shop/a, shop/b and 2 more");
    }
}
