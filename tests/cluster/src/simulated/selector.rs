//! Label and field selectors, as queries write them and as objects do.

use serde_json::Value;

use super::store::{items, text};

/// Whether a structured selector (`matchLabels`, `matchExpressions`) fits these labels; `null` fits nothing, `{}` everything.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let Some(fields) = selector.as_object() else { return false };
    let equal = fields.get("matchLabels").and_then(Value::as_object);
    let all_equal = equal.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    all_equal && items(selector, "/matchExpressions").iter().all(|rule| expression(rule, labels))
}

fn expression(rule: &Value, labels: &Value) -> bool {
    let label = labels.get(text(rule, "/key"));
    let among = label.is_some_and(|value| items(rule, "/values").contains(value));
    match text(rule, "/operator") {
        "In" => among,
        "NotIn" => !among,
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => false,
    }
}

/// Whether a `labelSelector` query fits these labels.
pub(super) fn labels_fit(query: &str, labels: &Value) -> bool {
    split(query).all(|term| label_fits(term.trim(), labels))
}

fn label_fits(term: &str, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    let among = |key: &str, set: &str| {
        let set = set.trim().trim_start_matches('(').trim_end_matches(')');
        label(key).is_some_and(|value| set.split(',').any(|allowed| allowed.trim() == value))
    };
    if let Some((key, set)) = term.split_once(" notin ") {
        !among(key, set)
    } else if let Some((key, set)) = term.split_once(" in ") {
        among(key, set)
    } else if let Some((key, value)) = term.split_once("!=") {
        label(key) != Some(value.trim())
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        label(key) == Some(value.trim())
    } else if let Some(key) = term.strip_prefix('!') {
        label(key).is_none()
    } else {
        label(term).is_some()
    }
}

/// The terms of a query: commas separate, but not those between parentheses.
fn split(query: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let parts = query.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.filter(|term| !term.trim().is_empty())
}

/// One term of a `fieldSelector`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldTerm {
    pointer: String,
    wanted: String,
    equal: bool,
}

impl FieldTerm {
    pub(super) fn fits(&self, object: &Value) -> bool {
        let value = match object.pointer(&self.pointer) {
            Some(Value::String(value)) => value.clone(),
            Some(Value::Bool(value)) => value.to_string(),
            // An absent boolean is false to the API server.
            _ if self.pointer == "/spec/unschedulable" => "false".to_owned(),
            _ => String::new(),
        };
        (value == self.wanted) == self.equal
    }
}

/// Reads a `fieldSelector` for this resource; the error is the API server's message.
pub(super) fn fields(plural: &str, query: &str) -> Result<Vec<FieldTerm>, String> {
    query.split(',').filter(|term| !term.is_empty()).map(|term| field(plural, term)).collect()
}

fn field(plural: &str, term: &str) -> Result<FieldTerm, String> {
    let (name, wanted, equal) = if let Some((name, wanted)) = term.split_once("!=") {
        (name, wanted, false)
    } else if let Some((name, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (name, wanted, true)
    } else {
        return Err(format!("invalid selector: '{term}'; can't understand '{term}'"));
    };
    let known: &[&str] = match plural {
        "nodes" => &["spec.unschedulable"],
        "pods" => &["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP"],
        _ => &[],
    };
    if !["metadata.name", "metadata.namespace"].contains(&name) && !known.contains(&name) {
        return Err(format!("field label not supported: {name}"));
    }
    Ok(FieldTerm { pointer: format!("/{}", name.replace('.', "/")), wanted: wanted.to_owned(), equal })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(query: &str, fits: bool) {
        assert_eq!(labels_fit(query, &json!({"app": "web", "tier": "front"})), fits, "{query}");
    }

    #[test]
    fn label_queries_are_read_as_the_api_server_reads_them() {
        check("app=web", true);
        check("app==web,tier=front", true);
        check("app!=web", false);
        check("other!=web", true);
        check("app in (db, web),tier", true);
        check("app notin (db,web)", false);
        check("!other", true);
        check("other", false);
        check("", true);
    }

    #[test]
    fn structured_selectors_take_both_forms() {
        let labels = json!({"app": "web"});
        assert!(matches(&json!({}), &labels));
        assert!(!matches(&Value::Null, &labels));
        assert!(matches(&json!({"matchLabels": {"app": "web"}}), &labels));
        assert!(matches(&json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}), &labels));
        assert!(!matches(&json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), &labels));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        assert_eq!(fields("nodes", "spec.nodeName=a").unwrap_err(), "field label not supported: spec.nodeName");
        assert!(fields("pods", "spec.nodeName=a").unwrap()[0].fits(&json!({"spec": {"nodeName": "a"}})));
        assert!(fields("nodes", "spec.unschedulable=false").unwrap()[0].fits(&json!({"spec": {}})));
    }
}
