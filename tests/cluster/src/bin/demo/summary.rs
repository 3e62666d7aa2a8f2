//! Comparison of the observations with the promises.

use std::time::Duration;

use crate::stage::{NODES, WEB, WEB_MIN, WEB_PODS};
use crate::watch::Watch;

/// Prints the summary, and reports whether every promise was kept.
pub(crate) fn print(watch: &Watch, took: Duration) -> bool {
    let (seen, most, broken) = (watch.last_read(), watch.promises.most(), watch.promises.broken());
    let (rebooted, most, fewest) = (seen.rebooted, most.max(seen.most_cordoned), seen.fewest_web);
    let emptied = if broken.is_empty() {
        "no pod to evict was on a node when its reboot was approved, and each node was cordoned".to_owned()
    } else {
        format!("no promise was broken on the cluster: {}", broken.join("; "))
    };
    let budget = format!("the budget was never violated: at least {fewest} of {WEB_PODS} {WEB} pods were healthy, {WEB_MIN} are required");
    let verdicts = [
        (rebooted == NODES.len(), format!("{rebooted} of {} nodes have rebooted and are in service again", NODES.len())),
        (most == 1, format!("never more than 1 at a time: at most {most} was cordoned or away")),
        (broken.is_empty(), emptied),
        (fewest >= WEB_MIN as usize, budget),
    ];
    let output = &watch.output;
    output.title(&[String::new(), format!("Observed in {} reads of the cluster, one of them after each eviction:", seen.reads)]);
    for (holds, text) in &verdicts {
        output.verdict(*holds, text);
    }
    let costs =
        format!("{} pods evicted; {} evictions refused because of a budget; {:.0} s", seen.evicted, seen.refused, took.as_secs_f64());
    output.title(&[String::new(), costs]);
    verdicts.iter().all(|(holds, _)| *holds)
}
