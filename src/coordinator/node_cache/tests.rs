//! Tests of the view: what it shows, when it is trusted, and who waits for it.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::cluster::STATUS;

fn at(version: u64) -> ResourceVersion {
    ResourceVersion(version.to_string())
}

/// A node of this name and version, rebooting, as a [`Member`] or [`NodeMeta`].
fn node<T: DeserializeOwned>(name: &str, version: u64) -> T {
    let meta =
        json!({"name": name, "uid": format!("u-{name}"), "resourceVersion": version.to_string(), "annotations": {STATUS: "Rebooting"}});
    serde_json::from_value(json!({"metadata": meta})).unwrap()
}

/// Watched, at version 10, with the node `a` rebooting.
fn open() -> (NodeCache, Start) {
    let cache = NodeCache::new(1);
    let mut fleet = Fleet::default();
    fleet.add(node("a", 5));
    cache.state.lock().fleet = fleet.finish(&at(10));
    let start = Start { epoch: 0, version: 10 };
    assert!(cache.begin(start));
    (cache, start)
}

fn brings(cache: &NodeCache, start: Start, name: &str, version: u64) -> Result<(), NotApplied> {
    cache.apply(start, NodeEvent::Modified(node(name, version)))
}

/// The nodes of the view if it has this write by now, each with a space behind.
fn since(cache: &NodeCache, name: &str, version: u64) -> Option<String> {
    let facts = cache.arrived(&node(name, version), Duration::ZERO)?;
    Some(facts.members.into_iter().map(|member| member.name.0 + " ").collect())
}

#[test]
fn the_view_answers_only_when_it_has_the_write_asked_for() {
    let (cache, start) = open();
    assert_eq!(since(&cache, "a", 5).as_deref(), Some("a "));
    [("b", 11), ("c", 12)].into_iter().for_each(|(name, version)| brings(&cache, start, name, version).unwrap());
    assert_eq!(since(&cache, "c", 12).as_deref(), Some("a b c "));
    brings(&cache, start, "e", 14).unwrap();
    assert_eq!(since(&cache, "d", 13), None, "it has passed that version without that write");
}

#[test]
fn a_late_view_becomes_invalid() {
    let (cache, start) = open();
    assert_eq!(since(&cache, "b", 11), None, "another write between 10 and 11 would be missing");
    assert_eq!(cache.version(), None);
    assert_eq!(brings(&cache, start, "b", 11), Err(NotApplied::Replaced));
    assert_eq!(cache.resume(start), None);
    assert!(!cache.begin(start));
    assert!(cache.has_our_annotations(&NodeName("a".to_owned())), "what was known is still known");
}

#[test]
fn a_waiting_thread_is_woken_by_the_event_and_by_the_end() {
    for ends in [false, true] {
        let (cache, start) = open();
        let facts = std::thread::scope(|scope| {
            // Longer than any test may take: a missing wake is not made up for.
            let waits = scope.spawn(|| cache.arrived(&node("b", 11), Duration::from_secs(24 * 3600)));
            if ends {
                cache.end();
            } else {
                brings(&cache, start, "b", 11).unwrap();
            }
            waits.join().unwrap()
        });
        assert_eq!(facts.is_none(), ends);
    }
}

#[test]
fn a_watch_continues_from_the_version_it_has_come_to() {
    let (cache, start) = open();
    brings(&cache, start, "b", 11).unwrap();
    assert_eq!(cache.resume(start), Some(Start { version: 11, ..start }));
    assert_eq!(brings(&cache, start, "b", 9), Err(NotApplied::Watch(WatchError::Backwards { after: 11 })));
}

#[test]
fn a_watch_that_is_not_continued_in_time_becomes_invalid() {
    let id = HexId([7; 16]);
    for (seconds, trusted) in [(0, true), (6, false)] {
        let (cache, start) = open();
        assert_eq!(cache.resume(start), Some(start));
        cache.state.lock().interrupted_at = clock::now().instant.checked_sub(Duration::from_secs(seconds));
        assert_eq!(cache.state.lock().is_watched(), trusted);
        assert_eq!(cache.begin(start), trusted);
        assert_eq!(cache.state.lock().is_watched(), trusted);
        assert_eq!(cache.find_cached(id), None);
    }
}

#[test]
fn decreasing_versions_make_the_view_invalid() {
    for (written, trusted) in [("11", true), ("10", false), ("9", false), ("x", false)] {
        let (cache, _) = open();
        let before = cache.version();
        cache.check(before, &ResourceVersion(written.to_owned()));
        assert_eq!(cache.version().is_some(), trusted, "{written}");
    }
    let (cache, _) = open();
    cache.check(None, &at(9));
    assert!(cache.version().is_some(), "nothing was known before the write");
}

#[test]
fn without_a_watch_nothing_has_arrived() {
    let cache = NodeCache::new(1);
    assert!(cache.version().is_none() && !cache.has_our_annotations(&NodeName("a".to_owned())));
    assert_eq!(cache.arrived(&node("a", 1), Duration::from_secs(60)), None, "nor is it waited for");
}
