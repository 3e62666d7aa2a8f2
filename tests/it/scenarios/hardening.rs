//! What kubernetes/hardening.yaml keeps this ServiceAccount from, on the real API server.
//!
//! The simulated API server evaluates no admission policy. There these scenarios check only that the file is YAML and names
//! what it must: what is refused is known from a run with `CLUSTER=real` and from nothing else.

use reboot_manager::kube::{CA, LEASE, TLS};
use serde_json::{Value, json};
use test_cluster::api::{Answer, Api};
use test_cluster::objects::Placement;
use test_cluster::wait::wait_for;
use test_cluster::{Backend, TestCluster, apply};

use super::certificate::{SERVES, launch, published};
use super::install::run;
use super::{SOON, cluster, cluster_of, documents, machines, server};

const HARDENING: &str = include_str!("../../../kubernetes/hardening.yaml");
const PLACEHOLDERS: [&str; 2] = ["REPLACE-WITH-THE-CIDR-OF-YOUR-NODES", "REPLACE-WITH-THE-CIDR-OF-YOUR-API-SERVER"];
const ACCOUNT: &str = "system:serviceaccount:reboot-manager:reboot-manager";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const NODES: &str = "reboot-manager-nodes";
const OBJECTS: &str = "reboot-manager-objects";
const OWN: &str = "/api/v1/namespaces/reboot-manager";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/reboot-manager/leases";
const JSON: &str = "application/merge-patch+json";

/// The file as a user applies it.
fn filled_in() -> String {
    PLACEHOLDERS.iter().fold(HARDENING.to_owned(), |text, placeholder| text.replace(placeholder, "192.0.2.0/24"))
}

/// Applies the file as a user does, and waits until the policies are in force. Needs a node `n1`.
fn harden(cluster: &TestCluster) {
    apply(&cluster.admin, &filled_in(), &[]);
    let account = account(cluster);
    // A policy takes a moment to become active.
    wait_for("the policies are in force", SOON, || {
        let label = account.merge("/api/v1/nodes/n1?dryRun=All", &json!({"metadata": {"labels": {"probe": "x"}}}));
        let map = account.create(&format!("{OWN}/configmaps?dryRun=All"), &json!({"metadata": {"name": "probe"}}));
        if is_refusal(&label) && is_refusal(&map) { Ok(()) } else { Err(format!("{} {}", label.status, map.status)) }
    });
    for policy in [NODES, OBJECTS] {
        wait_for("its expressions are checked", SOON, || {
            let policy = cluster.admin.get(&format!("{POLICIES}/{policy}")).ok();
            let is_new = policy["status"]["observedGeneration"] != policy["metadata"]["generation"];
            let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
            if is_new || !warnings.is_null() { Err(policy["status"].to_string()) } else { Ok(()) }
        });
    }
}

/// The API with the program's own token.
fn account(cluster: &TestCluster) -> Api {
    cluster.api_with(&cluster.token)
}

/// The API with every right there is, under the program's name: what a right too many would allow.
fn account_with_all_rights(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> Answer {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [
        header("Authorization", &format!("Bearer {}", cluster.admin.token().unwrap())),
        header("Impersonate-User", ACCOUNT),
        header("Impersonate-Group", "system:masters"),
        header("Content-Type", if method == "PATCH" { JSON } else { "application/json" }),
    ];
    let raw = cluster.admin.pass_on(method, path, &headers, body.to_string().as_bytes()).unwrap();
    Answer { status: raw.status, body: serde_json::from_slice(&raw.body).unwrap_or_default() }
}

#[track_caller]
fn assert_refused(policy: &str, answer: &Answer, says: &[&str]) {
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(is_refusal(answer), "{answer:?}");
    let policy = format!("ValidatingAdmissionPolicy '{policy}'");
    for word in says.iter().chain(&[policy.as_str(), "reboot-manager"]) {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
}

fn is_refusal(answer: &Answer) -> bool {
    answer.status == 422 || answer.status == 403
}

/// Checks what no API server does: what happens if the policy fails, and the ports of the NetworkPolicy. The scenarios on the real API
/// server judge the rest.
fn check_the_text() {
    let documents = documents(HARDENING);
    let kinds: Vec<&str> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    let (policy, binding) = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding");
    assert_eq!(kinds, [policy, binding, policy, binding, "NetworkPolicy"]);
    let [policies @ .., network] = &documents[..] else { panic!("no NetworkPolicy") };
    for pair in policies.chunks(2) {
        let [policy, binding] = pair else { panic!("a policy without a binding") };
        assert_eq!(policy["metadata"]["name"], binding["spec"]["policyName"]);
        assert_eq!((&binding["spec"]["validationActions"], &policy["spec"]["failurePolicy"]), (&json!(["Deny"]), &json!("Fail")));
    }
    for name in [CA, TLS, LEASE] {
        assert!(policies[2].to_string().contains(&format!("'{name}'")), "the program writes {name}");
    }
    let ports = super::MANIFEST.lines().filter_map(|line| line.trim().strip_prefix("- name: ")).collect::<Vec<_>>();
    for rule in network["spec"]["ingress"].as_array().unwrap() {
        let port = rule["ports"][0]["port"].as_str().unwrap();
        assert!(ports.contains(&port), "deployment.yaml has no port {port}");
    }
}

/// Judged by the real API server only; for the simulated one there is but the text.
#[test]
fn this_account_changes_nothing_of_a_node_but_cordon_and_annotations() {
    check_the_text();
    let cluster = cluster();
    if Backend::chosen() == Backend::Simulated {
        eprintln!("CLUSTER=simulated evaluates no admission policy: only the text of kubernetes/hardening.yaml was checked");
        return;
    }
    let [_one, _two] = machines(&cluster);
    let admin = &cluster.admin;
    let node = "/api/v1/nodes/n1";
    let own = json!({"metadata": {"annotations": {"example.org/keep": "x"}, "finalizers": ["example.org/held"], "labels": {"keep": "x"}}});
    admin.merge(node, &own).ok();
    harden(&cluster);
    let account = account(&cluster);
    let allowed = [
        json!({"spec": {"unschedulable": true}, "metadata": {"annotations": {"rebootmanager/status": "Rebooting", "rebootmanager/x": "y"}}}),
        json!({"spec": {"unschedulable": null}, "metadata": {"annotations": {"rebootmanager/status": "Ready", "rebootmanager/x": null}}}),
    ];
    for patch in &allowed {
        account.merge(node, patch).ok();
    }
    let before = admin.get(node).ok();
    let taint = json!([{"key": "x", "effect": "NoExecute"}]);
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]);
    let refused = [
        (json!({"metadata": {"labels": {"new": "x"}}}), "metadata.labels"),
        (json!({"metadata": {"labels": {"keep": null}}}), "metadata.labels"),
        (json!({"metadata": {"annotations": {"example.org/new": "x"}}}), "example.org/new"),
        (json!({"metadata": {"annotations": {"example.org/keep": "y"}}}), "example.org/keep"),
        (json!({"metadata": {"annotations": {"example.org/keep": null}}}), "example.org/keep"),
        (json!({"metadata": {"annotations": {"rebootmanager": "x"}}}), "rebootmanager"),
        (json!({"metadata": {"annotations": null}}), "example.org/keep"),
        (json!({"metadata": {"finalizers": ["example.org/held", "example.org/more"]}}), "metadata.finalizers"),
        (json!({"metadata": {"finalizers": null}}), "metadata.finalizers"),
        (json!({"metadata": {"ownerReferences": owner}}), "metadata.ownerReferences"),
        (json!({"spec": {"taints": taint}}), "spec.taints"),
        (json!({"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}}), "spec.podCIDR"),
        (json!({"spec": {"providerID": "cloud://x"}}), "spec.providerID"),
        (json!({"spec": {"unschedulable": true, "providerID": "cloud://x"}}), "spec.providerID"),
    ];
    for (patch, says) in &refused {
        assert_refused(NODES, &account.merge(node, patch), &["this changes", says]);
    }
    let status = json!({"status": {"nodeInfo": {"machineID": "f".repeat(32)}}});
    assert_eq!(account.merge(&format!("{node}/status"), &status).status, 403, "by RBAC alone");
    assert_eq!(account.merge(node, &status).status, 200, "the API server ignores a status here");
    let new = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n9"}});
    assert_refused(NODES, &account_with_all_rights(&cluster, "PATCH", &format!("{node}/status"), &status), &["does not write the status"]);
    assert_refused(NODES, &account_with_all_rights(&cluster, "POST", "/api/v1/nodes", &new), &["neither creates nor deletes"]);
    assert_refused(NODES, &account_with_all_rights(&cluster, "DELETE", "/api/v1/nodes/n2", &json!({})), &["neither creates nor deletes"]);
    let untouched = |node: &Value| (node["spec"].clone(), node["metadata"]["annotations"].clone(), node["status"]["nodeInfo"].clone());
    assert_eq!(untouched(&admin.get(node).ok()), untouched(&before));
    admin.merge(node, &json!({"metadata": {"labels": {"new": "x"}}})).ok();
}

/// Judged by the real API server only.
#[test]
fn this_account_writes_only_its_own_objects() {
    check_the_text();
    let cluster = cluster();
    if Backend::chosen() == Backend::Simulated {
        eprintln!("CLUSTER=simulated evaluates no admission policy: only the text of kubernetes/hardening.yaml was checked");
        return;
    }
    let [_one, _two] = machines(&cluster);
    harden(&cluster);
    let account = account(&cluster);
    let named = |name: &str| json!({"metadata": {"name": name}});
    let secret = |name: &str, kind: &str| {
        let data = json!({"tls.crt": "", "tls.key": ""});
        let annotations = json!({"kubernetes.io/service-account.name": "default"});
        json!({"metadata": {"name": name, "annotations": annotations}, "type": kind, "data": data})
    };
    let (secrets, maps) = (format!("{OWN}/secrets"), format!("{OWN}/configmaps"));
    let token = "kubernetes.io/service-account-token";
    // What RBAC allows, because it cannot limit a create to a name.
    let refused = [
        (&secrets, secret("stolen", token), "this is \"stolen\""),
        (&secrets, secret("stolen", "kubernetes.io/tls"), "reboot-manager-ca, reboot-manager-tls"),
        (&secrets, secret("reboot-manager-tls", token), token),
        (&secrets, secret("reboot-manager-ca", "Opaque"), "of type Opaque"),
        (&maps, json!({"metadata": {"generateName": "reboot-manager-ca"}}), "configmaps only reboot-manager-ca;"),
        (&maps, named("kube-root-ca"), "configmaps only reboot-manager-ca;"),
        (&maps, named("reboot-manager-tls"), "configmaps only reboot-manager-ca;"),
        (&LEASES.to_owned(), named("other"), "leases only reboot-manager;"),
    ];
    for (path, object, says) in &refused {
        assert_refused(OBJECTS, &account.create(path, object), &[says]);
    }
    for name in ["reboot-manager-ca", "reboot-manager-tls"] {
        account.create(&secrets, &secret(name, "kubernetes.io/tls")).ok();
    }
    account.create(&maps, &named("reboot-manager-ca")).ok();
    account.create(LEASES, &named("reboot-manager")).ok();
    let note = json!({"metadata": {"labels": {"note": "x"}}});
    for path in [&format!("{secrets}/reboot-manager-tls"), &format!("{maps}/reboot-manager-ca"), &format!("{LEASES}/reboot-manager")] {
        account.merge(path, &note).ok();
    }
    // What RBAC does not allow, either.
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (own, other) = (format!("{secrets}/reboot-manager-ca"), "/api/v1/namespaces/default/configmaps");
    let pods = "/api/v1/namespaces/default/pods";
    cluster.admin.create(pods, &pod).ok();
    cluster.admin.create(&maps, &named("of-others")).ok();
    let refused = [
        ("DELETE", own.as_str(), json!({}), "deletes no secrets"),
        ("DELETE", secrets.as_str(), json!({}), "deletes no secrets"),
        ("DELETE", &format!("{LEASES}/reboot-manager"), json!({}), "deletes no leases"),
        ("POST", other, named("reboot-manager-ca"), "this is in default"),
        ("PATCH", &format!("{maps}/of-others"), note.clone(), "this is \"of-others\""),
        ("POST", pods, json!({"metadata": {"name": "q"}, "spec": pod["spec"]}), "nothing to a pod but evict it"),
        ("PATCH", &format!("{pods}/p"), note, "nothing to a pod but evict it"),
        ("DELETE", &format!("{pods}/p"), json!({}), "nothing to a pod but evict it"),
    ];
    for (method, path, body, says) in &refused {
        assert_refused(OBJECTS, &account_with_all_rights(&cluster, method, path, body), &[says]);
    }
    cluster.admin.delete(&format!("{maps}/of-others"), None).ok();
}

#[test]
fn the_file_applies_in_both_ways_and_then_nothing_differs() {
    let cluster = cluster();
    let Some(_) = cluster.kubectl() else {
        eprintln!("CLUSTER=simulated has no kubectl: nothing was applied");
        return;
    };
    let file = cluster.folder().join("hardening.yaml");
    std::fs::write(&file, filled_in()).unwrap();
    let file = file.to_str().unwrap();
    let kubectl = || cluster.kubectl().unwrap();
    for order in [["--server-side=true", "--server-side=false"], ["--server-side=false", "--server-side=true"]] {
        for way in order {
            run(kubectl(), &["apply", way, "-f", file]);
            let again = run(kubectl(), &["apply", way, "-f", file]);
            assert!(again.stderr.is_empty(), "no warning: {again:?}");
            run(kubectl(), &["diff", way, "-f", file]);
            run(kubectl(), &["diff", "-f", file]);
        }
        run(kubectl(), &["delete", "-f", file]);
    }
}

/// On the simulated cluster the policy is only stored, and this is one more reboot; on the real one it is in force.
#[test]
fn a_reboot_goes_through_with_everything_applied() {
    let (cluster, [one, _two]) = cluster_of();
    if Backend::chosen() == Backend::Real {
        harden(&cluster);
    }
    cluster.fleet.deployment("shop", "web", 3, Placement::On("n1"));
    cluster.wait_for_running("n1", 3);
    let server = server(&cluster, "60s");
    one.agent(&server).steady_state().expect(200, "steady_state");
    cluster.set_cordon("n1", true);
    one.agent(&server).pre_reboot().expect(200, "approved");
    cluster.set_cordon("n1", false);
    one.agent(&server).pre_reboot().expect(200, "approved");
    one.comes_back(&cluster, &server);
    one.is_in_service(&cluster);
    assert!(cluster.holders().is_empty());
}

/// The program makes its CA, its certificate and the ConfigMap.
#[test]
fn a_certificate_is_made_with_everything_applied() {
    let (cluster, [_one]) = cluster_of();
    if Backend::chosen() == Backend::Real {
        harden(&cluster);
    }
    let server = launch(&cluster);
    server.wait_for_log(SERVES, SOON);
    assert!(published(&cluster)["ca.crt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

/// The real API server refuses the NetworkPolicy while the address of the nodes is a placeholder.
#[test]
fn the_placeholder_cannot_be_applied_to_a_real_api_server() {
    let cluster = cluster();
    let network = documents(HARDENING).into_iter().find(|document| document["kind"] == "NetworkPolicy").unwrap();
    assert!(PLACEHOLDERS.iter().all(|placeholder| network.to_string().contains(placeholder)));
    if Backend::chosen() == Backend::Real {
        let answer = cluster.admin.create("/apis/networking.k8s.io/v1/namespaces/reboot-manager/networkpolicies", &network);
        let message = answer.body["message"].to_string();
        assert!(answer.status == 422 && PLACEHOLDERS.iter().all(|placeholder| message.contains(placeholder)), "{answer:?}");
    }
}
