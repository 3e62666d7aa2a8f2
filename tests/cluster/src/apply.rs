//! `kubectl apply -f`, as far as the tests need it: every document is created or, when it exists, merged into what is there.

use serde_json::Value;

use crate::api::Api;
use crate::resources::collection;

/// Applies a YAML file of one or several documents, leaving out the kinds named.
///
/// Works on any API server. A merge replaces lists whole and removes nothing.
#[track_caller]
pub fn apply(api: &Api, yaml_text: &str, skip_kinds: &[&str]) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml_text).expect("YAML documents");
    for document in documents.iter().filter(|document| !document.is_null()) {
        if document["kind"].as_str().is_some_and(|kind| skip_kinds.contains(&kind)) {
            continue;
        }
        let path = collection(document);
        let created = api.create(&path, document);
        if created.status == 409 {
            api.merge(&format!("{path}/{}", document["metadata"]["name"].as_str().unwrap_or_default()), document).ok();
        } else {
            created.ok();
        }
    }
}
