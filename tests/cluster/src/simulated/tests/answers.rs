//! Reading and writing: conflicts, pages, media types, preconditions.

use super::*;

#[test]
fn second_of_two_writers_with_one_version_is_refused() {
    let (_cluster, api) = start();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = api.create(leases, &json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})).ok();
    let mut second = lease.clone();
    second["spec"]["holderIdentity"] = json!("b");
    let stored = api.replace(&format!("{leases}/l"), &second).ok();
    let answer = api.replace(&format!("{leases}/l"), &second);
    assert_eq!((answer.status, &answer.body["reason"]), (409, &json!("Conflict")));
    let message = "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": the object has been modified; please apply your \
         changes to the latest version and try again";
    assert_eq!(answer.body["message"], message);
    let same = api.replace(&format!("{leases}/l"), &stored).ok();
    assert_eq!(same["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"], "no change is no write");
    second["metadata"]["resourceVersion"] = Value::Null;
    assert_eq!(api.replace(&format!("{leases}/l"), &second).status, 422, "a Lease is not written unconditionally");
    assert_eq!(api.create(leases, &lease).status, 400);
    assert_eq!(api.create(leases, &json!({"metadata": {"name": "l"}})).body["reason"], "AlreadyExists");
}

#[test]
fn deleted_lease_is_recreated_by_a_put_without_its_uid() {
    let (_cluster, api) = start();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let mut lease = api.create(leases, &json!({"metadata": {"name": "l"}})).ok();
    api.delete(&format!("{leases}/l"), None).ok();
    assert_eq!(api.replace(&format!("{leases}/l"), &lease).status, 409);
    lease["metadata"].as_object_mut().unwrap().remove("uid");
    assert_eq!(api.replace(&format!("{leases}/l"), &lease).status, 201);
}

#[test]
fn patch_fails_unless_its_version_and_uid_match() {
    let (_cluster, api) = start();
    node(&api, "a");
    let path = "/api/v1/nodes/a";
    let stored = api.merge(path, &json!({"spec": {"unschedulable": true}, "metadata": {"annotations": {"x/y": "z"}}})).ok();
    let metadata = stored["metadata"].clone();
    let patch = |metadata: &Value| api.merge(path, &json!({"metadata": metadata, "spec": {"unschedulable": false}}));
    assert_eq!(patch(&json!({"resourceVersion": "1"})).status, 409);
    assert_eq!(patch(&json!({"uid": "other"})).status, 422);
    assert_eq!(patch(&json!({"uid": "other", "resourceVersion": "1"})).status, 409);
    let named = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "annotations": {"x/y": null}});
    let after = patch(&named).ok();
    assert_eq!((after["spec"].get("unschedulable"), after["metadata"].get("annotations")), (None, None));
    assert_eq!(api.merge("/api/v1/nodes/b", &json!({})).status, 404);
    assert_eq!(api.call("PATCH", path, "application/json", Some(&json!({}))).status, 415);
    let applied = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "c"}});
    assert_eq!(api.call("PATCH", "/api/v1/nodes/c?fieldManager=x", "application/apply-patch+yaml", Some(&applied)).status, 201);
}

#[test]
fn pages_join_to_the_whole_list() {
    let (_cluster, api) = start();
    let names: Vec<String> = (0..7).map(|index| format!("n{index}")).collect();
    names.iter().for_each(|name| node(&api, name));
    let (mut found, mut pages, mut path) = (Vec::new(), 0, "/api/v1/nodes?limit=3".to_owned());
    loop {
        let page = api.get(&path).ok();
        pages += 1;
        found.extend(page["items"].as_array().unwrap().iter().map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()));
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        path = format!("/api/v1/nodes?limit=3&continue={token}");
    }
    assert_eq!((found, pages), (names, 3));
    assert_eq!(api.get("/api/v1/nodes?continue=zz").status, 400);
}

#[test]
fn lists_are_selected_and_reduced_to_metadata() {
    let (_cluster, api) = start();
    ["a", "b"].iter().for_each(|name| node(&api, name));
    pod(&api, "p", "a");
    pod(&api, "q", "b");
    let list = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Da&limit=500").ok();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["kind"]), (1, &json!("PodList")));
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(api.get("/api/v1/pods?labelSelector=app%3Ddb").ok()["items"], json!([]));
    assert_eq!(api.get("/api/v1/nodes?fieldSelector=spec.nodeName%3Da").status, 400);
    assert_eq!(api.get("/api/v1/pods?watch=true").status, 400);
    assert_eq!(api.get("/api/v1/unicorns").body["message"], "the server could not find the requested resource");
    let accept = |kind: &str| vec![("Accept".to_owned(), format!("application/json;as={kind};g=meta.k8s.io;v=v1"))];
    let auth = ("Authorization".to_owned(), format!("Bearer {}", api.token().unwrap()));
    let partial = |path: &str, kind: &str| {
        let raw = api.pass_on("GET", path, &[accept(kind), vec![auth.clone()]].concat(), b"").unwrap();
        (raw.status, serde_json::from_slice::<Value>(&raw.body).unwrap())
    };
    let (status, node) = partial("/api/v1/nodes/a", "PartialObjectMetadata");
    assert_eq!((status, &node["kind"], node.get("spec")), (200, &json!("PartialObjectMetadata"), None));
    let (status, list) = partial("/api/v1/nodes", "PartialObjectMetadataList");
    assert_eq!((status, &list["items"][1]["metadata"]["name"]), (200, &json!("b")));
}

#[test]
fn delete_checks_preconditions_and_waits_for_finalizers() {
    let (_cluster, api) = start();
    node(&api, "a");
    pod(&api, "p", "a");
    let path = format!("{PODS}/p");
    let delete = |options: &Value| api.call("DELETE", &path, "application/json", Some(options));
    assert_eq!(delete(&json!({"preconditions": {"uid": "other"}})).status, 409);
    api.merge(&path, &json!({"metadata": {"finalizers": ["example.com/wait"]}})).ok();
    delete(&json!({"gracePeriodSeconds": 0})).ok();
    assert_eq!(api.get(&path).ok()["metadata"]["deletionGracePeriodSeconds"], 0);
    api.merge(&path, &json!({"metadata": {"finalizers": null}})).ok();
    assert_eq!(api.get(&path).status, 404);
}
