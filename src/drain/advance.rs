//! Whether a drain makes progress: a drain that makes none for long is given up.
//!
//! Only pods count that were on the node when it was cordoned. Each of them goes once, so a drain makes progress for a bounded time only,
//! even if a scheduler ignores the cordon and replaces each pod that is evicted, and however often another replica continues the drain.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::DrainPlan;
use super::progress::is_within_grace;
use crate::cluster::{Pod, Uid};

/// Time after the slot was taken for which a scheduler may not have seen the cordon.
const UNSEEN_MAX: SignedDuration = SignedDuration::from_mins(1);

/// The pods of the last list that count.
#[derive(Debug, Default)]
pub struct Advance {
    left: BTreeSet<Uid>,
}

impl Advance {
    /// Records a list, and reports progress: a pod has gone since the last list, or is terminating, and has at most 30 minutes to a deadline
    /// that is not over. `since` is when the node's slot was taken.
    pub fn moves(&mut self, plan: &DrainPlan, since: Timestamp, now: Timestamp) -> bool {
        let counts = |pod: &&Pod| pod.created.is_none_or(|created| created.duration_since(since) <= UNSEEN_MAX);
        let left: BTreeSet<Uid> = plan.pods().filter(counts).map(|pod| pod.uid.clone()).collect();
        let has_gone = !self.left.is_subset(&left);
        self.left = left;
        has_gone || plan.terminating.iter().filter(counts).any(|pod| pod.ends.is_some_and(|ends| is_within_grace(ends, now)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SINCE: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Pods by name, each with the seconds after `SINCE` at which it was created and at which its grace period ends.
    fn plan(pods: &[(&str, i64, Option<i64>)]) -> DrainPlan {
        let pod = |(name, created, ends): &(&str, i64, Option<i64>)| -> Pod {
            let metadata = json!({"name": name, "namespace": "shop", "uid": name, "creationTimestamp": at(SINCE + created),
                "deletionTimestamp": ends.map(|ends| at(SINCE + ends))});
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let (terminating, evict) = pods.iter().map(pod).partition(|pod| pod.ends.is_some());
        DrainPlan { evict, terminating, ..DrainPlan::default() }
    }

    #[test]
    fn a_pod_that_goes_is_progress_and_one_that_comes_is_none() {
        let mut advance = Advance::default();
        let mut moves = |names: &[&str]| {
            let pods: Vec<_> = names.iter().map(|name| (*name, -60, None)).collect();
            advance.moves(&plan(&pods), at(SINCE), at(SINCE))
        };
        let lists: [&[&str]; 6] = [&["a", "b"], &["a", "b"], &["a", "b", "c"], &["a", "d"], &["a", "d"], &[]];
        assert_eq!(lists.map(&mut moves), [false, false, false, true, false, true]);
    }

    /// A scheduler may ignore the cordon, and another replica may continue the drain after each eviction.
    #[test]
    fn pods_that_come_after_the_cordon_are_no_progress() {
        for (created, counts) in [(-60, true), (60, true), (61, false)] {
            let mut advance = Advance::default();
            let terminating = plan(&[("a", created, Some(120))]);
            assert_eq!(advance.moves(&terminating, at(SINCE), at(SINCE + 100)), counts, "{created}");
            assert_eq!(advance.moves(&plan(&[("b", 90, None)]), at(SINCE), at(SINCE + 120)), counts, "{created}");
        }
    }

    #[test]
    fn a_pod_within_its_grace_period_is_progress_in_its_last_half_hour() {
        for (left, moves) in [(-120, false), (-119, true), (0, true), (1_800, true), (1_801, false), (7 * 86_400, false)] {
            let (overdue, ends) = (("a", -60, Some(-200)), Some(left));
            assert_eq!(Advance::default().moves(&plan(&[overdue, ("b", -60, ends)]), at(SINCE), at(SINCE)), moves, "{left}");
        }
    }
}
