//! The events of a watch of all Nodes.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use serde::Deserialize;

use super::Member;
use super::names::Versioned;

/// An event of a watch of all Nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum NodeEvent {
    /// A Node was created.
    Added(Member),
    /// Everything up to this version has been sent.
    Bookmark(Bookmark),
    /// The Node is gone; the object is as it was last, at the version of its deletion.
    Deleted(Member),
    /// The watch cannot continue.
    Error(WatchStatus),
    /// The Node was changed.
    Modified(Member),
}

/// The object of a BOOKMARK event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "an object")]
pub struct Bookmark {
    pub(crate) metadata: Versioned,
}

/// The object of an ERROR event: a `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[serde(expecting = "an object")]
pub struct WatchStatus {
    /// HTTP status.
    pub code: u16,
    /// Message for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_another_kind_is_not_understood() {
        for text in [r#"{"type":"RENAMED","object":{}}"#, r#"{"type":"ADDED","object":{"metadata":{}}}"#, r#"{"type":"ADDED"}"#, "{}"] {
            assert!(serde_json::from_str::<NodeEvent>(text).is_err(), "{text}");
        }
    }
}
