//! From a request to its answer: who asks, may they, what is it about, and which part of the simulation does it.

use serde_json::{Value, json};

use super::delete::{self, Options};
use super::evict;
use super::rbac;
use super::read::{self, Form};
use super::status::{self, Refusal};
use super::store::{Caller, Key, Store, terminating, text};
use super::watch::Watch;
use super::write::{self, Place};
use crate::http::{Request, Response};
use crate::resources::{Resource, Target};

/// Answer to a request.
pub(super) enum Answer {
    Response(Response),
    Watch(Watch),
}

/// Answers one request.
pub(super) fn answer(store: &mut Store, request: &Request) -> Answer {
    serve(store, request).unwrap_or_else(|refusal| Answer::Response(refusal.response()))
}

fn serve(store: &mut Store, request: &Request) -> Result<Answer, Refusal> {
    let caller = caller(store, request)?;
    let target = Target::parse(request.path()).ok_or_else(Refusal::no_such_path)?;
    let verb = target.verb(&request.method, request.raw_query());
    let resource = Resource::named(&target.group, &target.version, &target.plural).ok_or_else(Refusal::no_such_path)?;
    if !rbac::allowed(store, &caller, verb, &target) {
        return Err(rbac::refusal(&caller, verb, resource, &target));
    }
    if verb == "watch" {
        return Watch::parse(resource, request).map(Answer::Watch);
    }
    // A namespaced resource is written in a namespace, and one without is in none.
    let misplaced = if resource.namespaced { target.namespace.is_empty() && verb != "list" } else { !target.namespace.is_empty() };
    if misplaced {
        return Err(Refusal::no_such_path());
    }
    if verb != "create" && !["", "status"].contains(&target.subresource.as_str()) {
        return Err(Refusal::no_such_path());
    }
    let response = match verb {
        "create" => create(store, &caller, resource, &target, request),
        "delete" => remove(store, resource, &target, request),
        "get" => {
            let key = Key::new(resource.plural, &target.namespace, &target.name);
            let object = store.get(&key).ok_or_else(|| Refusal::not_found(resource, &target.name))?;
            Ok(shown(200, request, object))
        }
        "list" => read::list(store, resource, &target, request),
        "patch" => patch(store, resource, &target, request),
        "update" => {
            let place = place(resource, &target, request);
            let status = if store.get(&place.key()).is_some() { 200 } else { 201 };
            let stored = write::update(store, &place, &request.method, json_body(request)?)?;
            Ok(shown(status, request, &stored))
        }
        _ => Err(Refusal::method_not_allowed()),
    };
    response.map(Answer::Response)
}

fn caller(store: &Store, request: &Request) -> Result<Caller, Refusal> {
    let header = request.header("Authorization").unwrap_or_default();
    header.strip_prefix("Bearer ").and_then(|token| store.caller(token.trim())).ok_or_else(Refusal::unauthorized)
}

fn place<'a>(resource: &'static Resource, target: &'a Target, request: &Request) -> Place<'a> {
    let (namespace, name, subresource) = (target.namespace.as_str(), target.name.as_str(), target.subresource.as_str());
    Place { resource, namespace, name, subresource, dry_run: dry_run(request) }
}

fn create(
    store: &mut Store,
    caller: &Caller,
    resource: &'static Resource,
    target: &Target,
    request: &Request,
) -> Result<Response, Refusal> {
    let body = json_body(request)?;
    match (resource.plural, target.subresource.as_str()) {
        ("pods", "binding") => bind(store, target, &body),
        ("pods", "eviction") => evict::evict(store, &target.namespace, &target.name, &body).map(|answer| Response::json(201, &answer)),
        ("selfsubjectaccessreviews", "") => Ok(Response::json(201, &rbac::review(store, caller, &body))),
        (_, "") if target.name.is_empty() => {
            let stored = write::create(store, &place(resource, target, request), body)?;
            Ok(shown(201, request, &stored))
        }
        (_, "") => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::no_such_path()),
    }
}

fn bind(store: &mut Store, target: &Target, binding: &Value) -> Result<Response, Refusal> {
    let resource = Resource::plural("pods");
    let key = Key::new("pods", &target.namespace, &target.name);
    let pod = store.get(&key).ok_or_else(|| Refusal::not_found(resource, &target.name))?;
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return Err(Refusal::conflict(resource, &target.name, &format!("pod {} is already assigned to node \"{node}\"", target.name)));
    }
    if terminating(pod) {
        return Err(Refusal::conflict(resource, &target.name, &format!("pod {} is being deleted, cannot be assigned", target.name)));
    }
    let node = text(binding, "/target/name").to_owned();
    store.change(&key, |pod| pod["spec"]["nodeName"] = json!(node));
    Ok(Response::json(201, &status::success(&Value::Null)))
}

fn patch(store: &mut Store, resource: &'static Resource, target: &Target, request: &Request) -> Result<Response, Refusal> {
    let place = place(resource, target, request);
    // An apply patch merges or creates here: there are no field managers, so nothing conflicts, and a field that it omits stays.
    let content = request.header("Content-Type").unwrap_or_default();
    let applies = content.starts_with("application/apply-patch+yaml");
    if !applies && !content.starts_with("application/merge-patch+json") {
        return Err(Refusal::new(415, "UnsupportedMediaType", &format!("the body was in an unknown format ({content})"), &json!({})));
    }
    let change = if applies { yaml_body(request)? } else { json_body(request)? };
    let Some(current) = store.get(&place.key()) else {
        if !applies {
            return Err(Refusal::not_found(resource, &target.name));
        }
        let stored = write::create(store, &place, change)?;
        return Ok(shown(201, request, &stored));
    };
    if !change.is_object() {
        return Err(Refusal::bad_request("the patch is not a JSON object"));
    }
    let mut patched = current.clone();
    write::merge(&mut patched, &change);
    let stored = write::update(store, &place, &request.method, patched)?;
    Ok(shown(200, request, &stored))
}

fn remove(store: &mut Store, resource: &'static Resource, target: &Target, request: &Request) -> Result<Response, Refusal> {
    let mut options = Options::read(&if request.body.is_empty() { Value::Null } else { json_body(request)? });
    options.grace = options.grace.or_else(|| request.query("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok()));
    let key = Key::new(resource.plural, &target.namespace, &target.name);
    delete::delete(store, resource, &key, &options).map(|answer| Response::json(200, &answer))
}

fn shown(status: u16, request: &Request, object: &Value) -> Response {
    Response::json(status, &Form::of(request).show(object))
}

fn dry_run(request: &Request) -> bool {
    request.query("dryRun").is_some_and(|value| value == "All")
}

fn json_body(request: &Request) -> Result<Value, Refusal> {
    serde_json::from_slice(&request.body).map_err(|error| Refusal::bad_request(&format!("the body is not JSON: {error}")))
}

fn yaml_body(request: &Request) -> Result<Value, Refusal> {
    let text = String::from_utf8_lossy(&request.body);
    serde_saphyr::from_str(&text).map_err(|error| Refusal::bad_request(&format!("the body is not YAML: {error}")))
}
