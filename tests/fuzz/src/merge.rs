//! A JSON merge patch, as the API server applies it: RFC 7386, section 2.

use serde_json::{Map, Value};

/// `target` with `patch` applied.
pub(crate) fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = if let Value::Object(fields) = target { fields } else { Map::new() };
    for (name, change) in changes {
        let before = fields.remove(name).unwrap_or_default();
        if !change.is_null() {
            fields.insert(name.clone(), merged(before, change));
        }
    }
    Value::Object(fields)
}
