//! The validations that reveal an invalid client: names, labels, annotations, Lease fields, immutable metadata.

use serde_json::Value;

use super::status::Refusal;
use super::store::{number, text};
use crate::resources::Resource;

/// Checks an object that is about to be stored.
pub(super) fn object(resource: &Resource, object: &Value) -> Result<(), Refusal> {
    let name = text(object, "/metadata/name");
    if !is_subdomain(name) && !resource.group.starts_with("rbac") {
        return Err(Refusal::invalid(
            resource,
            name,
            "metadata.name",
            &format!("Invalid value: \"{name}\": a lowercase RFC 1123 subdomain"),
        ));
    }
    strings(resource, name, object, "labels")?;
    strings(resource, name, object, "annotations")?;
    if resource.plural == "leases" { lease(resource, name, object) } else { Ok(()) }
}

/// Checks labels or annotations: text values, qualified names as keys, limits.
fn strings(resource: &Resource, name: &str, object: &Value, field: &str) -> Result<(), Refusal> {
    let path = format!("metadata.{field}");
    let Some(map) = object["metadata"].get(field).filter(|map| !map.is_null()) else { return Ok(()) };
    let Some(map) = map.as_object() else { return Err(undecodable(resource, &path, map)) };
    let mut size = 0;
    for (key, value) in map {
        let Some(value) = value.as_str() else { return Err(undecodable(resource, &path, value)) };
        if !is_qualified(&key.to_ascii_lowercase()) {
            return Err(Refusal::invalid(resource, name, &path, &format!("Invalid value: \"{key}\": no qualified name")));
        }
        if field == "labels" && !(value.is_empty() || is_name(value)) {
            return Err(Refusal::invalid(resource, name, &path, &format!("Invalid value: \"{value}\": no label value")));
        }
        size += key.len() + value.len();
    }
    if field == "annotations" && size > ANNOTATIONS_LIMIT {
        return Err(Refusal::invalid(resource, name, &path, &format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes")));
    }
    Ok(())
}

fn undecodable(resource: &Resource, path: &str, value: &Value) -> Refusal {
    let kind = resource.kind;
    Refusal::bad_request(&format!("{kind} cannot be handled as a {kind}: cannot unmarshal {value} into {path} of type string"))
}

/// An empty holderIdentity is valid, as for the real server.
fn lease(resource: &Resource, name: &str, object: &Value) -> Result<(), Refusal> {
    let field = |field: &str, why: &str| Err(Refusal::invalid(resource, name, field, why));
    if let Some(seconds) = number(object, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        return field("spec.leaseDurationSeconds", &format!("Invalid value: {seconds}: must be greater than 0"));
    }
    if let Some(count) = number(object, "/spec/leaseTransitions").filter(|count| *count < 0) {
        return field("spec.leaseTransitions", &format!("Invalid value: {count}: must be greater than or equal to 0"));
    }
    for time in ["acquireTime", "renewTime"] {
        let value = &object["spec"][time];
        if !value.is_null() && !value.as_str().is_some_and(is_micro_time) {
            return Err(Refusal::bad_request(&format!("Lease in version \"v1\" cannot be handled as a Lease: parsing time {value}")));
        }
    }
    Ok(())
}

/// A MicroTime has exactly six digits behind the point; the real server parses nothing else.
fn is_micro_time(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    digits == 6 && text.parse::<jiff::Timestamp>().is_ok()
}

/// `[prefix/]name`, the form of label and annotation keys.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_subdomain(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let label = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| edge(Some(byte)) || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(plural: &str, given: &Value, expected: u16) {
        let found = object(Resource::plural(plural), given).map_or_else(|refusal| refusal.code, |()| 200);
        assert_eq!(found, expected, "{given}");
    }

    #[test]
    fn metadata_is_checked_as_the_api_server_checks_it() {
        let node = |annotations: Value| json!({"metadata": {"name": "a", "annotations": annotations}});
        check("nodes", &node(json!({"rebootmanager/status": "Ready"})), 200);
        check("nodes", &node(json!({"Reboot.Manager/status": "Ready"})), 200);
        check("nodes", &node(json!({"a/b/c": "x"})), 422);
        check("nodes", &node(json!({"": "x"})), 422);
        check("nodes", &node(json!({"count": 1})), 400);
        check("nodes", &node(json!({"long": "x".repeat(ANNOTATIONS_LIMIT)})), 422);
        check("nodes", &json!({"metadata": {"name": "A"}}), 422);
        check("nodes", &json!({"metadata": {"name": "a", "labels": {"x": "no spaces"}}}), 422);
    }

    #[test]
    fn lease_fields_are_checked_as_the_api_server_checks_them() {
        let lease = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
        check("leases", &lease(json!({"holderIdentity": "", "renewTime": "2026-01-02T03:04:05.000006Z"})), 200);
        check("leases", &lease(json!({"renewTime": "2026-01-02T03:04:05Z"})), 400);
        check("leases", &lease(json!({"leaseDurationSeconds": 0})), 422);
        check("leases", &lease(json!({"leaseTransitions": -1})), 422);
    }
}
