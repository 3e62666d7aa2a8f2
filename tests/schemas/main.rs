//! The fields that the program reads and writes, compared with the schemas (OpenAPI v3) of a real API server. The test
//! fails if Kubernetes renames or drops a field or changes its type, and if a type of ours misspells one.
//!
//! Neither is a list kept by hand. The fields that are read come from the types themselves (`shape`), the bodies that are
//! written from the calls themselves (`written`). Runs if the programs of a control plane are installed.

#![expect(clippy::unwrap_used, reason = "tests end when something is not as expected")]

mod schema;
mod shape;
mod written;

use std::io::{self, Write};

use reboot_manager::cluster::{CaMap, CaSecret, Host, Lease, Member, Node, NodeEvent, NodeMeta, Pod, ResourceVersion, Service, TlsSecret};
use reboot_manager::kube::{ApiStatus, PageEnd, read_page};
use serde::Deserialize;
use serde_json::json;
use test_cluster::real::ControlPlane;

use schema::Schemas;
use shape::{Shape, shape};

// One test, because one control plane is enough.
#[test]
fn fields_read_and_written_are_in_the_schemas_of_the_api_server() {
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

/// Returns the faults of the fields that are read.
fn read(schemas: &Schemas) -> Vec<String> {
    let types = [
        ("io.k8s.api.core.v1.Node", shape::<Node>()),
        ("io.k8s.api.core.v1.Node", shape::<NodeMeta>()),
        ("io.k8s.api.core.v1.Node", shape::<Member>()),
        ("io.k8s.api.core.v1.Node", shape::<Host>()),
        ("io.k8s.api.core.v1.Pod", shape::<Pod>()),
        ("io.k8s.api.core.v1.Service", shape::<Service>()),
        ("io.k8s.api.core.v1.Secret", shape::<TlsSecret>()),
        ("io.k8s.api.core.v1.Secret", shape::<CaSecret>()),
        ("io.k8s.api.core.v1.ConfigMap", shape::<CaMap>()),
        ("io.k8s.api.coordination.v1.Lease", shape::<Lease>()),
    ];
    assert!(types.iter().all(|(_, shape)| matches!(shape, Shape::Object(fields) if !fields.is_empty())), "{types:?}");
    types.iter().flat_map(|(name, shape)| schemas.faults(name, shape)).chain(hand_read(schemas)).collect()
}

/// Returns the faults of what a hand-written reader reads: an example of each is read, and compared with the schema.
fn hand_read(schemas: &Schemas) -> Vec<String> {
    let cause = json!({"reason": "DisruptionBudget", "message": "m"});
    let status = json!({"kind": "Status", "reason": "r", "message": "m", "details": {"retryAfterSeconds": 3, "causes": [cause]}});
    let status_read = ApiStatus::of_body(429, None, status.to_string().as_bytes());
    assert_eq!((status_read.reason.as_str(), status_read.message.as_str(), status_read.retry_after_seconds), ("r", "m", Some(3)));
    assert!(status_read.names_a_budget() && status_read.causes[0].message == "m");

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
    examples.iter().flat_map(|(name, example)| schemas.faults(name, &example.into())).collect()
}

/// Returns the faults of the bodies that are written.
fn bodies(schemas: &Schemas) -> Vec<String> {
    let written = written::every_body();
    for what in ["POST", "PATCH", "/nodes/", "/eviction", "/leases", "/selfsubjectaccessreviews", "/secrets", "/configmaps"] {
        assert!(written.iter().any(|body| format!("{} {}", body.method, body.path).contains(what)), "no body of {what}");
    }
    let faults = |body: &written::Body| match schemas.of_operation(&body.method, &body.path) {
        Some(name) => schemas.faults(&name, &(&body.value).into()),
        None => vec![format!("{} {} is no operation", body.method, body.path)],
    };
    written.iter().flat_map(faults).collect()
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

/// Proves that the test can fail: for a misspelt name and another type, in what is read and in what is written.
fn what_is_planted_is_found(schemas: &Schemas) {
    let check = |name: &str, shape: &Shape, want: &[&str]| {
        let faults = schemas.faults(name, shape);
        assert_eq!(faults.len(), want.len(), "{faults:?}");
        assert!(faults.iter().zip(want).all(|(fault, want)| fault.contains(want)), "{faults:?}");
    };
    let want = [".unscheduleable: there is no such field", ".podCIDRs: is array, not string", "taints[].effekt: there is no such field"];
    check("io.k8s.api.core.v1.NodeSpec", &shape::<PlantedSpec>(), &want);
    let patch = json!({"spec": {"unscheduleable": true, "podCIDR": 7}, "metadata": {"annotations": {"a": "b", "c": null}}});
    let want = ["spec.podCIDR: is string, not integer", "spec.unscheduleable: there is no such field"];
    check("io.k8s.api.core.v1.Node", &(&patch).into(), &want);
    assert_eq!(schemas.of_operation("PATCH", "/api/v1/knodes/n1"), None);
}
