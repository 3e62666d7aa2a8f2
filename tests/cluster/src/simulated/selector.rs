//! Label and field selectors: the forms that the program and the tests use. Every other form is refused.

use serde_json::Value;

/// Reports whether a selector of an object (`matchLabels`) matches these labels: `null` matches nothing, `{}` everything.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let Some(fields) = selector.as_object() else { return false };
    assert!(!fields.contains_key("matchExpressions"), "matchExpressions are not simulated: {selector}");
    let equal = fields.get("matchLabels").and_then(Value::as_object);
    equal.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Terms of a `labelSelector` or `fieldSelector` query: the JSON pointer of a field, and its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terms(Vec<(String, String)>);

impl Terms {
    /// Reads a `labelSelector` query.
    pub(super) fn labels(query: &str) -> Result<Self, String> {
        Self::read(query, |key| Ok(format!("/metadata/labels/{}", key.replace('/', "~1"))))
    }

    /// Reads a `fieldSelector` query for a resource. The error is the API server's message.
    pub(super) fn fields(plural: &str, query: &str) -> Result<Self, String> {
        Self::read(query, |name| match (plural, name) {
            ("pods", "spec.nodeName") | ("nodes", "spec.unschedulable") | (_, "metadata.name" | "metadata.namespace") => {
                Ok(format!("/{}", name.replace('.', "/")))
            }
            _ => Err(format!("field label not supported: {name}")),
        })
    }

    fn read(query: &str, pointer: impl Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let term = |term: &str| match term.split_once('=') {
            Some((name, value)) if !name.ends_with('!') => Ok((pointer(name)?, value.to_owned())),
            _ => Err(format!("{term:?} is not NAME=VALUE, the only form of a selector that is simulated")),
        };
        query.split(',').filter(|term| !term.is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn match_object(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, wanted)| match object.pointer(pointer) {
            Some(Value::String(value)) => value == wanted,
            Some(Value::Bool(value)) => value.to_string() == *wanted,
            // An absent boolean is false to the API server.
            _ => *wanted == if pointer == "/spec/unschedulable" { "false" } else { "" },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selector_terms_match_and_unknown_forms_are_refused() {
        let labels =
            |query: &str| Terms::labels(query).unwrap().match_object(&json!({"metadata": {"labels": {"a/app": "web", "tier": "x"}}}));
        assert_eq!(["a/app=web", "a/app=web,tier=x", "tier=y", "other=web", ""].map(labels), [true, true, false, false, true]);
        assert!(Terms::labels("app!=web").is_err() && Terms::labels("app in (web)").is_err() && Terms::labels("app").is_err());
        assert_eq!(Terms::fields("nodes", "spec.nodeName=a").unwrap_err(), "field label not supported: spec.nodeName");
        assert!(Terms::fields("pods", "spec.nodeName=a").unwrap().match_object(&json!({"spec": {"nodeName": "a"}})));
        assert!(Terms::fields("nodes", "spec.unschedulable=false").unwrap().match_object(&json!({"spec": {}})));
    }
}
