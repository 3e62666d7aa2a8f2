//! Every answer of the eviction subresource.

use super::*;

fn evict(api: &Api, name: &str, options: &Value) -> crate::api::Answer {
    evict_with(api, name, options, "")
}

fn evict_with(api: &Api, name: &str, options: &Value, query: &str) -> crate::api::Answer {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    api.create(&format!("{PODS}/{name}/eviction{query}"), &body)
}

fn cluster() -> (Simulated, Api) {
    let cluster = Simulated::start();
    let api = cluster.admin();
    node(&api, "a");
    (cluster, api)
}

#[test]
fn a_pod_without_a_budget_terminates_with_its_grace() {
    let (_cluster, api) = cluster();
    let uid = pod(&api, "p", "a")["metadata"]["uid"].clone();
    let answer = evict(&api, "p", &json!({"preconditions": {"uid": uid}}));
    assert_eq!((answer.status, &answer.body["status"]), (201, &json!("Success")));
    let left = api.get(&format!("{PODS}/p")).ok();
    assert_eq!(left["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(left["metadata"]["deletionTimestamp"].is_string());
    let marked = left["status"]["conditions"].as_array().unwrap().iter().any(|condition| condition["type"] == "DisruptionTarget");
    assert!(marked);
    assert_eq!(evict(&api, "p", &Value::Null).status, 201, "once more");
    api.delete(&format!("{PODS}/p"), Some(0)).ok();
    assert_eq!(evict(&api, "p", &Value::Null).status, 404);
}

#[test]
fn another_uid_is_a_conflict() {
    let (_cluster, api) = cluster();
    pod(&api, "p", "a");
    let answer = evict(&api, "p", &json!({"preconditions": {"uid": "other"}}));
    assert_eq!((answer.status, &answer.body["reason"]), (409, &json!("Conflict")));
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("the UID in the precondition (other) does not match the UID in record"), "{message}");
}

#[test]
fn a_dry_run_evicts_nothing_and_spends_nothing() {
    let (_cluster, api) = cluster();
    budget(&api, "b", &json!({"minAvailable": 0}));
    pod(&api, "p", "a");
    assert_eq!(evict_with(&api, "p", &Value::Null, "?dryRun=All").status, 201);
    assert_eq!(evict(&api, "p", &json!({"dryRun": ["All"]})).status, 201);
    assert!(pods(&api)[0]["metadata"].get("deletionTimestamp").is_none());
    assert_eq!(api.get(&format!("{BUDGETS}/b")).ok()["status"]["disruptionsAllowed"], 1);
}

#[test]
fn a_spent_budget_refuses_and_says_what_it_needs() {
    let (_cluster, api) = cluster();
    budget(&api, "b", &json!({"minAvailable": 1}));
    pod(&api, "p", "a");
    for query in ["", "?dryRun=All"] {
        let answer = evict_with(&api, "p", &Value::Null, query);
        assert_eq!((answer.status, &answer.body["reason"]), (429, &json!("TooManyRequests")));
        assert_eq!(answer.body["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
        let cause = json!({"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"});
        assert_eq!(answer.body["details"], json!({"causes": [cause]}));
    }
}

#[test]
fn a_budget_without_a_status_answers_too_many_requests() {
    let (cluster, api) = cluster();
    pod(&api, "p", "a");
    cluster.run_controllers(false);
    budget(&api, "b", &json!({"minAvailable": 0}));
    let answer = evict(&api, "p", &Value::Null);
    assert_eq!((answer.status, &answer.body["details"]["retryAfterSeconds"]), (429, &json!(10)));
    assert_eq!(answer.body["details"]["causes"][0]["message"], "The disruption budget b is still being processed by the server.");
    cluster.run_controllers(true);
    assert_eq!(evict(&api, "p", &Value::Null).status, 201);
}

#[test]
fn two_budgets_are_too_many() {
    let (_cluster, api) = cluster();
    budget(&api, "b", &json!({"minAvailable": 0}));
    budget(&api, "c", &json!({"minAvailable": 0}));
    pod(&api, "p", "a");
    let answer = evict(&api, "p", &Value::Null);
    assert_eq!((answer.status, answer.body.get("reason")), (500, None));
    assert!(answer.body["message"].as_str().unwrap().starts_with("This pod has more than one PodDisruptionBudget"));
}

#[test]
fn a_budget_with_room_is_spent_once_until_the_pod_is_gone() {
    let (cluster, api) = cluster();
    pod(&api, "p", "a");
    pod(&api, "q", "a");
    budget(&api, "b", &json!({"minAvailable": 1}));
    cluster.run_controllers(false);
    assert_eq!(evict(&api, "p", &Value::Null).status, 201);
    let status = api.get(&format!("{BUDGETS}/b")).ok()["status"].clone();
    assert_eq!(status["disruptionsAllowed"], 0);
    assert!(status["disruptedPods"]["p"].is_string());
    assert_eq!(evict(&api, "q", &Value::Null).status, 429);
    cluster.run_controllers(true);
    assert_eq!(api.get(&format!("{BUDGETS}/b")).ok()["status"].get("disruptedPods"), None);
    assert_eq!(evict(&api, "q", &Value::Null).status, 429);
}

#[test]
fn finished_and_pending_pods_go_without_asking_the_budget() {
    let (_cluster, api) = cluster();
    budget(&api, "b", &json!({"minAvailable": 3}));
    for (name, phase) in [("p", "Succeeded"), ("q", "Failed"), ("r", "Pending")] {
        pod(&api, name, "a");
        api.merge(&format!("{PODS}/{name}/status"), &json!({"status": {"phase": phase}})).ok();
        assert_eq!(evict(&api, name, &Value::Null).status, 201, "{phase}");
    }
    assert_eq!(placed(&api).len(), 1, "only the Pending one has a kubelet to wait for");
}

#[test]
fn unready_pods_follow_the_policy_of_the_budget() {
    let (_cluster, api) = cluster();
    pod(&api, "p", "a");
    run(&api, "p", false);
    budget(&api, "b", &json!({"minAvailable": 1}));
    assert_eq!(evict(&api, "p", &Value::Null).status, 429, "the budget is not met");
    pod(&api, "q", "a");
    assert_eq!(evict_with(&api, "p", &Value::Null, "?dryRun=All").status, 201, "the budget is met without it");
    run(&api, "q", false);
    api.merge(&format!("{BUDGETS}/b"), &json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})).ok();
    assert_eq!(evict(&api, "p", &Value::Null).status, 201);
}
