//! Time between two lists of the pods of a draining node, which is longer the longer nothing has changed.
//!
//! Evictions are tried after a list only, so in a standstill both become rare together. A change is seen late by at most a fifteenth of
//! the time for which people have waited for it, and by 30 seconds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::DrainPlan;
use crate::cluster::Uid;

/// Part of the time without a change that is the pause until the next list: 4 seconds after a minute, 10 seconds after 2.5 minutes.
const PART: u32 = 15;

/// Maximum pause, from 7.5 minutes without a change on.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time since the last change of the pods that are left.
#[derive(Debug, Default)]
pub struct Standstill {
    since: Option<Instant>,
    /// Pods of the last list, each with whether it is terminating.
    left: BTreeSet<(Uid, bool)>,
}

impl Standstill {
    /// Records a list, and returns the minimum pause until the next one. `evicted`: an eviction was granted after the list, and so
    /// changes the next one.
    pub fn pause(&mut self, plan: &DrainPlan, evicted: bool, now: Instant) -> Duration {
        let left = plan.pods().map(|pod| (pod.uid.clone(), pod.ends.is_some())).collect();
        if evicted || left != self.left {
            self.since = None;
        }
        self.left = left;
        let since = *self.since.get_or_insert(now);
        (now.saturating_duration_since(since) / PART).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Pod;

    fn plan(pods: &[(&str, Value)]) -> DrainPlan {
        let pod = |(name, ends): &(&str, Value)| -> Pod {
            let metadata = json!({"name": name, "namespace": "shop", "uid": name, "deletionTimestamp": ends});
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let (terminating, evict) = pods.iter().map(pod).partition(|pod| pod.ends.is_some());
        DrainPlan { evict, terminating, ..DrainPlan::default() }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only the clock makes an Instant; no test waits for one")]
    fn pauses_grow_until_a_pod_goes_comes_or_is_terminating() {
        let (mut standstill, begin) = (Standstill::default(), Instant::now());
        let (ends, none) = (json!("2026-01-01T00:00:00Z"), Value::Null);
        let two = plan(&[("a", none.clone()), ("b", none.clone())]);
        let changes = [
            plan(&[("a", none.clone())]),
            plan(&[("a", ends.clone())]),
            plan(&[("a", ends.clone()), ("b", none)]),
            plan(&[("a", ends.clone()), ("b", ends)]),
        ];
        let mut seconds = |plan: &DrainPlan, evicted, at| standstill.pause(plan, evicted, begin + Duration::from_secs(at)).as_secs_f64();
        for (at, pause) in [(0, 0.0), (6, 0.4), (60, 4.0), (150, 10.0), (450, 30.0), (9000, 30.0)] {
            assert_eq!(seconds(&two, false, at), pause, "{at}");
        }
        for (change, at) in changes.iter().zip([10_000, 10_100, 10_200, 10_300]) {
            assert_eq!(seconds(change, false, at), 0.0, "{change:?}");
            assert_eq!(seconds(change, false, at + 60), 4.0);
        }
        assert_eq!(seconds(&changes[3], true, 10_400), 0.0, "an eviction was granted");
        assert_eq!(seconds(&changes[3], false, 10_460), 4.0);
    }
}
