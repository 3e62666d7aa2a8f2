//! JSON merge patches (RFC 7396) and apply patches.
//!
//! Apply patches merge or create. There are no field managers, so nothing conflicts, and a field that a patch omits stays. Strategic merge
//! patches are not simulated: the program sends none.

use serde_json::{Map, Value, json};

use super::status::Refusal;

/// Reads a Content-Type, and reports whether the patch is an apply patch.
pub(super) fn applies(content: &str) -> Result<bool, Refusal> {
    match content.split(';').next().unwrap_or_default().trim() {
        "application/apply-patch+yaml" => Ok(true),
        "application/merge-patch+json" => Ok(false),
        _ => Err(Refusal::new(415, "UnsupportedMediaType", &format!("the body was in an unknown format ({content})"), &json!({}))),
    }
}

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

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn merge_patch_follows_rfc_7396() {
        let mut object = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]});
        super::merge(&mut object, &json!({"a": "z", "c": {"f": null}, "l": [3], "n": {"x": null, "y": 1}}));
        assert_eq!(object, json!({"a": "z", "c": {"d": "e"}, "l": [3], "n": {"y": 1}}));
    }
}
