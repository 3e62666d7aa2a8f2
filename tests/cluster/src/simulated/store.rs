//! What the cluster keeps: objects by resource, namespace and name, one growing resourceVersion for all of them, and tokens.
//!
//! The store knows nothing of HTTP, of who asks, and of what a kind means.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::objects::clock;

/// Key of an object. The namespace is empty for kinds without namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) plural: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(plural: &'static str, namespace: &str, name: &str) -> Self {
        Self { plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn of(plural: &'static str, object: &Value) -> Self {
        Self::new(plural, text(object, "/metadata/namespace"), text(object, "/metadata/name"))
    }
}

/// Deleted object.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) key: Key,
    pub(super) uid: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    Admin,
    ServiceAccount { namespace: String, name: String },
}

#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    revision: u64,
    /// Number of names and UIDs generated so far.
    created: u64,
    tokens: HashMap<String, Caller>,
    /// Resources written since the controllers last ran.
    touched: BTreeSet<&'static str>,
    /// Objects removed since the controllers last ran.
    removed: Vec<Removed>,
    /// Changes of objects that can be watched, the oldest first.
    changes: VecDeque<Change>,
    /// Changes up to this revision are no longer kept.
    pub(super) forgotten: u64,
}

/// Change of an object, for watches.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) plural: &'static str,
    pub(super) revision: u64,
    /// `ADDED`, `DELETED` or `MODIFIED`.
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

pub(super) const WATCHED: &[&str] = &["nodes"];

impl Store {
    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Lists the objects of a resource by name, in one namespace or, if that is empty, in all.
    pub(super) fn list<'a>(&'a self, plural: &'static str, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        self.list_after(plural, namespace, Key::new(plural, namespace, ""))
    }

    /// Lists the objects of a resource behind this key.
    pub(super) fn list_after<'a>(
        &'a self,
        plural: &'static str,
        namespace: &'a str,
        after: Key,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let range = self.objects.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        range.take_while(move |(key, _)| key.plural == plural && (namespace.is_empty() || key.namespace == namespace))
    }

    /// Stores an object under a new resourceVersion, giving it what every object has; returns it as stored.
    pub(super) fn put(&mut self, plural: &'static str, mut object: Value) -> Value {
        let key = Key::of(plural, &object);
        self.revision += 1;
        if object.pointer("/metadata/uid").is_none() {
            object["metadata"]["uid"] = json!(self.new_uid());
            object["metadata"]["creationTimestamp"] = json!(now());
        }
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.touched.insert(plural);
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.remember(plural, kind, &object);
        self.objects.insert(key, object.clone());
        object
    }

    fn remember(&mut self, plural: &'static str, kind: &'static str, object: &Value) {
        if !WATCHED.contains(&plural) {
            return;
        }
        self.changes.push_back(Change { plural, revision: self.revision, kind, object: object.clone() });
        if self.changes.len() > CHANGES_MAX {
            self.forgotten = self.changes.pop_front().map_or(self.forgotten, |oldest| oldest.revision);
        }
    }

    /// Returns the changes of this resource after this revision.
    pub(super) fn changes_after(&self, plural: &str, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.iter().skip(start).filter(move |change| change.plural == plural)
    }

    /// Changes a stored object in place, under a new resourceVersion when that makes a difference.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        change(&mut object);
        if self.objects.get(key) != Some(&object) {
            self.put(key.plural, object);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            self.revision += 1;
            self.touched.insert(key.plural);
            let mut last = object.clone();
            last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            self.remember(key.plural, "DELETED", &last);
            self.removed.push(Removed { key: key.clone(), uid: text(&object, "/metadata/uid").to_owned() });
        }
    }

    /// Returns what was written and removed since the last call.
    pub(super) fn take_changes(&mut self) -> (BTreeSet<&'static str>, Vec<Removed>) {
        (std::mem::take(&mut self.touched), std::mem::take(&mut self.removed))
    }

    /// Returns the end of a generated name, the same in every run.
    pub(super) fn suffix(&mut self) -> String {
        self.created += 1;
        format!("{:05x}", self.created)
    }

    /// Returns a UID that is unique in this cluster, the same in every run.
    fn new_uid(&mut self) -> String {
        self.created += 1;
        format!("{:08x}-0000-4000-8000-{:012x}", self.created, self.created)
    }

    pub(super) fn new_token(&mut self, caller: Caller) -> String {
        let token = format!("token-{}", self.new_uid());
        self.tokens.insert(token.clone(), caller);
        token
    }

    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        self.tokens.get(token).cloned()
    }

    /// Forgets every token but the administrator's.
    pub(super) fn revoke_tokens(&mut self) {
        self.tokens.retain(|_, caller| *caller == Caller::Admin);
    }
}

/// The value at this path of field names. As `Value::pointer` without indices and escapes, which allocates at each step: in a cluster of
/// hundreds of pods that was most of the time.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').skip(1).try_fold(object, |value, field| value.get(field))
}

/// Returns the text at this JSON pointer, or the empty text.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the reference to the controller that owns this object.
pub(super) fn controller(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

pub(super) fn terminating(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some()
}

pub(super) fn finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

pub(super) fn ready(pod: &Value) -> bool {
    items(pod, "/status/conditions").iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Returns the time in whole seconds, as in objects.
pub(super) fn now() -> String {
    in_seconds(0)
}

pub(super) fn in_seconds(seconds: i64) -> String {
    Timestamp::from_second(clock().as_second() + seconds).expect("a time of this century").to_string()
}

/// Limit of changes kept for watches.
const CHANGES_MAX: usize = 2000;
