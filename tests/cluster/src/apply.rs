//! `kubectl apply -f`, as far as the tests need it: every document is created or, when it exists, merged into what is there.

use serde_json::Value;

use crate::api::Api;
use crate::resources::Resource;

/// Applies a YAML file of one or several documents, leaving out the kinds named.
///
/// Works on any API server. A merge replaces lists whole and removes nothing.
#[track_caller]
pub fn apply(api: &Api, yaml_text: &str, skip_kinds: &[&str]) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml_text).expect("YAML documents");
    for document in documents.iter().filter(|document| !document.is_null()) {
        let field = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = field("/kind");
        if skip_kinds.contains(&kind) {
            continue;
        }
        let Some(resource) = Resource::of_kind(field("/apiVersion"), kind) else {
            panic!("{} {kind} is not a kind that is known here", field("/apiVersion"));
        };
        let namespace = match (resource.namespaced, field("/metadata/namespace")) {
            (true, "") => "default",
            (_, namespace) => namespace,
        };
        let path = resource.path(namespace);
        let created = api.create(&path, document);
        if created.status == 409 {
            api.merge(&format!("{path}/{}", field("/metadata/name")), document).ok();
        } else {
            created.ok();
        }
    }
}
