//! The three ways to patch.
//!
//! Merge patches are RFC 7396. Of strategic merge patches, lists of conditions, addresses and owners are merged by their keys and every
//! other list is replaced; directives (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList`) are refused. Apply patches merge or create; there
//! are no field managers, so nothing conflicts and nothing that is left out is removed.

use serde_json::{Map, Value};

use super::status::Refusal;

/// The kind of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Apply,
    Merge,
    Strategic,
}

impl Kind {
    /// The kind that this Content-Type names.
    pub(super) fn of(content: &str) -> Result<Self, Refusal> {
        match content.split(';').next().unwrap_or_default().trim() {
            "application/apply-patch+yaml" => Ok(Self::Apply),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(Refusal::unsupported_media_type(content)),
        }
    }
}

/// The object with the patch applied.
pub(super) fn apply(kind: Kind, object: &Value, patch: &Value) -> Result<Value, Refusal> {
    if !patch.is_object() {
        return Err(Refusal::bad_request("the patch is not a JSON object"));
    }
    if kind == Kind::Strategic && has_directive(patch) {
        return Err(Refusal::bad_request("strategic merge directives are not simulated"));
    }
    let mut object = object.clone();
    merge(&mut object, patch, kind == Kind::Strategic);
    Ok(object)
}

fn merge(target: &mut Value, patch: &Value, strategic: bool) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes {
        match (change, merge_key(name).filter(|_| strategic)) {
            (Value::Null, _) => {
                fields.remove(name);
            }
            (Value::Array(changes), Some(key)) => merge_list(fields.entry(name).or_insert(Value::Array(Vec::new())), changes, key),
            _ if strategic && name.starts_with("$setElementOrder/") => {}
            _ => merge(fields.entry(name).or_insert(Value::Null), change, strategic),
        }
    }
}

fn merge_list(target: &mut Value, changes: &[Value], key: &str) {
    let Some(elements) = target.as_array_mut() else { return };
    for change in changes {
        match elements.iter_mut().find(|element| element[key] == change[key]) {
            Some(element) => merge(element, change, true),
            None => elements.push(change.clone()),
        }
    }
}

/// The key by which the real schema merges this list.
fn merge_key(name: &str) -> Option<&'static str> {
    match name {
        "addresses" | "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

fn has_directive(patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.starts_with('$') && !name.starts_with("$setElementOrder/") || has_directive(value))
        }
        Value::Array(elements) => elements.iter().any(has_directive),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_follows_its_specification() {
        let before = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]});
        let patch = json!({"a": "z", "c": {"f": null}, "l": [3], "n": {"x": null, "y": 1}});
        let after = apply(Kind::Merge, &before, &patch).unwrap();
        assert_eq!(after, json!({"a": "z", "c": {"d": "e"}, "l": [3], "n": {"y": 1}}));
    }

    #[test]
    fn a_strategic_patch_merges_conditions_by_type() {
        let before = json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]});
        let patch = json!({"$setElementOrder/conditions": [{"type": "B"}], "conditions": [{"type": "B", "status": "False"}]});
        let after = apply(Kind::Strategic, &before, &patch).unwrap();
        assert_eq!(after, json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False"}]}));
        assert_eq!(apply(Kind::Strategic, &before, &json!({"$patch": "replace"})).unwrap_err().code, 400);
    }
}
