//! Installing: kubernetes/deployment.yaml as `kubectl` applies it, the `restricted` level it runs under, and its rights.
//!
//! Only a real cluster has a kubectl and Pod Security admission. On the simulated one the first scenario looks at the text.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use test_cluster::TestCluster;
use test_cluster::wait::wait_for;

use super::certificate::{cluster_ip, launch, published};
use super::{MANIFEST, NAMESPACE, SOON, cluster, cluster_of, documents, machines, wait_for_readyz};
use crate::markdown::blocks;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes/deployment.yaml");
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

fn document(kind: &str) -> Value {
    documents(MANIFEST).into_iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Takes away what the manifest and earlier scenarios have made.
pub(super) fn uninstall(cluster: &TestCluster) {
    let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
    for path in [&namespace, &format!("{ROLES}/clusterroles/{NAMESPACE}"), &format!("{ROLES}/clusterrolebindings/{NAMESPACE}")] {
        cluster.admin.delete(path, None).ok();
    }
    wait_for("the namespace is gone", SOON, || match cluster.admin.get(&namespace).status {
        404 => Ok(()),
        status => Err(status),
    });
}

/// Runs a command; its exit code is 0.
#[track_caller]
pub(super) fn run(mut command: Command, arguments: &[&str]) -> Output {
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// The pods of the Deployment run, each on a node of its own, and no pod of it was ever refused.
fn runs(cluster: &TestCluster) {
    let deployment = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAMESPACE}");
    wait_for("the Deployment is available", SOON, || {
        let status = cluster.admin.get(&deployment).ok()["status"].take();
        if status["availableReplicas"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(refusals(cluster), Vec::<String>::new());
}

/// Returns the messages of events about pods that could not be created.
fn refusals(cluster: &TestCluster) -> Vec<String> {
    let events = cluster.admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/events")).ok();
    let failed = events["items"].as_array().into_iter().flatten().filter(|event| event["reason"] == "FailedCreate");
    failed.map(|event| event["message"].to_string()).collect()
}

#[test]
fn the_manifest_applies_in_both_ways_and_then_nothing_differs() {
    let cluster = cluster();
    let level = &document("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(level, "restricted");
    if cluster.kubectl().is_none() {
        eprintln!("CLUSTER=simulated has no kubectl: only the text of kubernetes/deployment.yaml was looked at");
        return;
    }
    let kubectl = || cluster.kubectl().unwrap();
    let [_one, _two] = machines(&cluster);
    for way in ["--server-side=true", "--server-side=false"] {
        uninstall(&cluster);
        run(kubectl(), &["apply", way, "-f", FILE]);
        run(kubectl(), &["rollout", "status", "-n", NAMESPACE, "deployment/reboot-manager", "--timeout=120s"]);
        runs(&cluster);
        let again = run(kubectl(), &["apply", way, "-f", FILE]);
        assert!(again.stderr.is_empty(), "no warning: {again:?}");
        run(kubectl(), &["diff", way, "-f", FILE]);
    }
    // What was installed in the one way is upgraded in the other, and back.
    for way in ["--server-side=true", "--server-side=false"] {
        run(kubectl(), &["apply", way, "-f", FILE]);
        run(kubectl(), &["diff", "-f", FILE]);
    }
    run(kubectl(), &["set", "image", "-n", NAMESPACE, "deployment/reboot-manager", "reboot-manager=example.org/other"]);
    assert_eq!(kubectl().args(["diff", "-f", FILE]).output().unwrap().status.code(), Some(1), "a difference is seen");
}

/// Follows docs/kubernetes.md, "Install again with the same CA and address".
#[test]
fn a_new_installation_with_the_saved_ca_and_address_changes_nothing_for_nodes() {
    let mut cluster = cluster();
    let texts: Vec<String> = blocks("docs/kubernetes.md").into_iter().map(|block| block.text).collect();
    let text = |part: &str| texts.iter().find(|text| text.contains(part)).unwrap_or_else(|| panic!("no block with {part}"));
    let (save, install) = (text("> reboot-manager-ca.yaml"), text("create -f reboot-manager-ca.yaml"));
    if cluster.kubectl().is_none() {
        eprintln!("CLUSTER=simulated has no kubectl: only the text of docs/kubernetes.md was read");
        return;
    }
    launch(&cluster).wait_for_log("certificate: secret", SOON);
    let (ca, address) = (published(&cluster), cluster_ip(&cluster));
    let folder = cluster.folder().join("again");
    std::fs::create_dir_all(folder.join("kubernetes")).unwrap();
    let manifest = MANIFEST.replace(
        "kind: Service\nmetadata:\n  name: reboot-manager\n  namespace: reboot-manager\nspec:\n",
        &format!("kind: Service\nmetadata:\n  name: reboot-manager\n  namespace: reboot-manager\nspec:\n  clusterIP: {address}\n"),
    );
    assert!(manifest.contains(&address));
    std::fs::write(folder.join("kubernetes/deployment.yaml"), manifest).unwrap();
    let follow = |text: &str| {
        let kubectl = cluster.kubectl().unwrap();
        let programs = Path::new(kubectl.get_program()).parent().unwrap().display().to_string();
        let mut shell = Command::new("bash");
        shell.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(&folder);
        shell.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
        run(shell, &["-euo", "pipefail", "-c", text]);
    };
    follow(save);
    uninstall(&cluster);
    follow(install);
    let kubectl = cluster.kubectl().unwrap();
    let token = run(kubectl, &["create", "token", "-n", NAMESPACE, "reboot-manager"]).stdout;
    cluster.token = String::from_utf8(token).unwrap().trim().to_owned();
    launch(&cluster).wait_for_log("certificate: secret", SOON);
    assert_eq!((published(&cluster), cluster_ip(&cluster)), (ca, address));
}

/// Each thing that `restricted` demands of a pod, taken away from ours.
#[test]
fn the_pod_is_admitted_under_restricted_and_would_not_be_with_less() {
    let cluster = cluster();
    let deployment = document("Deployment");
    let template = &deployment["spec"]["template"];
    if cluster.kubectl().is_none() {
        eprintln!("CLUSTER=simulated has no Pod Security admission: nothing was asked");
        return;
    }
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": template["spec"]});
    let admitted = cluster.admin.create(&pods, &pod).ok();
    let volumes: Vec<&str> = admitted["spec"]["volumes"].as_array().unwrap().iter().filter_map(|volume| volume["name"].as_str()).collect();
    assert!(volumes.iter().any(|name| name.starts_with("kube-api-access-")), "the pod gets its token: {volumes:?}");
    assert_eq!(document("ServiceAccount")["automountServiceAccountToken"], false, "and no other pod of the ServiceAccount does");
    let container = "/spec/containers/0/securityContext";
    let less = [
        (container, json!({"privileged": true, "allowPrivilegeEscalation": true})),
        (container, json!({"capabilities": null})),
        (container, json!({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}})),
        (container, json!({"allowPrivilegeEscalation": null})),
        ("/spec/securityContext", json!({"seccompProfile": null})),
        ("/spec/securityContext", json!({"runAsNonRoot": null})),
        ("/spec/securityContext", json!({"runAsUser": 0})),
        ("/spec", json!({"hostNetwork": true})),
        ("/spec", json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
    ];
    for (place, change) in less {
        let mut worse = pod.clone();
        let fields = worse.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
        for (name, value) in change.as_object().unwrap() {
            fields.insert(name.clone(), value.clone());
        }
        let answer = cluster.admin.create(&pods, &worse);
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.status == 403 && message.contains("violates PodSecurity \"restricted"), "{place} {change}: {answer:?}");
    }
}

/// Verb that a rule grants for a resource.
struct Right {
    role: String,
    position: usize,
    verb: String,
    /// Name of the right at `/readyz`.
    name: String,
}

/// Every one of them in the manifest.
fn rights() -> Vec<Right> {
    let mut found = Vec::new();
    for role in documents(MANIFEST).iter().filter(|document| matches!(document["kind"].as_str(), Some("ClusterRole" | "Role"))) {
        let place = if role["kind"] == "Role" { format!("namespaces/{NAMESPACE}/roles") } else { "clusterroles".to_owned() };
        let path = format!("{ROLES}/{place}/{}", role["metadata"]["name"].as_str().unwrap());
        for (position, rule) in role["rules"].as_array().unwrap().iter().enumerate() {
            let ([group], [resource]) = (&words(&rule["apiGroups"])[..], &words(&rule["resources"])[..]) else { panic!("{rule}") };
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            for verb in words(&rule["verbs"]) {
                let name = format!("the service account may not {verb} {resource}{group}");
                found.push(Right { role: path.clone(), position, verb, name });
            }
        }
    }
    found
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The name of the one object that a rule is limited to.
fn object_of(rules: &Value, position: usize) -> Option<String> {
    words(&rules[position]["resourceNames"]).pop()
}

/// Proves that no right is granted without need, and that each missing right is noticed.
#[test]
fn each_right_that_is_taken_away_is_named_at_readyz() {
    let (cluster, [_one]) = cluster_of();
    let rights = rights();
    assert!(rights.len() >= 16, "{} rights", rights.len());
    for right in rights {
        let rules = cluster.admin.get(&right.role).ok()["rules"].take();
        let mut fewer = rules.clone();
        let verbs = fewer[right.position]["verbs"].as_array_mut().unwrap();
        verbs.retain(|verb| *verb != right.verb.as_str());
        if verbs.is_empty() {
            fewer.as_array_mut().unwrap().remove(right.position);
        }
        cluster.admin.merge(&right.role, &json!({"rules": fewer})).ok();
        wait_until_allowed(&cluster, &rules, &right, false);
        // Without a right to the Secrets the FleetLock port may not be opened.
        let server = launch(&cluster);
        let named = wait_for_readyz(&server, 503, "may not");
        let [line] = named.lines().filter(|line| line.contains("may not")).collect::<Vec<_>>()[..] else {
            panic!("{}: {named}", right.name)
        };
        // A Lease is not named: there is but one.
        let object = object_of(&rules, right.position).filter(|_| !right.name.contains("leases"));
        let start = format!("{}{}: apply", right.name, object.map_or_else(String::new, |name| format!(" {name}")));
        assert!(line.starts_with(&start) && line.contains("kubernetes/deployment.yaml"), "{line:?} is not {start:?}");
        cluster.admin.merge(&right.role, &json!({"rules": rules})).ok();
        wait_until_allowed(&cluster, &rules, &right, true);
    }
}

/// Waits until the API server sees the rules as they are now.
fn wait_until_allowed(cluster: &TestCluster, rules: &Value, right: &Right, wanted: bool) {
    let rule = &rules[right.position];
    let resource = words(&rule["resources"]).remove(0);
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let mut asked = json!({"verb": right.verb, "group": words(&rule["apiGroups"])[0], "resource": resource, "subresource": subresource});
    if right.role.contains("/namespaces/") {
        asked["namespace"] = json!(NAMESPACE);
    }
    if let Some(name) = object_of(rules, right.position) {
        asked["name"] = json!(name);
    }
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}});
    let own = cluster.api_with(&cluster.token);
    wait_for("the rules are in force", SOON, || {
        let answer = own.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).ok();
        if answer["status"]["allowed"] == wanted { Ok(()) } else { Err(answer["status"].to_string()) }
    });
}
