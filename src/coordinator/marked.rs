//! Who is marked as rebooting: answered from the watch where that is known to be enough, else by a list of all nodes.
//!
//! What the watch says is never taken on trust. Nobody is refused because of a mark that was not looked up; nobody is
//! let through before the watch has brought the write that the question is about.

use std::time::Duration;

use super::Error;
use super::guarded::Guarded;
use super::perform::Performer;
use crate::cluster::{Marks, NodeMark, NodeName, ResourceVersion, Status};
use crate::reboot::{Caller, Marked, Observed};

/// How long the watch may take to bring a node's own mark. It takes a few milliseconds; a list takes longer than this only
/// in the largest of clusters.
const DELIVERY_MAX: Duration = Duration::from_millis(300);

/// So many marks are looked up one by one; with more, a list is cheaper.
const LOOKED_UP_MAX: usize = 8;

/// What the watch has brought, for all threads.
#[derive(Default)]
pub(super) struct Watched {
    state: Guarded<State>,
}

#[derive(Default)]
struct State {
    /// `None`: no watch is open, or what it brings makes no sense.
    marks: Option<Marks>,
    /// A version that was awaited in vain: until the watch has come to it, it is neither asked nor waited for.
    overdue: u128,
    /// A watch was tried at least once.
    tried: bool,
}

impl Watched {
    /// A watch is open that goes on from `marks`.
    pub(super) fn begin(&self, marks: Marks) {
        let mut state = self.state.lock();
        *state = State { marks: Some(marks), overdue: 0, tried: true };
        drop(state);
        self.state.wake();
    }

    /// The watch is over.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        *state = State { marks: None, overdue: 0, tried: true };
        drop(state);
        self.state.wake();
    }

    /// Brings the marks up to date. `None`: there are none any more, so the watch has to begin anew.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Marks) -> T) -> Option<T> {
        let changed = self.state.lock().marks.as_mut().map(change);
        self.state.wake();
        changed
    }

    /// Waits until a watch is open or could not be opened.
    pub(super) fn wait_for_first(&self, limit: Duration) {
        drop(self.state.wait(limit, |state| state.tried));
    }

    /// Whether a watch is open.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().marks.is_some()
    }

    /// Whether this node is marked, as far as is known.
    pub(super) fn contains(&self, name: &NodeName) -> bool {
        self.state.lock().marks.as_ref().is_some_and(|marks| marks.contains(name))
    }

    /// The version the watch has come to.
    pub(super) fn version(&self) -> Option<u128> {
        self.state.lock().marks.as_ref().map(Marks::version)
    }

    /// The marks as far as is known.
    pub(super) fn lately(&self) -> Option<Vec<NodeMark>> {
        let state = self.state.lock();
        let marks = state.marks.as_ref().filter(|marks| marks.version() >= state.overdue)?;
        Some(marks.marked().cloned().collect())
    }

    /// The marks with none missing that was written before `own`; `None` when the watch does not bring that in time.
    pub(super) fn since(&self, own: &NodeMark, limit: Duration) -> Option<Vec<NodeMark>> {
        let version = own.version.number()?;
        let is_settled =
            |state: &mut State| state.marks.as_ref().is_none_or(|marks| marks.version() >= version || marks.version() < state.overdue);
        let mut state = self.state.wait(limit, is_settled);
        let marks = state.marks.as_ref()?;
        if marks.version() < version {
            state.overdue = state.overdue.max(version);
            return None;
        }
        marks.show(own).then(|| marks.marked().cloned().collect())
    }

    /// A Node was written, and got the version `written`. That is more than what the watch had come to `before` the write,
    /// or else versions are counted anew, as after etcd was restored from a backup, and what the watch says is of another
    /// history.
    pub(super) fn check(&self, before: Option<u128>, written: &ResourceVersion) {
        let Some(before) = before.filter(|before| written.number().is_none_or(|written| written <= *before)) else { return };
        log::warn!("a write got version {written:?}, but the watch had come to {before}: it begins anew");
        self.end();
    }
}

impl Performer {
    /// The marks as far as is known.
    pub(super) fn marked_lately(&self, caller: &Caller, seen: &Observed) -> Result<Marked, Error> {
        self.looked_up(self.watched.lately(), caller, seen)
    }

    /// The marks with nobody missing. Only right after the node was marked the watch can show that it has brought all
    /// marks there are: it has if it has brought that one, whose version is newer than theirs.
    pub(super) fn marked(&self, caller: &Caller, seen: &Observed) -> Result<Marked, Error> {
        let watched = seen.own_mark().and_then(|own| self.watched.since(own, DELIVERY_MAX));
        self.looked_up(watched, caller, seen)
    }

    /// Looks up those of `watched` whom the caller might be refused for: the watch may not have heard yet that they have
    /// gone back, and a refusal costs a node five minutes.
    fn looked_up(&self, watched: Option<Vec<NodeMark>>, caller: &Caller, seen: &Observed) -> Result<Marked, Error> {
        let Some(watched) = watched else { return self.listed() };
        let holds =
            |name: &NodeName| seen.lock.as_ref().is_some_and(|lock| lock.value.state.holders.iter().any(|holder| holder.node == *name));
        let others = watched.into_iter().filter(|mark| mark.status == Status::Rebooting && mark.name != caller.node);
        let (holders, strangers): (Vec<NodeName>, Vec<NodeName>) = others.map(|mark| mark.name).partition(holds);
        if strangers.len() > LOOKED_UP_MAX {
            return self.listed();
        }
        let mut names = Vec::new();
        for name in strangers {
            if self.kube.node_mark(&name)?.is_some_and(|mark| mark.status == Status::Rebooting) {
                names.push(name);
            }
        }
        Ok(Marked { names, holders })
    }

    fn listed(&self) -> Result<Marked, Error> {
        let (marked, _) = self.kube.marked_nodes(|_mark| {})?;
        let marked = marked.into_inner().into_iter().filter(|mark| mark.status == Status::Rebooting);
        Ok(Marked { names: marked.map(|mark| mark.name).collect(), holders: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{NodeEvent, STATUS};

    fn at(version: u64) -> ResourceVersion {
        ResourceVersion(version.to_string())
    }

    fn mark(name: &str, version: u64) -> NodeMark {
        let metadata = json!({"name": name, "resourceVersion": version.to_string(), "annotations": {STATUS: "Rebooting"}});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// Open, at version 10, with the node `a` marked.
    fn open() -> Watched {
        let watched = Watched::default();
        watched.begin(Marks::of_list([mark("a", 5)], &at(10)).unwrap());
        watched
    }

    fn brings(watched: &Watched, name: &str, version: u64) {
        watched.change(|marks| marks.take(NodeEvent::Modified(mark(name, version)))).unwrap().unwrap();
    }

    fn names(marks: Option<Vec<NodeMark>>) -> Option<Vec<String>> {
        marks.map(|marks| marks.into_iter().map(|mark| mark.name.0).collect())
    }

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn a_watch_answers_only_when_it_has_brought_the_mark_asked_for() {
        let watched = open();
        assert_eq!(names(watched.since(&mark("a", 5), AT_ONCE)), Some(vec!["a".to_owned()]));
        assert_eq!(watched.since(&mark("c", 12), AT_ONCE), None);
        brings(&watched, "b", 11);
        assert_eq!(watched.since(&mark("c", 12), AT_ONCE), None, "a mark between 11 and 12 would be missing");
        brings(&watched, "c", 12);
        assert_eq!(names(watched.since(&mark("c", 12), AT_ONCE)), Some(["a", "b", "c"].map(str::to_owned).to_vec()));
        let odd = NodeMark { version: ResourceVersion("x12".to_owned()), ..mark("c", 12) };
        assert_eq!(watched.since(&odd, AT_ONCE), None, "versions that cannot be compared");
        brings(&watched, "e", 14);
        assert_eq!(watched.since(&mark("d", 13), AT_ONCE), None, "it has come past that mark without bringing it");
        assert!(watched.lately().is_some());
    }

    #[test]
    fn who_waits_is_woken_by_the_event_and_by_the_end() {
        for ends in [false, true] {
            let watched = open();
            let marks = std::thread::scope(|scope| {
                let waits = scope.spawn(|| watched.since(&mark("b", 11), Duration::from_secs(60)));
                if ends {
                    watched.end()
                } else {
                    brings(&watched, "b", 11)
                }
                waits.join().unwrap()
            });
            assert_eq!(marks.is_none(), ends);
        }
    }

    #[test]
    fn a_watch_that_is_late_is_not_asked_again_until_it_has_caught_up() {
        let watched = open();
        assert!(watched.lately().is_some());
        assert_eq!(watched.since(&mark("b", 12), AT_ONCE), None);
        assert_eq!(watched.lately(), None);
        assert_eq!(watched.since(&mark("b", 13), Duration::from_secs(60)), None, "nor is it waited for again");
        brings(&watched, "b", 13);
        assert!(watched.lately().is_some());
    }

    #[test]
    fn versions_that_go_backwards_end_it() {
        for (written, open) in [("11", true), ("10", false), ("9", false), ("x", false)] {
            let watched = self::open();
            let before = watched.version();
            watched.check(before, &ResourceVersion(written.to_owned()));
            assert_eq!(watched.is_open(), open, "{written}");
        }
        let watched = open();
        watched.check(None, &at(9));
        assert!(watched.is_open(), "nothing was known before the write");
    }

    #[test]
    fn without_a_watch_nothing_is_known() {
        let watched = Watched::default();
        assert!(watched.lately().is_none() && watched.version().is_none() && !watched.contains(&NodeName("a".to_owned())));
        assert_eq!(watched.since(&mark("a", 1), Duration::from_secs(60)), None, "nor is it waited for");
        assert!(watched.change(|_| ()).is_none());
    }
}
