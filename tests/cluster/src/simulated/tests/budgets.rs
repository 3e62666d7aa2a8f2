//! The arithmetic of disruption budgets.

use super::*;

#[track_caller]
fn check(spec: &Value, ready: usize, [expected, desired, allowed]: [i64; 3]) {
    let cluster = Simulated::start();
    let api = cluster.admin();
    nodes(&api, &["a", "b"]);
    workload(&api, "deployments", "Deployment", 5);
    for (name, _) in placed(&api).iter().take(ready) {
        run(&api, name, true);
    }
    budget(&api, "b", spec);
    let status = api.get(&format!("{BUDGETS}/b")).ok()["status"].clone();
    let found = ["expectedPods", "desiredHealthy", "disruptionsAllowed", "currentHealthy"].map(|field| status[field].as_i64().unwrap());
    assert_eq!(found, [expected, desired, allowed, i64::try_from(ready).unwrap()], "{spec} with {ready} ready");
    assert_eq!(status["observedGeneration"], 1);
}

#[test]
fn allowed_disruptions_are_what_is_healthy_beyond_what_is_desired() {
    check(&json!({"minAvailable": 3}), 5, [5, 3, 2]);
    check(&json!({"minAvailable": 3}), 2, [5, 3, 0]);
    check(&json!({"minAvailable": 0}), 1, [5, 0, 1]);
    check(&json!({"minAvailable": "50%"}), 5, [5, 3, 2]);
    check(&json!({"minAvailable": "100%"}), 5, [5, 5, 0]);
    check(&json!({"maxUnavailable": 1}), 5, [5, 4, 1]);
    check(&json!({"maxUnavailable": 1}), 4, [5, 4, 0]);
    check(&json!({"maxUnavailable": "30%"}), 5, [5, 3, 2]);
    check(&json!({"maxUnavailable": "0%"}), 5, [5, 5, 0]);
    check(&json!({"maxUnavailable": 9}), 5, [5, 0, 5]);
    check(&json!({}), 5, [5, 1, 4]);
}

#[test]
fn a_budget_over_pods_of_a_daemonset_fails_closed() {
    let cluster = Simulated::start();
    let api = cluster.admin();
    node(&api, "a");
    workload(&api, "daemonsets", "DaemonSet", 1);
    kubelet(&api);
    budget(&api, "b", &json!({"maxUnavailable": 1}));
    let status = api.get(&format!("{BUDGETS}/b")).ok()["status"].clone();
    assert_eq!((&status["disruptionsAllowed"], &status["conditions"][0]["reason"]), (&json!(0), &json!("SyncFailed")));
}
