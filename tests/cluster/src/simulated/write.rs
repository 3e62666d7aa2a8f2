//! Creating and updating, with the preconditions and the normal forms of the real API server.

use serde_json::{Map, Value, json};

use super::defaults;
use super::status::Refusal;
use super::store::{Key, Store, number, terminating, text};
use crate::resources::Resource;

/// Target of an update.
pub(super) struct Place<'a> {
    pub(super) resource: &'static Resource,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) subresource: &'a str,
    pub(super) dry_run: bool,
}

impl Place<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new(self.resource.plural, self.namespace, self.name)
    }
}

/// Stores a new object; returns it as stored.
pub(super) fn create(store: &mut Store, place: &Place<'_>, mut object: Value) -> Result<Value, Refusal> {
    let resource = place.resource;
    shape(resource, &mut object);
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    name(store, place, &mut object);
    if !place.namespace.is_empty() && store.get(&Key::new("namespaces", "", place.namespace)).is_none() {
        return Err(Refusal::not_found(Resource::plural("namespaces"), place.namespace));
    }
    let key = Key::of(resource.plural, &object);
    if store.get(&key).is_some() {
        return Err(Refusal::already_exists(resource, &key.name));
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        remove(&mut object["metadata"], field);
    }
    defaults::new_object(resource, store.revision(), &mut object);
    normal(resource, &mut object);
    Ok(if place.dry_run { object } else { store.put(resource.plural, object) })
}

/// Replaces an object or its status; returns it as stored.
pub(super) fn update(store: &mut Store, place: &Place<'_>, method: &str, mut object: Value) -> Result<Value, Refusal> {
    let resource = place.resource;
    shape(resource, &mut object);
    object["metadata"]["name"] = json!(place.name);
    if resource.namespaced {
        object["metadata"]["namespace"] = json!(place.namespace);
    }
    let Some(current) = store.get(&place.key()).cloned() else {
        return missing(store, place, object);
    };
    preconditions(resource, method, &current, &object)?;
    keep(resource, place.subresource, &current, &mut object);
    normal(resource, &mut object);
    if object == current || place.dry_run {
        // As in etcd, writing what is there already is no write.
        return Ok(object);
    }
    let due = terminating(&object) && number(&object, "/metadata/deletionGracePeriodSeconds") == Some(0);
    if due && object.pointer("/metadata/finalizers").is_none() {
        store.remove(&place.key());
        return Ok(object);
    }
    Ok(store.put(resource.plural, object))
}

/// Applies a JSON merge patch (RFC 7396).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// An update of what is not there. Leases are made by it; with a uid nothing is.
fn missing(store: &mut Store, place: &Place<'_>, mut object: Value) -> Result<Value, Refusal> {
    let resource = place.resource;
    if resource.plural != "leases" {
        return Err(Refusal::not_found(resource, place.name));
    }
    let uid = text(&object, "/metadata/uid");
    if !uid.is_empty() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(Refusal::conflict(resource, place.name, &why));
    }
    remove(&mut object["metadata"], "resourceVersion");
    create(store, place, object)
}

/// Checks the version and the uid; a PUT and a PATCH check the uid differently.
fn preconditions(resource: &Resource, method: &str, current: &Value, object: &Value) -> Result<(), Refusal> {
    let name = text(current, "/metadata/name");
    let (uid, current_uid) = (text(object, "/metadata/uid"), text(current, "/metadata/uid"));
    let other_uid = !uid.is_empty() && uid != current_uid;
    if method == "PUT" && other_uid {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {current_uid}");
        return Err(Refusal::conflict(resource, name, &why));
    }
    let version = text(object, "/metadata/resourceVersion");
    if version.is_empty() && ["leases", "poddisruptionbudgets"].contains(&resource.plural) {
        return Err(Refusal::invalid(resource, name, "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"));
    }
    if !version.is_empty() && version != text(current, "/metadata/resourceVersion") {
        return Err(Refusal::modified(resource, name));
    }
    if other_uid {
        return Err(Refusal::invalid(resource, name, "metadata.uid", &format!("Invalid value: \"{uid}\": field is immutable")));
    }
    Ok(())
}

/// Puts back what this update may not change.
fn keep(resource: &Resource, subresource: &str, current: &Value, object: &mut Value) {
    if subresource == "status" {
        let status = object.get("status").cloned();
        *object = current.clone();
        put(object, "status", status);
    } else if has_status(resource) {
        put(object, "status", current.get("status").cloned());
    }
    let fixed = ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"];
    for field in fixed {
        put(&mut object["metadata"], field, current["metadata"].get(field).cloned());
    }
}

/// Sets the kind and apiVersion of an object.
fn shape(resource: &Resource, object: &mut Value) {
    object["kind"] = json!(resource.kind);
    object["apiVersion"] = json!(resource.api_version());
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
}

/// Settles the name and the namespace of a new object.
fn name(store: &mut Store, place: &Place<'_>, object: &mut Value) {
    let prefix = text(object, "/metadata/generateName").to_owned();
    if text(object, "/metadata/name").is_empty() {
        let name = if prefix.is_empty() { place.name.to_owned() } else { format!("{prefix}{}", store.suffix()) };
        object["metadata"]["name"] = json!(name);
    }
    if place.resource.namespaced {
        object["metadata"]["namespace"] = json!(place.namespace);
    }
}

/// Leaves out what the real server leaves out: empty maps and lists of metadata, and `unschedulable: false`.
fn normal(resource: &Resource, object: &mut Value) {
    for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
        let value = &object["metadata"][field];
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if empty {
            remove(&mut object["metadata"], field);
        }
    }
    if resource.plural == "nodes" && object.pointer("/spec/unschedulable").is_some_and(|value| *value != true) {
        remove(&mut object["spec"], "unschedulable");
    }
}

fn remove(object: &mut Value, field: &str) {
    put(object, field, None);
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
    }
}

fn has_status(resource: &Resource) -> bool {
    ["apps", "batch", "policy"].contains(&resource.group) || ["namespaces", "nodes", "pods", "services"].contains(&resource.plural)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn merge_patch_follows_rfc_7396() {
        let mut object = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]});
        super::merge(&mut object, &json!({"a": "z", "c": {"f": null}, "l": [3], "n": {"x": null, "y": 1}}));
        assert_eq!(object, json!({"a": "z", "c": {"d": "e"}, "l": [3], "n": {"y": 1}}));
    }
}
