//! What the program reads from the Kubernetes API and what it writes to it, held against the schemas that a real API
//! server publishes (OpenAPI v3): a field that Kubernetes renames, drops or gives another type is noticed here, and so is
//! one that is misspelt in our own types, which would otherwise only never be there.
//!
//! Neither is a list kept by hand. The fields that are read come from the types themselves (`shape`), the bodies that are
//! written from the calls themselves (`written`). Runs where the programs of a control plane are.

#![expect(clippy::unwrap_used, reason = "tests end when something is not as expected")]

mod schema;
mod shape;
mod written;

use std::io::{self, Write};

use reboot_manager::cluster::{CaMap, Host, Lease, Member, Node, NodeEvent, NodeMeta, Pod, ResourceVersion, Service, TlsSecret};
use reboot_manager::kube::{ApiStatus, PageEnd, read_page};
use serde::Deserialize;
use serde_json::{Value, json};
use test_cluster::real::ControlPlane;

use schema::Schemas;
use shape::{Shape, shape};

/// One test, because one control plane is enough.
#[test]
fn what_is_read_and_written_is_in_the_schemas_of_the_api_server() {
    if !ControlPlane::is_available() {
        let line = "NOT RUN: schemas: neither REBOOT_MANAGER_CONTROL_PLANE nor KUBEBUILDER_ASSETS is set\n";
        // Past the harness, which hides what a passing test prints.
        let _ = io::stderr().write_all(line.as_bytes());
        return;
    }
    let plane = ControlPlane::start();
    let schemas = Schemas::of(&plane.admin());
    let faults: Vec<String> = read(&schemas).into_iter().chain(bodies(&schemas)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    what_is_planted_is_found(&schemas);
}

/// What is wrong with the fields that are read.
fn read(schemas: &Schemas) -> Vec<String> {
    let types = [
        ("io.k8s.api.core.v1.Node", shape::<Node>()),
        ("io.k8s.api.core.v1.Node", shape::<NodeMeta>()),
        ("io.k8s.api.core.v1.Node", shape::<Member>()),
        ("io.k8s.api.core.v1.Node", shape::<Host>()),
        ("io.k8s.api.core.v1.Pod", shape::<Pod>()),
        ("io.k8s.api.core.v1.Service", shape::<Service>()),
        ("io.k8s.api.core.v1.Secret", shape::<TlsSecret>()),
        ("io.k8s.api.core.v1.ConfigMap", shape::<CaMap>()),
        ("io.k8s.api.coordination.v1.Lease", shape::<Lease>()),
    ];
    let fields: usize = types.iter().map(|(_, shape)| shape.fields()).sum();
    assert!(fields > 60, "only {fields} fields were found");
    types.iter().flat_map(|(name, shape)| schemas.faults_of_shape(name, shape)).chain(hand_read(schemas)).collect()
}

/// What is read by code of our own and not by a type alone: an example of each is held against the schema, and read.
fn hand_read(schemas: &Schemas) -> Vec<String> {
    let cause = json!({"reason": "DisruptionBudget", "message": "m"});
    let status = json!({"kind": "Status", "reason": "r", "message": "m", "details": {"retryAfterSeconds": 3, "causes": [cause]}});
    let read = ApiStatus::of_body(429, None, status.to_string().as_bytes());
    assert_eq!((read.reason.as_str(), read.message.as_str(), read.retry_after_seconds), ("r", "m", Some(3)));
    assert!(read.names_a_budget() && read.causes[0].message == "m");

    let list = json!({"kind": "NodeList", "metadata": {"continue": "c", "resourceVersion": "7"}, "items": [{"metadata": {"name": "n"}}]});
    let end = PageEnd { next: Some("c".to_owned()), version: ResourceVersion("7".to_owned()) };
    let mut names: Vec<Member> = Vec::new();
    assert_eq!(read_page(list.to_string().as_bytes(), &mut 0, |member| names.push(member)).unwrap(), end);
    assert_eq!(names.len(), 1);

    // The object of an event is any; a bookmark has nothing but its version, an error is a Status.
    let event = json!({"type": "ERROR", "object": {"code": 410, "message": "m"}});
    assert!(matches!(serde_json::from_value(event.clone()).unwrap(), NodeEvent::Error(_)));

    let review = json!({"status": {"allowed": true}});
    let examples = [
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Status", status),
        ("io.k8s.api.core.v1.NodeList", list),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Status", event["object"].clone()),
        ("io.k8s.api.authorization.v1.SelfSubjectAccessReview", review),
    ];
    examples.iter().flat_map(|(name, example)| schemas.faults_of_value(name, example)).collect()
}

/// What is wrong with the bodies that are written.
fn bodies(schemas: &Schemas) -> Vec<String> {
    let written = written::every_body();
    for what in ["POST", "PATCH", "/nodes/", "/eviction", "/leases", "/selfsubjectaccessreviews", "/secrets", "/configmaps"] {
        assert!(written.iter().any(|body| format!("{} {}", body.method, body.path).contains(what)), "no body of {what}");
    }
    let faults = |body: &written::Body| match schemas.of_operation(&body.method, &body.path) {
        Some(name) => schemas.faults_of_value(&name, &body.value),
        None => vec![format!("{} {} is no operation", body.method, body.path)],
    };
    written.iter().flat_map(faults).collect()
}

#[derive(Deserialize)]
struct Planted {
    #[expect(dead_code, reason = "only its fields matter")]
    spec: PlantedSpec,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its fields matter")]
struct PlantedSpec {
    unscheduleable: bool,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: String,
    taints: Vec<PlantedTaint>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its fields matter")]
struct PlantedTaint {
    effekt: String,
}

/// The test can fail: a name that is misspelt, a type that is another, in what is read and in what is written.
fn what_is_planted_is_found(schemas: &Schemas) {
    let check = |faults: Vec<String>, says: &[&str]| {
        assert_eq!(faults.len(), says.len(), "{faults:?}");
        assert!(faults.iter().zip(says).all(|(fault, says)| fault.contains(says)), "{faults:?}");
    };
    let shape: Shape = shape::<Planted>();
    let says =
        ["spec.unscheduleable: there is no such field", "spec.podCIDRs: we take a text, it is array", "taints[].effekt: there is no"];
    check(schemas.faults_of_shape("io.k8s.api.core.v1.Node", &shape), &says);
    let patch: Value = json!({"spec": {"unscheduleable": true, "podCIDR": 7}, "metadata": {"annotations": {"a": "b", "c": null}}});
    check(
        schemas.faults_of_value("io.k8s.api.core.v1.Node", &patch),
        &["spec.podCIDR: we write a number", "spec.unscheduleable: there is no"],
    );
    assert_eq!(schemas.of_operation("PATCH", "/api/v1/knodes/n1"), None);
}
