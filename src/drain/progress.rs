//! Progress of a drain, as values and as a clause of a message.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{DrainPlan, Eviction, Schedule};
use crate::cluster::{Pod, PodKey, join_names};

/// Time for which a webhook may postpone an eviction before the drain counts as blocked. A live migration usually takes less.
const POSTPONED_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Time after its deadline for which a pod may still be terminating: the kubelet ends the containers at the deadline and then cleans up.
/// A deadline that is further away than this is shown.
const DEADLINE_MARGIN: SignedDuration = SignedDuration::from_mins(2);

/// Time to its deadline for which a terminating pod counts as progress. A pod with a grace period of a week must not hold up other nodes
/// for a week.
const GRACE_MAX: SignedDuration = SignedDuration::from_mins(30);

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
    pub terminating: Vec<Terminating>,
    /// Pods that came back to the cordoned node, and are skipped.
    pub came_back: Vec<PodKey>,
    /// Reason for which the drain is blocked at the replica that evicts, if this one does not, and since when.
    pub elsewhere: Option<(Timestamp, String)>,
    /// The error, if a call of the drain to Kubernetes failed.
    pub error: Option<CallError>,
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

/// Failure of a call to Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// Kubernetes refuses the call, so that an administrator must act. Otherwise it cannot be reached, or fails.
    pub is_refused: bool,
    /// The error, for people.
    pub message: String,
}

/// A terminating pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminating {
    /// The pod.
    pub pod: PodKey,
    /// Deadline: the end of its grace period.
    pub ends: Timestamp,
    /// State of the deadline.
    pub deadline: Deadline,
    /// Finalizers, each of which keeps the pod until its controller removes it.
    pub finalizers: Vec<String>,
}

/// State of the deadline of a terminating pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The pod has more than two minutes left.
    Far,
    /// The pod should end about now.
    Near,
    /// The pod should have ended at least two minutes ago: its kubelet does not work, or a finalizer keeps it.
    Overdue,
}

impl Progress {
    /// Returns the progress of `plan`, with the evictions of `schedule`.
    pub fn of(plan: &DrainPlan, schedule: &Schedule, now: Timestamp) -> Self {
        let refused = plan.evict.iter().chain(&plan.own).filter_map(|pod| schedule.refused(pod));
        let (blocked, postponed) = refused.partition(|refused| refused.is_blocking(now));
        Self {
            left: plan.left(),
            blocked,
            postponed,
            waiting: plan.waiting.iter().map(|(pod, owner)| Waiting { pod: pod.key.clone(), owner: owner.clone() }).collect(),
            terminating: plan.terminating.iter().filter_map(|pod| Terminating::of(pod, now)).collect(),
            came_back: plan.came_back().map(|pod| pod.key.clone()).collect(),
            elsewhere: None,
            error: None,
        }
    }

    /// Returns the progress of a drain of which a call to Kubernetes failed.
    pub fn failed(error: CallError) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// Reports whether a person may have to act: an eviction is refused, a pod is overdue, or Kubernetes cannot be read.
    pub fn is_blocked(&self) -> bool {
        self.error.is_some()
            || self.elsewhere.is_some()
            || !self.blocked.is_empty()
            || self.terminating.iter().any(|pod| pod.deadline == Deadline::Overdue)
    }
}

/// Reports whether a terminating pod with the deadline `ends` is not overdue, and its deadline is one that other nodes can wait for.
pub(super) fn is_within_grace(ends: Timestamp, now: Timestamp) -> bool {
    ends.duration_since(now) <= GRACE_MAX && Deadline::of(ends, now) != Deadline::Overdue
}

impl Refused {
    fn is_blocking(&self, now: Timestamp) -> bool {
        !matches!(self.by, Eviction::Postponed { .. }) || now.duration_since(self.since) >= POSTPONED_MAX
    }
}

impl Terminating {
    fn of(pod: &Pod, now: Timestamp) -> Option<Self> {
        let (pod, ends, finalizers) = (pod.key.clone(), pod.ends?, pod.finalizers.clone());
        Some(Self { pod, ends, deadline: Deadline::of(ends, now), finalizers })
    }
}

impl Deadline {
    fn of(ends: Timestamp, now: Timestamp) -> Self {
        let left = ends.duration_since(now);
        if left > DEADLINE_MARGIN {
            Self::Far
        } else if left > -DEADLINE_MARGIN {
            Self::Near
        } else {
            Self::Overdue
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "cannot be drained now: {}", error.message);
        }
        if let Some((since, blocked)) = &self.elsewhere {
            return write!(f, "{blocked} (blocked since {since:.0})");
        }
        write!(f, "has {} {} left", self.left, if self.left == 1 { "pod" } else { "pods" })?;
        let (overdue, terminating): (Vec<_>, Vec<_>) = self.terminating.iter().partition(|pod| pod.deadline == Deadline::Overdue);
        let clauses = [
            clause("", &self.blocked),
            clause("", &overdue),
            clause("", &self.postponed),
            clause("", &self.waiting),
            clause("terminating: ", &terminating),
        ];
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

impl fmt::Display for Terminating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, ends, deadline, finalizers } = self;
        match deadline {
            Deadline::Far => return write!(f, "{pod} (until {ends:.0})"),
            Deadline::Near => return write!(f, "{pod}"),
            Deadline::Overdue => write!(f, "pod {pod} should have ended by {ends:.0} (check ")?,
        }
        if !finalizers.is_empty() {
            let finalizer = if finalizers.len() == 1 { "finalizer" } else { "finalizers" };
            write!(f, "what removes its {finalizer} {}, and ", join_names(finalizers))?;
        }
        f.write_str("the kubelet of its node)")
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

    fn terminating(pod: &str, deadline: Deadline, finalizers: &[&str]) -> Terminating {
        let finalizers = finalizers.iter().map(ToString::to_string).collect();
        Terminating { pod: key(pod), ends: Timestamp::UNIX_EPOCH, deadline, finalizers }
    }

    #[test]
    fn terminating_pods_are_named_beside_blocked_ones() {
        let terminating = || Progress { left: 2, terminating: vec![terminating("e", Deadline::Near, &["x/y"])], ..Progress::default() };
        check(&Progress { left: 1, ..Progress::default() }, "has 1 pod left", false);
        check(&terminating(), "has 2 pods left: terminating: shop/e", false);
        let both = "has 2 pods left: pod shop/a is not evicted: x since 1970-01-01T00:00:00Z; terminating: shop/e";
        let blocked = vec![refused("a", Eviction::Refused { why: "x".to_owned() })];
        check(&Progress { blocked: blocked.clone(), ..terminating() }, both, true);
        let came_back = Progress { blocked, came_back: vec![key("b")], ..terminating() };
        check(&came_back, &format!("{both}; 1 pod came back and is kept: shop/b"), true);
        check(&Progress::failed(CallError { is_refused: false, message: "timeout".to_owned() }), "cannot be drained now: timeout", true);
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
    fn a_pod_is_overdue_two_minutes_after_its_deadline_and_blocks_the_drain() {
        let pod = json!({"metadata": {"name": "db-0", "namespace": "shop", "uid": "u", "deletionTimestamp": "2026-01-01T01:00:00Z",
            "finalizers": ["a.example/x"]}});
        let plan = DrainPlan { terminating: vec![serde_json::from_value(pod).unwrap()], ..DrainPlan::default() };
        let far = "terminating: shop/db-0 (until 2026-01-01T01:00:00Z)";
        let overdue = "pod shop/db-0 should have ended by 2026-01-01T01:00:00Z (check what removes its finalizer a.example/x, and the \
             kubelet of its node)";
        let cases = [
            ("2025-12-25T00:00:00Z", far, false),
            ("2026-01-01T00:57:59Z", far, false),
            ("2026-01-01T00:58:00Z", "terminating: shop/db-0", false),
            ("2026-01-01T01:01:59Z", "terminating: shop/db-0", false),
            ("2026-01-01T01:02:00Z", overdue, true),
            ("2026-01-02T00:00:00Z", overdue, true),
        ];
        for (now, want, is_blocked) in cases {
            let now = now.parse().unwrap();
            let progress = Progress::of(&plan, &Schedule::default(), now);
            check(&progress, &format!("has 1 pod left: {want}"), is_blocked);
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
    fn messages_are_bounded() {
        let long = ["a/1", "b/2", "c/3", "d/4"];
        let clause = "pod shop/a should have ended by 1970-01-01T00:00:00Z (check what removes its finalizers a/1, b/2 and 2 more, and the \
             kubelet of its node)";
        assert_eq!(terminating("a", Deadline::Overdue, &long).to_string(), clause);
        let without = "pod shop/a should have ended by 1970-01-01T00:00:00Z (check the kubelet of its node)";
        assert_eq!(terminating("a", Deadline::Overdue, &[]).to_string(), without);
        let many = |deadline| (1..=5).map(move |number| terminating(&format!("t{number}"), deadline, &[]));
        let waiting = (1..=5).map(|number| Waiting { pod: key(&format!("w{number}")), owner: key("vm") }).collect();
        let postponed = (1..=5).map(|number| refused(&format!("p{number}"), Eviction::Postponed { why: "x".to_owned() })).collect();
        let terminating = many(Deadline::Near).chain(many(Deadline::Overdue)).collect();
        let progress = Progress { left: 20, terminating, waiting, postponed, ..Progress::default() };
        check(
            &progress,
            "has 20 pods left: \
             pod shop/t1 should have ended by 1970-01-01T00:00:00Z (check the kubelet of its node), \
             pod shop/t2 should have ended by 1970-01-01T00:00:00Z (check the kubelet of its node) and 3 more; \
             pod shop/p1 is not evicted yet: x since 1970-01-01T00:00:00Z, \
             pod shop/p2 is not evicted yet: x since 1970-01-01T00:00:00Z and 3 more; \
             pod shop/w1 waits for its owner, the pod shop/vm, pod shop/w2 waits for its owner, the pod shop/vm and 3 more; \
             terminating: shop/t1, shop/t2 and 3 more",
            true,
        );
    }

    #[test]
    fn pods_that_came_back_are_named() {
        assert_eq!(came_back_clause(&[]), "");
        assert_eq!(came_back_clause(&[key("a")]), "; 1 pod came back and is kept: shop/a");
        let several = ["a", "b", "c", "d"].map(key);
        assert_eq!(came_back_clause(&several), "; 4 pods came back and are kept: shop/a, shop/b and 2 more");
    }
}
