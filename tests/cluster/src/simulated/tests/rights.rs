//! Authorization with the rights of the shipped manifest.

use super::*;
use crate::apply;

const NAMESPACE: &str = "reboot-manager";

fn installed() -> (Simulated, Api) {
    let cluster = Simulated::start();
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../kubernetes/deployment.yaml")).unwrap();
    let admin = cluster.admin();
    apply(&admin, &manifest, &["Deployment", "PodDisruptionBudget"]);
    apply(&admin, &manifest, &["Deployment", "PodDisruptionBudget"]);
    let client = cluster.client(&cluster.token_for(NAMESPACE, "reboot-manager"));
    (cluster, client)
}

#[test]
fn service_account_has_the_rights_of_the_manifest_and_no_others() {
    let (cluster, api) = installed();
    node(&cluster.admin(), "a");
    pod(&cluster.admin(), "p", "a");
    let lease = |name: &str| json!({"metadata": {"name": name}});
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    assert_eq!(api.get("/api/v1/nodes").status, 200);
    assert_eq!(api.get("/api/v1/nodes/a").status, 200);
    assert_eq!(api.merge("/api/v1/nodes/a", &json!({"spec": {"unschedulable": true}})).status, 200);
    assert_eq!(api.get("/api/v1/pods").status, 200);
    assert_eq!(api.create(&leases, &lease("reboot-manager")).status, 201);
    assert_eq!(api.get(&format!("{leases}/reboot-manager")).status, 200);
    let eviction = json!({"kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(api.create(&format!("{PODS}/p/eviction"), &eviction).status, 201);

    assert_eq!(api.delete(&format!("{PODS}/p"), None).status, 403);
    assert_eq!(api.get(&format!("{PODS}/p")).status, 403);
    assert_eq!(api.merge("/api/v1/nodes/a/status", &json!({})).status, 403);
    assert_eq!(api.delete("/api/v1/nodes/a", None).status, 403);
    assert_eq!(api.get(&leases).status, 403);
    assert_eq!(api.get(&format!("{leases}/other")).status, 403);
    assert_eq!(api.create("/apis/coordination.k8s.io/v1/namespaces/default/leases", &lease("x")).status, 403);
    assert_eq!(api.get("/api/v1/namespaces/default/secrets").status, 403);
}

#[test]
fn refusal_is_worded_as_by_the_real_api_server() {
    let (cluster, _) = installed();
    let api = cluster.client(&cluster.token_for("default", "default"));
    let answer = api.get("/api/v1/nodes");
    assert_eq!((answer.status, &answer.body["reason"]), (403, &json!("Forbidden")));
    let message = "nodes is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"nodes\" in API group \"\" at \
         the cluster scope";
    assert_eq!(answer.body["message"], message);
    let answer = api.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/reboot-manager"));
    let message = "leases.coordination.k8s.io \"reboot-manager\" is forbidden: User \"system:serviceaccount:default:default\" cannot get \
         resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"reboot-manager\"";
    assert_eq!(answer.body["message"], message);
    assert_eq!(Api::new(&cluster.base(), None, None).get("/api/v1/nodes").status, 403);
}

#[test]
fn every_account_may_review_its_own_rights() {
    let (cluster, api) = installed();
    let ask = |api: &Api, attributes: &Value| {
        let review = json!({"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}});
        api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).ok()["status"]["allowed"] == true
    };
    let eviction = json!({"verb": "create", "resource": "pods", "subresource": "eviction", "namespace": "default"});
    assert!(ask(&api, &eviction));
    assert!(!ask(&api, &json!({"verb": "delete", "resource": "pods", "namespace": "default"})));
    let lease = json!({"verb": "patch", "group": "coordination.k8s.io", "resource": "leases", "namespace": NAMESPACE, "name": NAMESPACE});
    assert!(ask(&api, &lease));
    assert!(!ask(&cluster.client(&cluster.token_for("default", "default")), &eviction));
}
