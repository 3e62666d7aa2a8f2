//! Watches: their events, the order of events, and their end.

use std::io::{BufRead, BufReader};

use super::*;

/// A watch of nodes with this in its query; its lines come as they are asked for.
fn watch(api: &Api, accept: &str, query: &str) -> (u16, impl Iterator<Item = Value> + Send + use<>) {
    let mut headers = vec![("Accept".to_owned(), accept.to_owned())];
    headers.extend(api.token().map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))));
    let (head, body) = api.pass_on_stream(&format!("/api/v1/nodes?watch=true&{query}"), &headers).unwrap();
    (head.status, BufReader::new(body).lines().map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap()))
}

fn brief(event: &Value) -> (String, String, u64) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &event["object"]["metadata"];
    (text(&event["type"]), text(&metadata["name"]), text(&metadata["resourceVersion"]).parse().unwrap_or(0))
}

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[test]
fn watch_sends_the_changes_after_its_version_and_ends() {
    let (_cluster, api) = start();
    ["a", "b"].iter().for_each(|name| node(&api, name));
    let version = api.get("/api/v1/nodes").ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    api.merge("/api/v1/nodes/a", &json!({"spec": {"unschedulable": true}})).ok();
    let (status, mut events) = watch(&api, METADATA, &format!("resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=1"));
    assert_eq!(status, 200);
    node(&api, "c");
    api.delete("/api/v1/nodes/b", None).ok();
    let first: Vec<Value> = events.by_ref().take(3).collect();
    let after = version.parse::<u64>().unwrap();
    let expected = [("MODIFIED", "a"), ("ADDED", "c"), ("DELETED", "b")];
    for (number, (event, (kind, name))) in (1..).zip(first.iter().zip(expected)) {
        assert_eq!(
            brief(event),
            (kind.to_owned(), name.to_owned(), after + number),
            "each at its own version, the last at that of its end"
        );
        assert_eq!((&event["object"]["kind"], event["object"].get("spec")), (&json!("PartialObjectMetadata"), None));
    }
    let rest: Vec<(String, String, u64)> = events.map(|event| brief(&event)).collect();
    assert_eq!(rest, [("BOOKMARK".to_owned(), String::new(), after + 3)]);
    let (_, mut whole) = watch(&api, "application/json", &format!("resourceVersion={version}&timeoutSeconds=1"));
    assert_eq!(whole.next().unwrap()["object"]["spec"]["unschedulable"], true);
    assert_eq!(whole.map(|event| event["type"].clone()).collect::<Vec<_>>(), ["ADDED", "DELETED"], "no bookmark was requested");
}

#[test]
fn watch_from_a_forgotten_version_is_answered_410() {
    let (_cluster, api) = start();
    node(&api, "a");
    for number in 0..2100 {
        api.merge("/api/v1/nodes/a", &json!({"metadata": {"labels": {"n": number.to_string()}}})).ok();
    }
    let (status, events) = watch(&api, METADATA, "resourceVersion=3");
    let events: Vec<Value> = events.collect();
    assert_eq!((status, events.len(), &events[0]["type"], &events[0]["object"]["code"]), (200, 1, &json!("ERROR"), &json!(410)));
}
