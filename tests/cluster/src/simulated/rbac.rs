//! Who may do what: the stored roles and bindings, evaluated for service accounts as the real authorizer does.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use serde_json::{Value, json};

use super::status::Refusal;
use super::store::{Caller, Key, Store, items, text};
use crate::resources::{Resource, Target};

pub(super) fn allowed(store: &Store, caller: &Caller, verb: &str, target: &Target) -> bool {
    match caller {
        Caller::Admin => true,
        // Every authenticated user is in the default role system:basic-user.
        Caller::ServiceAccount { .. } if target.plural == "selfsubjectaccessreviews" && verb == "create" => true,
        Caller::ServiceAccount { .. } => {
            let cluster = store.list("clusterrolebindings", "");
            let namespace = &target.namespace;
            let own = (!namespace.is_empty()).then(|| store.list("rolebindings", namespace)).into_iter().flatten();
            cluster.chain(own).any(|(key, binding)| binds(binding, caller) && grants(store, &key.namespace, binding, verb, target))
        }
    }
}

pub(super) fn refusal(caller: &Caller, verb: &str, resource: &Resource, target: &Target) -> Refusal {
    let user = match caller {
        Caller::Admin => "kubernetes-admin".to_owned(),
        Caller::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
    };
    let scope = match target.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let why = format!("User \"{user}\" cannot {verb} resource \"{}\" in API group \"{}\" {scope}", target.resource(), target.group);
    Refusal::forbidden(resource, &target.name, &why)
}

/// Answers a SelfSubjectAccessReview.
pub(super) fn review(store: &Store, caller: &Caller, review: &Value) -> Value {
    let asked = |field: &str| text(review, &format!("/spec/resourceAttributes/{field}")).to_owned();
    let target = Target {
        group: asked("group"),
        version: asked("version"),
        namespace: asked("namespace"),
        plural: asked("resource"),
        name: asked("name"),
        subresource: asked("subresource"),
    };
    let yes = allowed(store, caller, &asked("verb"), &target);
    json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": review["spec"], "status": {"allowed": yes},
    })
}

/// Reports whether a binding names this service account. Users and groups are not simulated.
fn binds(binding: &Value, caller: &Caller) -> bool {
    let Caller::ServiceAccount { namespace, name } = caller else { return false };
    let named = |subject: &Value| {
        text(subject, "/kind") == "ServiceAccount" && text(subject, "/name") == name && text(subject, "/namespace") == namespace
    };
    items(binding, "/subjects").iter().any(named)
}

fn grants(store: &Store, namespace: &str, binding: &Value, verb: &str, target: &Target) -> bool {
    let name = text(binding, "/roleRef/name");
    let role = match text(binding, "/roleRef/kind") {
        "ClusterRole" => store.get(&Key::new("clusterroles", "", name)),
        "Role" => store.get(&Key::new("roles", namespace, name)),
        _ => None,
    };
    role.is_some_and(|role| items(role, "/rules").iter().any(|rule| covers(rule, verb, target)))
}

fn covers(rule: &Value, verb: &str, target: &Target) -> bool {
    let holds = |list: &str, wanted: &str| items(rule, list).iter().any(|entry| entry == "*" || entry == wanted);
    let names = items(rule, "/resourceNames");
    holds("/verbs", verb)
        && holds("/apiGroups", &target.group)
        && holds("/resources", &target.resource())
        && (names.is_empty() || !target.name.is_empty() && names.iter().any(|name| *name == target.name.as_str()))
}
