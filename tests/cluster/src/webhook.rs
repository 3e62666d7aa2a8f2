//! An admission webhook that denies evictions: a real one where the API server is real, else its answer from the proxy.
//!
//! Specification: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::certificate::self_signed;
use crate::cluster::{SOON, TestCluster};
use crate::http::{Handler, Reply, Request, Response, Server};
use crate::proxy::{Fault, Rule};
use crate::wait::wait_for;

/// Registered webhook. Dropping it stops its server and keeps its registration.
pub struct Webhook<'a> {
    cluster: &'a TestCluster,
    /// Pod, `namespaces/NAMESPACE/pods/NAME`, whose eviction shows whether the webhook is active.
    probe: String,
    server: Option<Server>,
}

impl<'a> Webhook<'a> {
    /// Denies every eviction with this code and message. `probe` is an existing pod, as `namespaces/NAMESPACE/pods/NAME`.
    pub fn deny(cluster: &'a TestCluster, probe: &str, code: u16, message: &str) -> Self {
        let server = (cluster.kubectl().is_some()).then(|| register(cluster, code, message));
        if server.is_none() {
            let message = format!("admission webhook \"{NAME}\" denied the request: {message}");
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code});
            cluster.proxy.plan(Rule::on("create", "pods/eviction").inject(Fault::status(code, &status)));
        }
        let webhook = Self { cluster, probe: probe.to_owned(), server };
        webhook.wait_until(code);
        webhook
    }

    /// Stops denying evictions.
    pub fn withdraw(self) {
        if self.server.is_some() {
            self.cluster.admin.delete(&format!("{REGISTRATIONS}/{NAME}"), None).ok();
            self.wait_until(201);
        }
        self.cluster.proxy.clear();
    }

    /// Waits until the API server has read the registration, or its deletion.
    fn wait_until(&self, code: u16) {
        if self.server.is_none() {
            return;
        }
        let name = self.probe.rsplit('/').next().unwrap_or_default();
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        wait_for(&format!("a dry run of an eviction is answered {code}"), SOON, || {
            let answer = self.cluster.admin.create(&format!("/api/v1/{}/eviction?dryRun=All", self.probe), &eviction);
            if answer.status == code { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
        });
    }
}

fn register(cluster: &TestCluster, code: u16, message: &str) -> Server {
    let (certificate, message) = (self_signed(), message.to_owned());
    let deny = move |request: &Request| {
        let review: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let response = json!({"uid": review["request"]["uid"], "allowed": false, "status": {"code": code, "message": message}});
        Reply::Send(Response::json(200, &json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})))
    };
    let handler: Arc<Handler> = Arc::new(deny);
    let server = Server::start(Some(certificate.server(None)), handler).expect("a port of 127.0.0.1");
    let evictions = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]});
    let client = json!({"url": format!("https://{}/", server.address()), "caBundle": BASE64_STANDARD.encode(&certificate.pem)});
    let webhook =
        json!({"name": NAME, "rules": [evictions], "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"]});
    let registration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME}, "webhooks": [webhook]});
    cluster.admin.create(REGISTRATIONS, &registration).ok();
    server
}

const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const NAME: &str = "evictions.test.example";
