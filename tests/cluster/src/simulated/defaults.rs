//! What the real API server fills in when an object is created, as far as it is used here.

use serde_json::{Map, Value, json};

use crate::resources::Resource;

/// Completes a new object. `revision` makes addresses differ.
pub(super) fn new_object(resource: &Resource, revision: u64, object: &mut Value) {
    match resource.plural {
        "deployments" | "replicasets" | "statefulsets" => default(&mut object["spec"], "replicas", json!(1)),
        "nodes" => default(object, "status", json!({})),
        "pods" => pod(object),
        "services" => {
            let address = format!("10.96.{}.{}", revision / 250 % 256, revision % 250 + 2);
            default(&mut object["spec"], "clusterIP", json!(address));
            let address = object["spec"]["clusterIP"].clone();
            default(&mut object["spec"], "clusterIPs", json!([address]));
            default(&mut object["spec"], "type", json!("ClusterIP"));
        }
        _ => {}
    }
}

fn pod(object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "serviceAccountName", json!("default"));
    // The API server records what the client that creates an object has set. A later binding adds nothing to it.
    let fields: Map<String, Value> = spec.as_object().into_iter().flatten().map(|(name, _)| (format!("f:{name}"), json!({}))).collect();
    object["metadata"]["managedFields"] = json!([
        {"manager": "test", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}},
    ]);
    object["status"] = json!({"phase": "Pending"});
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}
