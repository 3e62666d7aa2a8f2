//! What the proxies see: after each write of the program, before its answer, the promises are checked and the rare events of the Lease are
//! recognised.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use test_cluster::api::Api;
use test_cluster::cluster::lock;
use test_cluster::promises::Promises;
use test_cluster::proxy::Passed;

use crate::events::{Counts, Event};

/// Observer of both replicas.
pub(crate) struct Observer {
    pub(crate) admin: Api,
    pub(crate) promises: Promises,
    pub(crate) counts: Arc<Counts>,
    pub(crate) seen: Mutex<Seen>,
}

/// Facts of this round so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// The lock after the last write of it, and the replica that wrote it.
    last: Option<(Value, usize)>,
    /// Replica that freed a slot last, and the time.
    freed: Option<(usize, Instant)>,
    /// The last replica that reported the drain of each term.
    leaders: HashMap<u64, String>,
    /// Names of evicted pods without their random ends, by term.
    evicted: BTreeMap<(u64, String), usize>,
    /// Calls that wrote an approval: replica and number.
    pub(crate) approvals: Vec<(usize, usize)>,
    /// Open requests: node, replica, and the time of each.
    pub(crate) asking: HashMap<String, (usize, Instant)>,
    /// Starts of replicas that ended with SIGKILL, as `left-3`.
    pub(crate) killed: BTreeSet<String>,
}

impl Observer {
    /// Looks at a call of replica `at`, which the API server has answered.
    pub(crate) fn look(&self, at: usize, passed: &Passed) {
        let is_done = passed.upstream.is_some_and(|status| (200..300).contains(&status));
        let mut seen = self.seen.lock().unwrap();
        match passed.resource.as_str() {
            "leases" if is_done => self.compare(&mut seen, at, passed.n),
            "leases" if passed.upstream == Some(409) && seen.last.as_ref().is_some_and(|(_, other)| *other != at) => {
                self.counts.add(Event::BothAtOnce);
            }
            "pods/eviction" if is_done => self.evicted(&mut seen, &passed.path),
            _ => {}
        }
        drop(seen);
        self.promises.check_lease();
    }

    /// Compares the lock with the one before this write.
    fn compare(&self, seen: &mut Seen, at: usize, call: usize) {
        let now = lock(&self.admin);
        let before = seen.last.take().map(|(lock, _)| lock).unwrap_or_default();
        for holder in holders(&now) {
            let (term, node) = (holder["term"].as_u64().unwrap_or_default(), holder["node"].as_str().unwrap_or_default());
            match holders(&before).find(|other| other["term"] == holder["term"]) {
                None => self.taken(seen, &before, node, at),
                Some(other) if other["approved"].is_null() && !holder["approved"].is_null() => seen.approvals.push((at, call)),
                Some(_) => {}
            }
            if let Some(leader) = holder["drain"]["replica"].as_str()
                && let Some(last) = (!leader.is_empty()).then(|| seen.leaders.insert(term, leader.to_owned())).flatten()
                && last != leader
            {
                let was_handed_over = holders(&before).any(|other| other["term"] == holder["term"] && other["drain"]["replica"] == "");
                if was_handed_over {
                    self.counts.add(Event::HandedOver);
                } else if seen.killed.iter().any(|start| last.starts_with(&format!("{start}-"))) && side(&last) != side(leader) {
                    self.counts.add(Event::ContinuedAfterKill);
                }
            }
        }
        if holders(&before).any(|other| holders(&now).all(|holder| holder["uid"] != other["uid"])) {
            seen.freed = Some((at, Instant::now()));
        }
        seen.last = Some((now, at));
    }

    fn taken(&self, seen: &Seen, before: &Value, node: &str, at: usize) {
        if before["deferrals"].as_array().is_some_and(|all| all.iter().any(|deferral| deferral["node"] == node)) {
            self.counts.add(Event::BackOffOver);
        }
        let asking = seen.asking.get(node).filter(|(replica, _)| *replica == at);
        if let Some(((freed_at, freed), (_, sent))) = seen.freed.zip(asking)
            && freed_at != at
            && *sent < freed
        {
            self.counts.add(Event::SlotToOtherReplica);
        }
    }

    fn evicted(&self, seen: &mut Seen, path: &str) {
        let pod = path.split('/').nth(6).unwrap_or_default();
        let Some((set, _)) = pod.rsplit_once('-') else { return };
        // The pods that are pinned to a node end in its name.
        let Some((lock, _)) = &seen.last else { return };
        let Some(holder) = holders(lock).find(|holder| pod.split('-').nth(1) == holder["node"].as_str()) else { return };
        let count = seen.evicted.entry((holder["term"].as_u64().unwrap_or_default(), set.to_owned())).or_default();
        *count += 1;
        if *count == 2 {
            self.counts.add(Event::EvictedTwice);
        }
    }
}

/// Holders of slots in a lock.
pub(crate) fn holders(lock: &Value) -> impl Iterator<Item = &Value> {
    lock["holders"].as_array().into_iter().flatten()
}

/// Returns `left` or `right`, the name of the replica of a start.
fn side(start: &str) -> &str {
    start.split('-').next().unwrap_or_default()
}
