//! The nodes that are marked, as of a version, kept up to date by the events of a watch.
//!
//! The state of all Nodes at one version, and then every change of a Node in the order of their versions: that is what a
//! list and the watch that begins at its version are. So **[`Marks`] that have come to a version hold every mark that was
//! written before that version and not taken back since**, and that is all they promise: they may be any time behind.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::{NodeMark, NodeName, ResourceVersion};

/// The nodes for which [`NodeMark::is_marked`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    marked: BTreeMap<NodeName, NodeMark>,
    version: u128,
}

/// One event of a watch of the metadata of all Nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum NodeEvent {
    /// There is a new Node.
    Added(NodeMark),
    /// Everything up to this version has been sent.
    Bookmark(Bookmark),
    /// The Node is gone; as it was last, at the version of its end.
    Deleted(NodeMark),
    /// The watch cannot go on.
    Error(WatchStatus),
    /// The Node was changed.
    Modified(NodeMark),
}

/// The object of a BOOKMARK event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bookmark {
    metadata: BookmarkMetadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct BookmarkMetadata {
    #[serde(rename = "resourceVersion")]
    version: ResourceVersion,
}

/// The object of an ERROR event: a `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WatchStatus {
    code: u16,
    message: String,
}

/// Why the events no longer follow on what was seen. Only a new list helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Disorder {
    /// A version that is less than one seen before, or no number.
    #[error("version {found:?} came after {after}")]
    Backwards {
        /// The version seen before.
        after: u128,
        /// The one that came.
        found: String,
    },
    /// The server said so. 410: what comes next is no longer kept.
    #[error("the server ended it: {code} \u{201c}{message}\u{201d}")]
    Ended {
        /// An HTTP status.
        code: u16,
        /// In words.
        message: String,
    },
}

impl Marks {
    /// From the whole list of nodes, at the list's own version; those that are not marked may be left out of `listed`.
    /// `None` when the version is no number: then what comes before what cannot be told.
    pub fn of_list(listed: impl IntoIterator<Item = NodeMark>, version: &ResourceVersion) -> Option<Self> {
        let marked = listed.into_iter().filter(NodeMark::is_marked).map(|mark| (mark.name.clone(), mark)).collect();
        version.number().map(|version| Self { marked, version })
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: NodeEvent) -> Result<(), Disorder> {
        match event {
            NodeEvent::Added(mark) | NodeEvent::Modified(mark) => {
                self.come_to(&mark.version)?;
                if mark.is_marked() {
                    self.marked.insert(mark.name.clone(), mark);
                } else {
                    self.marked.remove(&mark.name);
                }
                Ok(())
            }
            NodeEvent::Bookmark(bookmark) => self.come_to(&bookmark.metadata.version),
            NodeEvent::Deleted(mark) => {
                self.come_to(&mark.version)?;
                self.marked.remove(&mark.name);
                Ok(())
            }
            NodeEvent::Error(WatchStatus { code, message }) => Err(Disorder::Ended { code, message }),
        }
    }

    /// The version these have come to.
    pub fn version(&self) -> u128 {
        self.version
    }

    /// All of them, by name.
    pub fn marked(&self) -> impl Iterator<Item = &NodeMark> {
        self.marked.values()
    }

    /// Whether what the write of `own` did is among them, or a later state of that Node under the same record. Their version
    /// alone does not show it: after a restored backup it may be of another history.
    pub fn show(&self, own: &NodeMark) -> bool {
        let is_that = |mark: &NodeMark| mark.uid == own.uid && mark.record == own.record && mark.version.number() >= own.version.number();
        self.marked.get(&own.name).is_some_and(is_that)
    }

    /// Whether this node is among them.
    pub fn contains(&self, name: &NodeName) -> bool {
        self.marked.contains_key(name)
    }

    fn come_to(&mut self, found: &ResourceVersion) -> Result<(), Disorder> {
        match found.number() {
            Some(number) if number >= self.version => {
                self.version = number;
                Ok(())
            }
            _ => Err(Disorder::Backwards { after: self.version, found: found.0.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::{CORDON, STATUS};

    fn node(name: &str, version: u64, status: &str) -> Value {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata":
            {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(), "annotations": {STATUS: status}}})
    }

    fn event(kind: &str, object: &Value) -> NodeEvent {
        // As text, in the order of fields in which it comes.
        serde_json::from_str(&format!(r#"{{"type":"{kind}","object":{object}}}"#)).unwrap()
    }

    fn mark(name: &str, version: u64, status: &str) -> NodeMark {
        serde_json::from_value(node(name, version, status)).unwrap()
    }

    fn names(marks: &Marks) -> Vec<&str> {
        marks.marked().map(|mark| mark.name.as_str()).collect()
    }

    fn marks() -> Marks {
        let listed = [mark("a", 3, "Rebooting"), mark("b", 5, "Ready")];
        Marks::of_list(listed, &ResourceVersion("9".to_owned())).unwrap()
    }

    #[test]
    fn events_bring_marks_up_to_date() {
        let mut marks = marks();
        assert_eq!((names(&marks), marks.version()), (vec!["a"], 9));
        let steps = [
            ("MODIFIED", node("b", 10, "Rebooting"), vec!["a", "b"], 10),
            ("MODIFIED", node("a", 11, "Ready"), vec!["b"], 11),
            ("BOOKMARK", json!({"metadata": {"resourceVersion": "20", "creationTimestamp": null}}), vec!["b"], 20),
            ("ADDED", node("c", 21, "Rebooting"), vec!["b", "c"], 21),
            ("DELETED", node("b", 22, "Rebooting"), vec!["c"], 22),
            ("BOOKMARK", json!({"metadata": {"resourceVersion": "22"}}), vec!["c"], 22),
        ];
        for (kind, object, expected, version) in steps {
            marks.take(event(kind, &object)).unwrap();
            assert_eq!((names(&marks), marks.version()), (expected, version), "{kind} {object}");
        }
        assert!(marks.contains(&NodeName("c".to_owned())) && !marks.contains(&NodeName("b".to_owned())));
    }

    #[test]
    fn what_does_not_follow_is_told_and_changes_nothing() {
        let gone = json!({"kind": "Status", "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410});
        for (kind, object, says) in [
            ("MODIFIED", node("b", 8, "Rebooting"), "version \"8\" came after 9"),
            ("ADDED", json!({"metadata": {"name": "b", "resourceVersion": "x9"}}), "\"x9\" came after 9"),
            ("DELETED", node("a", 8, "Rebooting"), "came after 9"),
            ("BOOKMARK", json!({"metadata": {"resourceVersion": "8"}}), "came after 9"),
            ("ERROR", gone, "410"),
        ] {
            let mut marks = marks();
            let error = marks.take(event(kind, &object)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(marks, self::marks());
        }
        assert!(Marks::of_list([], &ResourceVersion("abc".to_owned())).is_none());
    }

    #[test]
    fn a_write_is_shown_by_its_own_event_or_a_later_one_of_the_same_record() {
        let with = |name: &str, uid: &str, version: u64, term: u64| -> NodeMark {
            let record = json!({"before": "schedulable", "lease": "l", "term": term}).to_string();
            let annotations = json!({STATUS: "Rebooting", CORDON: record});
            let metadata = json!({"name": name, "uid": uid, "resourceVersion": version.to_string(), "annotations": annotations});
            let mark: NodeMark = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            assert!(mark.record.is_some());
            mark
        };
        let own = with("b", "u", 11, 4);
        for (seen, shown) in [
            (with("b", "u", 11, 4), true),
            (with("b", "u", 12, 4), true),
            (with("b", "u", 10, 4), false),
            (with("b", "u", 12, 3), false),
            (with("b", "v", 12, 4), false),
            (with("c", "u", 12, 4), false),
        ] {
            let mut marks = marks();
            assert!(!marks.show(&own));
            marks.take(NodeEvent::Modified(seen.clone())).unwrap();
            assert_eq!(marks.show(&own), shown, "{seen:?}");
            marks.take(event("BOOKMARK", &json!({"metadata": {"resourceVersion": "99"}}))).unwrap();
            assert_eq!(marks.show(&own), shown, "{seen:?}");
        }
    }

    #[test]
    fn an_event_of_another_kind_is_not_understood() {
        for text in [r#"{"type":"RENAMED","object":{}}"#, r#"{"type":"ADDED","object":{"metadata":{}}}"#, r#"{"type":"ADDED"}"#, "{}"] {
            assert!(serde_json::from_str::<NodeEvent>(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// What the list left out and the events bring is what a list at that version would have held.
        #[test]
        fn marks_are_what_a_list_would_hold(writes in proptest::collection::vec((0u8..4, 0u8..3), 1..40), listed in 0usize..40) {
            let mut nodes: BTreeMap<String, (u64, &str)> = BTreeMap::new();
            let list = |nodes: &BTreeMap<String, (u64, &str)>, version: usize| {
                let marks = nodes.iter().map(|(name, (version, status))| mark(name, *version, status));
                Marks::of_list(marks, &ResourceVersion((version + 1).to_string())).unwrap()
            };
            let listed = listed.min(writes.len());
            let mut marks = None;
            for (position, (node_number, act)) in writes.iter().enumerate() {
                if position == listed {
                    marks = Some(list(&nodes, position));
                }
                let (name, version) = (format!("n{node_number}"), position as u64 + 2);
                let status = ["Ready", "Rebooting", "gone"][usize::from(*act)];
                let kind = if *act == 2 { "DELETED" } else { "MODIFIED" };
                if *act == 2 { nodes.remove(&name) } else { nodes.insert(name.clone(), (version, status)) };
                if let Some(marks) = &mut marks {
                    marks.take(event(kind, &node(&name, version, status))).unwrap();
                    prop_assert_eq!(&*marks, &list(&nodes, position + 1));
                }
            }
        }
    }
}
