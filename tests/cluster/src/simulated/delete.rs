//! Deleting: at once, or after a grace period that the kubelet ends.

use serde_json::{Value, json};

use super::status::{self, Refusal};
use super::store::{Key, Store, finished, in_seconds, number, terminating, text};
use crate::resources::Resource;

/// Fields of a `DeleteOptions` object.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) grace: Option<i64>,
    pub(super) uid: String,
}

impl Options {
    /// Reads the object, which may be `null`.
    pub(super) fn read(options: &Value) -> Self {
        Self { grace: number(options, "/gracePeriodSeconds"), uid: text(options, "/preconditions/uid").to_owned() }
    }

    /// Returns the precondition that this object violates, as a message.
    pub(super) fn unmet(&self, object: &Value) -> Option<String> {
        let uid = text(object, "/metadata/uid");
        (!self.uid.is_empty() && self.uid != uid).then(|| {
            format!(
                "the UID in the precondition ({}) does not match the UID in record ({uid}). The object might have been deleted and then \
                 recreated",
                self.uid
            )
        })
    }
}

/// Deletes one object, or starts to; returns the answer's body.
pub(super) fn delete(store: &mut Store, resource: &'static Resource, key: &Key, options: &Options) -> Result<Value, Refusal> {
    let Some(object) = store.get(key).cloned() else { return Err(Refusal::not_found(resource, &key.name)) };
    if let Some(why) = options.unmet(&object) {
        return Err(Refusal::conflict(resource, &key.name, &why));
    }
    let mut details = status::details(resource, &key.name);
    details["uid"] = object["metadata"]["uid"].clone();
    let answer = if resource.plural == "pods" { object.clone() } else { status::success(&details) };
    let grace = if resource.plural == "pods" { grace(&object, options) } else { 0 };
    if grace == 0 && object.pointer("/metadata/finalizers").is_none() {
        store.remove(key);
        return Ok(answer);
    }
    let shorter = number(&object, "/metadata/deletionGracePeriodSeconds").is_none_or(|before| grace < before);
    if !terminating(&object) || shorter {
        store.change(key, |object| {
            object["metadata"]["deletionTimestamp"] = json!(in_seconds(grace));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }
    Ok(store.get(key).cloned().unwrap_or(answer))
}

/// Seconds that this pod gets. One that no kubelet runs gets none.
fn grace(pod: &Value, options: &Options) -> i64 {
    if text(pod, "/spec/nodeName").is_empty() || finished(pod) {
        return 0;
    }
    options.grace.or_else(|| number(pod, "/spec/terminationGracePeriodSeconds")).unwrap_or(30).max(0)
}
