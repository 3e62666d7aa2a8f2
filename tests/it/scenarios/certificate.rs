//! `--tls bootstrap`: a CA and a certificate that all replicas agree on, kept in the cluster and mended there.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::{Timestamp, ToSpan};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use test_cluster::api::Api;
use test_cluster::certificate::self_signed_until;
use test_cluster::scratch::SecretVolume;
use test_cluster::{Server, TestCluster};

use super::{NAMESPACE, SOON, binary, cluster, wait_for_readyz};

pub(super) const SERVES: &str = "certificate: secret reboot-manager/reboot-manager-tls, valid until";

fn path(resource: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{resource}/{name}")
}

/// A replica that may not have a certificate yet: its FleetLock port may be closed.
pub(super) fn launch(cluster: &TestCluster) -> Server {
    let listening = "ops: listening on ";
    let mut server = cluster.server(&binary()).arg("--tls=bootstrap").launch();
    server.ops = server.wait_for_log(listening, SOON).split_once(listening).unwrap().1.to_owned();
    server
}

/// A replica that comes, looks after everything, and is gone again; what it logged.
fn pass(cluster: &TestCluster) -> String {
    let server = launch(cluster);
    server.wait_for_log(SERVES, SOON);
    server.log().join("\n")
}

/// The texts of a Secret.
fn secret(cluster: &TestCluster, name: &str) -> [String; 2] {
    let object = cluster.admin.get(&path("secrets", name)).ok();
    assert_eq!(object["type"], "kubernetes.io/tls");
    ["tls.crt", "tls.key"].map(|field| String::from_utf8(BASE64_STANDARD.decode(object["data"][field].as_str().unwrap()).unwrap()).unwrap())
}

pub(super) fn published(cluster: &TestCluster) -> Value {
    cluster.admin.get(&path("configmaps", "reboot-manager-ca")).ok()["data"].take()
}

pub(super) fn cluster_ip(cluster: &TestCluster) -> String {
    cluster.admin.get(&path("services", "reboot-manager")).ok()["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

/// Checks that the certificate is valid for the name under the CA, as a node does.
fn holds(ca: &str, certificate: &str, name: &str) -> Result<(), rustls::Error> {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(ca)).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), ring::default_provider().into()).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&der(certificate), &[], &name, &[], UnixTime::now()).map(|_verified| ())
}

/// Everything is there and fits.
#[track_caller]
fn is_whole(cluster: &TestCluster) {
    let ([ca, _], [certificate, _]) = (secret(cluster, "reboot-manager-ca"), secret(cluster, "reboot-manager-tls"));
    assert_eq!(published(cluster), json!({"ca.crt": ca}));
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----\n") && ca.matches("-----BEGIN ").count() == 1, "{ca}");
    let address = cluster_ip(cluster);
    for name in [&address[..], "reboot-manager", "reboot-manager.reboot-manager.svc", "reboot-manager.reboot-manager.svc.cluster.local"] {
        holds(&ca, &certificate, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    holds(&ca, &certificate, "192.0.2.1").unwrap_err();
}

/// Replicas that start at once and make one of each; what they logged.
#[track_caller]
fn agreed(cluster: &TestCluster) -> Vec<String> {
    let replicas = [(); 4].map(|()| launch(cluster));
    let ends = replicas.each_ref().map(|server| server.wait_for_log(SERVES, SOON));
    let logs: Vec<String> = replicas.iter().flat_map(Server::log).collect();
    for one in ["certificate: made a CA", "certificate: made one for", "shows what nodes must trust"] {
        assert_eq!(logs.iter().filter(|line| line.contains(one)).count(), 1, "{one}\n{}", logs.join("\n"));
    }
    let until = |line: &String| line.split_once(SERVES).unwrap().1.to_owned();
    assert!(ends.iter().all(|end| until(end) == until(&ends[0])), "{ends:?}");
    logs
}

#[test]
fn replicas_that_start_at_once_agree_on_one_ca_and_one_certificate() {
    let cluster = cluster();
    let logs = agreed(&cluster);
    is_whole(&cluster);
    // Nothing is made twice, and no key is logged.
    let [before, key] = secret(&cluster, "reboot-manager-tls");
    let [_, ca_key] = secret(&cluster, "reboot-manager-ca");
    let log = pass(&cluster);
    assert_eq!(secret(&cluster, "reboot-manager-tls")[0], before);
    for hush in [&key, &ca_key].map(|key| key.lines().nth(1).unwrap()) {
        assert!(!logs.join("\n").contains(hush) && !log.contains(hush));
    }
}

#[test]
fn deleted_and_invalid_objects_are_recreated() {
    let cluster = cluster();
    pass(&cluster);
    let [ca, _] = secret(&cluster, "reboot-manager-ca");
    let cases = [
        ("configmaps", "reboot-manager-ca", Value::Null),
        ("configmaps", "reboot-manager-ca", json!({"data": {"ca.crt": "x"}})),
        ("secrets", "reboot-manager-tls", Value::Null),
        ("secrets", "reboot-manager-tls", json!({"data": {"tls.crt": "eA=="}})),
    ];
    for (resource, name, invalid) in cases {
        let [before, _] = secret(&cluster, "reboot-manager-tls");
        let path = path(resource, name);
        let answer = if invalid.is_null() { cluster.admin.delete(&path, None) } else { cluster.admin.merge(&path, &invalid) };
        answer.ok();
        pass(&cluster);
        is_whole(&cluster);
        assert_eq!(secret(&cluster, "reboot-manager-tls")[0] == before, resource == "configmaps", "{resource}: {invalid}");
    }
    assert_eq!(secret(&cluster, "reboot-manager-ca")[0], ca, "the CA stays what nodes trust");
}

/// Asks for another CA from a time on.
fn ask(cluster: &TestCluster, from: Timestamp) {
    let asked = json!({"metadata": {"annotations": {"rebootmanager/next-ca-from": from.to_string()}}});
    cluster.admin.merge(&path("configmaps", "reboot-manager-ca"), &asked).ok();
}

#[test]
fn replicas_that_find_a_lost_ca_serve_the_old_certificate_until_a_person_asks_for_another_ca() {
    let cluster = cluster();
    pass(&cluster);
    let (before, shown) = (secret(&cluster, "reboot-manager-tls"), published(&cluster));
    cluster.admin.delete(&path("secrets", "reboot-manager-ca"), None).ok();
    let server = launch(&cluster);
    server.wait_for_log(SERVES, SOON);
    let line = server.wait_for_log("certificate: renewal failed, the old one is still served", SOON);
    assert!(line.contains("secret reboot-manager/reboot-manager-ca, which had the key of the CA, is missing"), "{line}");
    // Ready, because nodes are served; the text says what is wrong.
    wait_for_readyz(&server, 200, "certificate: renewal failed");
    assert_eq!((secret(&cluster, "reboot-manager-tls"), published(&cluster)), (before.clone(), shown.clone()));
    assert_eq!(cluster.admin.get(&path("secrets", "reboot-manager-ca")).status, 404);
    drop(server);
    // Asked for with a time, the next CA is shown beside the old one and does not sign yet.
    ask(&cluster, Timestamp::now() + 48.hours());
    pass(&cluster);
    assert_eq!(secret(&cluster, "reboot-manager-tls"), before);
    let both = published(&cluster)["ca.crt"].as_str().unwrap().to_owned();
    assert!(both.ends_with(shown["ca.crt"].as_str().unwrap()) && both.matches("BEGIN CERTIFICATE").count() == 2, "{both}");
    ask(&cluster, Timestamp::now());
    let log = agreed_change(&cluster).join("\n");
    assert!(log.contains("the old one is not from this CA"), "{log}");
    assert_eq!(published(&cluster)["ca.crt"].as_str(), Some(&both[..]));
    let [ca, _] = secret(&cluster, "reboot-manager-ca");
    holds(&ca, &secret(&cluster, "reboot-manager-tls")[0], &cluster_ip(&cluster)).unwrap();
}

/// Replicas that start at once and let the next CA sign, once; what they logged.
fn agreed_change(cluster: &TestCluster) -> Vec<String> {
    let replicas = [(); 3].map(|()| launch(cluster));
    for server in &replicas {
        server.wait_for_log(SERVES, SOON);
    }
    let logs: Vec<String> = replicas.iter().flat_map(Server::log).collect();
    for one in ["the next CA signs from now on", "certificate: made one for"] {
        assert_eq!(logs.iter().filter(|line| line.contains(one)).count(), 1, "{one}\n{}", logs.join("\n"));
    }
    logs
}

#[test]
fn a_service_with_another_address_gets_another_certificate() {
    let cluster = cluster();
    pass(&cluster);
    let (address, [ca, before]) =
        (cluster_ip(&cluster), [secret(&cluster, "reboot-manager-ca"), secret(&cluster, "reboot-manager-tls")].map(|[c, _]| c));
    let mut service = cluster.admin.get(&path("services", "reboot-manager")).ok();
    cluster.admin.delete(&path("services", "reboot-manager"), None).ok();
    service["metadata"] = json!({"name": "reboot-manager", "namespace": NAMESPACE});
    for field in ["clusterIP", "clusterIPs"] {
        service["spec"].as_object_mut().unwrap().remove(field);
    }
    let server = launch(&cluster);
    server.wait_for_log("there is no service reboot-manager/reboot-manager", SOON);
    // Its first answer may be the old address again; another one must come.
    let other = (0..8).find_map(|_| {
        cluster.admin.create(&format!("/api/v1/namespaces/{NAMESPACE}/services"), &service).ok();
        let other = cluster_ip(&cluster);
        if other == address {
            _ = cluster.admin.delete(&path("services", "reboot-manager"), None).ok();
        }
        (other != address).then_some(other)
    });
    server.wait_for_log(SERVES, SOON);
    drop(server);
    pass(&cluster);
    let [after, _] = secret(&cluster, "reboot-manager-tls");
    assert_ne!(after, before);
    holds(&ca, &before, &address).unwrap();
    holds(&ca, &after, &other.unwrap()).unwrap();
    is_whole(&cluster);
}

#[test]
fn an_invalid_or_replaced_ca_is_never_overwritten_and_changes_nothing_for_nodes() {
    let cluster = cluster();
    let ca = path("secrets", "reboot-manager-ca");
    let data = || cluster.admin.get(&ca).ok()["data"].take();
    pass(&cluster);
    let of_another = data();
    for (resource, name) in [("secrets", "reboot-manager-ca"), ("secrets", "reboot-manager-tls"), ("configmaps", "reboot-manager-ca")] {
        cluster.admin.delete(&path(resource, name), None).ok();
    }
    pass(&cluster);
    let (good, before) = (data(), (secret(&cluster, "reboot-manager-tls"), published(&cluster)));
    assert_ne!(good, of_another);
    let invalid = |field: &str| json!({"tls.crt": good["tls.crt"], "tls.key": good["tls.key"], field: "eA=="});
    for wrong in [invalid("tls.key"), invalid("tls.crt"), of_another] {
        cluster.admin.merge(&ca, &json!({"data": wrong})).ok();
        let server = launch(&cluster);
        server.wait_for_log(SERVES, SOON);
        let line = server.wait_for_log("certificate: renewal failed", SOON);
        assert!(line.contains("reboot-manager/reboot-manager-ca") && line.contains("docs/tls.md"), "{line}");
        wait_for_readyz(&server, 200, "certificate: renewal failed");
        assert_eq!((data(), (secret(&cluster, "reboot-manager-tls"), published(&cluster))), (wrong, before.clone()));
    }
    cluster.admin.merge(&ca, &json!({"data": good})).ok();
    pass(&cluster);
    is_whole(&cluster);
}

#[test]
fn the_service_account_reads_no_other_secret() {
    let cluster = cluster();
    pass(&cluster);
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}, "data": {"hush": "eA=="}});
    cluster.admin.create(&secrets, &other).ok();
    let us = Api::new(&cluster.proxy.base(), None, Some(&cluster.token));
    assert_eq!(us.get(&path("secrets", "reboot-manager-tls")).status, 200);
    for (method, path) in [
        ("GET", path("secrets", "other")),
        ("GET", secrets.clone()),
        ("GET", "/api/v1/secrets".to_owned()),
        ("GET", "/api/v1/namespaces/shop/secrets/reboot-manager-tls".to_owned()),
        ("DELETE", path("secrets", "reboot-manager-tls")),
    ] {
        assert_eq!(us.call(method, &path, "", None).status, 403, "{method} {path}");
    }
    for path in [path("secrets", "other"), path("configmaps", "kube-root-ca.crt")] {
        assert_eq!(us.merge(&path, &json!({"data": {"more": "eA=="}})).status, 403, "PATCH {path}");
    }
}

#[test]
fn a_certificate_of_others_that_ends_soon_is_an_error_and_the_replica_stays_ready() {
    let (cluster, mut folder) = (cluster(), SecretVolume::new(&["tls.crt", "tls.key"]));
    let mut put = |days: u64| {
        let made = self_signed_until(Timestamp::now(), Duration::from_secs(days * 24 * 3600));
        folder.update(&[("tls.crt", &made.pem), ("tls.key", &made.key_pem)]);
        ["tls.crt", "tls.key"].map(|name| folder.file(name).display().to_string())
    };
    let [certificate, key] = put(13);
    let server = cluster.server(&binary()).arg("--tls=files").arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key).start();
    let line = server.wait_for_log("its renewal is overdue", SOON);
    assert!(line.contains("ERROR") && line.contains(&certificate), "{line}");
    wait_for_readyz(&server, 200, "its renewal is overdue");
    assert!(server.page("/metrics").1.contains("reboot_manager_certificate_error 1\n"));
    put(15);
    server.wait_for_log("certificate: no error any more", SOON);
    wait_for_readyz(&server, 200, "ok\n");
    assert!(server.page("/metrics").1.contains("reboot_manager_certificate_error 0\n"));
}

#[test]
fn a_replica_waits_for_an_api_server_that_starts_later_or_is_stopped() {
    let mut cluster = cluster();
    cluster.stop_api_server();
    let [server, stopped] = [(); 2].map(|()| launch(&cluster));
    for server in [&server, &stopped] {
        server.wait_for_log("the FleetLock port stays closed", SOON);
        wait_for_readyz(server, 503, "the FleetLock port is not open yet");
    }
    stopped.signal("TERM");
    assert_eq!(stopped.exit_code(Duration::from_secs(20)), Some(0));
    cluster.start_api_server();
    server.wait_for_log(SERVES, SOON);
    is_whole(&cluster);
}
