//! GET and LIST: selectors, pages, and objects reduced to their metadata.
//!
//! A page is read from the present state, where the real server reads all pages of a list from the state at its first one.

use serde_json::{Value, json};

use super::selector::Terms;
use super::status::Refusal;
use super::store::{Key, Store};
use crate::http::{Request, Response};
use crate::resources::{Resource, Target};

/// Representation of objects that the Accept header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Metadata,
    Whole,
}

impl Form {
    pub(super) fn of(request: &Request) -> Self {
        let metadata = request.header("Accept").is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
        if metadata { Self::Metadata } else { Self::Whole }
    }

    pub(super) fn show(self, object: &Value) -> Value {
        match self {
            Self::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
            Self::Whole => object.clone(),
        }
    }
}

/// Answers a LIST.
pub(super) fn list(store: &Store, resource: &'static Resource, target: &Target, request: &Request) -> Result<Response, Refusal> {
    let form = Form::of(request);
    let refuse = |why| Refusal::bad_request(&format!("Unable to find {:?} that match: {why}", resource.qualified()));
    let query = |name| request.query(name).unwrap_or_default();
    let fields = Terms::fields(resource.plural, &query("fieldSelector")).map_err(refuse)?;
    let labels = Terms::labels(&query("labelSelector")).map_err(refuse)?;
    let limit = request.query("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let start = match request.query("continue").filter(|token| !token.is_empty()) {
        Some(token) => resume(resource, &token)
            .ok_or_else(|| Refusal::bad_request("continue key is not valid: encoded continue value is malformed"))?,
        None => Key::new(resource.plural, &target.namespace, ""),
    };
    let wanted = |object: &Value| fields.match_object(object) && labels.match_object(object);
    let mut matching = store.list_after(resource.plural, &target.namespace, start).filter(|(_, object)| wanted(object));
    let page: Vec<(&Key, &Value)> = matching.by_ref().take(limit).collect();
    let left = matching.count();
    let mut metadata = json!({"resourceVersion": store.revision().to_string()});
    if let (true, Some((last, _))) = (left > 0, page.last()) {
        metadata["continue"] = json!(token(last));
    }
    Ok(render(resource, form, &metadata, page.into_iter().map(|(_, object)| object)))
}

/// Writes the list in the order of fields in which the real server writes it.
fn render<'a>(resource: &Resource, form: Form, metadata: &Value, objects: impl Iterator<Item = &'a Value>) -> Response {
    let (kind, api_version) = match form {
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        Form::Whole => (format!("{}List", resource.kind), resource.api_version()),
    };
    let items: Vec<String> = objects.map(|object| item(form, object).to_string()).collect();
    let body =
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[{}]}}\n", items.join(","));
    // The real server sends large answers in chunks.
    let chunked = body.len() > CHUNKED_FROM;
    Response { chunked, ..Response::text(200, body) }
}

/// Returns an object as in a list: without kind and apiVersion, if whole.
fn item(form: Form, object: &Value) -> Value {
    let mut shown = form.show(object);
    if let (Form::Whole, Some(fields)) = (form, shown.as_object_mut()) {
        fields.retain(|name, _| !["apiVersion", "kind"].contains(&name.as_str()));
    }
    shown
}

/// Returns the `continue` token of a page that ends with this key.
fn token(last: &Key) -> String {
    format!("{}/{}", last.namespace, last.name)
}

fn resume(resource: &'static Resource, token: &str) -> Option<Key> {
    token.split_once('/').map(|(namespace, name)| Key::new(resource.plural, namespace, name))
}

/// Bytes of a list from which on it is sent in chunks.
const CHUNKED_FROM: usize = 128 * 1024;
