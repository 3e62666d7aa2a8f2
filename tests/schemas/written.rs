//! Every body that the program sends: each call is made once, to a server that records the bodies and does nothing.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use reboot_manager::cluster::{
    Before, CaBundle, CordonRecord, KeyPem, Node, NodeName, NodePatch, Pair, PodKey, ResourceVersion, Term, Uid,
};
use reboot_manager::fleetlock::GroupName;
use reboot_manager::kube::{Client, ConnectOptions, Environment, Kube, Location};
use reboot_manager::lock::{self, LockState};
use serde_json::{Value, json};
use test_cluster::http::{Reply, Request, Response, Server};
use test_cluster::scratch::Scratch;

/// A request that has a body.
pub(crate) struct Body {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) value: Value,
}

pub(crate) fn every_body() -> Vec<Body> {
    let seen: Arc<Mutex<Vec<Body>>> = Arc::default();
    let recorder = Arc::clone(&seen);
    let handler = move |request: &Request| {
        if let Ok(value) = serde_json::from_slice(&request.body) {
            recorder.lock().unwrap().push(Body { method: request.method.clone(), path: request.path().to_owned(), value });
        }
        // A review of rights gets an answer, so that each right is reviewed; every other request gets "not found".
        Reply::Send(match request.path().ends_with("reviews") {
            true => Response::json(201, &json!({"status": {"allowed": false}})),
            false => Response::json(404, &json!({"kind": "Status", "reason": "NotFound"})),
        })
    };
    let server = Server::start(None, Arc::new(handler)).unwrap();
    make_every_call(&kube(&server));
    drop(server);
    std::mem::take(&mut *seen.lock().unwrap())
}

fn kube(server: &Server) -> Kube {
    let scratch = Scratch::new();
    let kubeconfig = json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", server.address())}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    });
    let kubeconfig = Some(scratch.file("config", kubeconfig.to_string()));
    let given = ConnectOptions { kubeconfig, environment: Environment::default(), ..ConnectOptions::default() };
    let location = Location::find(&given).unwrap();
    let client = Client::connect(&location, Arc::new(|_: &_| {})).unwrap();
    Kube::new(client, "reboot-manager".to_owned(), Some("reboot-manager".to_owned()))
}

fn make_every_call(kube: &Kube) {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": {"unschedulable": true}})).unwrap();
    let term = Term { lease: Uid("1".to_owned()), term: 1 };
    let record = CordonRecord { before: Before::Schedulable, term, drained: None };
    let version = ResourceVersion("7".to_owned());
    let pair = Pair { certificate: "certificate".to_owned(), key: KeyPem::new("key".to_owned()) };
    let group = GroupName::parse("default").unwrap();
    let lock = LockState::default().take(&NodeName("n1".to_owned()), &Uid("1".to_owned()), &group, Timestamp::UNIX_EPOCH);
    let pod = PodKey { namespace: "shop".to_owned(), name: "web-0".to_owned() };

    let mut marked = node.clone();
    marked.meta.record = Some(record.clone());
    kube.patch_node(&NodePatch::mark(&node, record)).unwrap_err();
    kube.patch_node(&NodePatch::restore(&marked)).unwrap_err();
    kube.evict(&pod, &Uid("1".to_owned())).unwrap_err();
    for lock in [&lock, &LockState::default()] {
        kube.write_lease(&lock::patch(lock, Some(&version), Timestamp::UNIX_EPOCH).0, false).unwrap_err();
    }
    kube.write_lease(&lock::patch(&lock, None, Timestamp::UNIX_EPOCH).0, true).unwrap_err();
    assert!(kube.missing_permissions().unwrap().len() > 10);
    kube.create_tls_secret(&pair).unwrap_err();
    kube.patch_tls_secret(&version, &pair).unwrap_err();
    let bundle = CaBundle {
        current: pair.clone(),
        next: Some(pair),
        previous: "certificate".to_owned(),
        signs_since: Some(Timestamp::UNIX_EPOCH),
        fulfilled: Some("2026-01-01T00:00:00Z".to_owned()),
    };
    kube.create_ca_secret(&bundle).unwrap_err();
    kube.patch_ca_secret(&version, &bundle).unwrap_err();
    kube.create_ca_map("certificate").unwrap_err();
    kube.patch_ca_map(&version, "certificate", true).unwrap_err();
}
