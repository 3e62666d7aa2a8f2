//! What was seen, held against what is promised.

use std::time::Duration;

use crate::stage::{NODES, WEB, WEB_MIN, WEB_PODS};
use crate::teller::Teller;
use crate::watch::Seen;

/// Tells it. Whether every promise was kept.
pub(crate) fn tell(seen: &Seen, teller: &Teller, took: Duration) -> bool {
    let looks = format!("Observed in {} reads of the cluster, one of them after each eviction:", seen.looks);
    teller.title(&[String::new(), looks]);
    let verdicts = verdicts(seen);
    for (holds, text) in &verdicts {
        teller.verdict(*holds, text);
    }
    let costs = format!("{} pods evicted; {} times a budget put one off; {:.0} s", seen.evicted, seen.put_off, took.as_secs_f64());
    teller.title(&[String::new(), costs]);
    verdicts.iter().all(|(holds, _)| *holds)
}

fn verdicts(seen: &Seen) -> [(bool, String); 4] {
    let all = NODES.len();
    let rebooted = seen.rebooted.len();
    let most = seen.most_out.max(seen.most_cordoned);
    let full: Vec<&str> = seen.grants.iter().filter(|(_, left)| !left.is_empty()).map(|(node, _)| node.as_str()).collect();
    let emptied = if full.is_empty() {
        format!("no pod that had to go was on a node when its reboot was granted ({} grants)", seen.grants.len())
    } else {
        format!("every node was empty when its reboot was granted; there were pods on {}", full.join(", "))
    };
    let fewest = seen.fewest_web;
    [
        (rebooted == all, format!("{rebooted} of {all} nodes have rebooted and are in service again")),
        (most == 1, format!("never more than {} at a time: at most {most} was cordoned or away", 1)),
        (full.is_empty() && seen.grants.len() >= all, emptied),
        (
            fewest >= WEB_MIN as usize,
            format!("the budget was never broken: at least {fewest} of {WEB_PODS} {WEB} pods were healthy, {WEB_MIN} are wanted"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        let empty = |node: &str| (node.to_owned(), Vec::new());
        Seen {
            most_cordoned: 1,
            most_out: 1,
            fewest_web: 3,
            grants: vec![empty("n1"), empty("n2"), empty("n3")],
            rebooted: ["n1", "n2", "n3"].map(str::to_owned).into(),
            ..Seen::default()
        }
    }

    #[test]
    fn each_broken_promise_is_seen() {
        assert!(verdicts(&good()).iter().all(|(holds, _)| *holds));
        let pods = vec![("n1".to_owned(), vec!["web-1".to_owned()]); 3];
        let cases = [
            (0, Seen { rebooted: vec!["n1".to_owned()], ..good() }),
            (1, Seen { most_out: 2, ..good() }),
            (1, Seen { most_cordoned: 2, ..good() }),
            (2, Seen { grants: pods, ..good() }),
            (2, Seen { grants: Vec::new(), ..good() }),
            (3, Seen { fewest_web: 2, ..good() }),
        ];
        for (broken, seen) in cases {
            let holds = verdicts(&seen).map(|(holds, _)| holds);
            for (number, holds) in holds.into_iter().enumerate() {
                assert_eq!(holds, number != broken, "{number} of {seen:?}");
            }
        }
    }
}
