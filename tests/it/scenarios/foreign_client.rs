//! curl, which shares no code with the program or its tests, sends what Zincati sends to the whole program: TLS with the cluster's CA, and a
//! credential in the URL.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use test_cluster::Zincati;
use test_cluster::objects::Placement;

use super::{Machine, NAMESPACE, binary, cluster_of};

const CREDENTIALS: &str = "credentials:\n- {user: workers, password: p@ss/word:9, groups: [default]}\n";

/// The credential as a URL has it.
const USERINFO: &str = "workers:p%40ss%2Fword%3A9";

/// A name of the Service, which is in the certificate.
const NAME: &str = "reboot-manager.reboot-manager.svc";

/// curl on one machine.
struct Curl<'a> {
    server: SocketAddr,
    ca: Option<&'a Path>,
    machine: &'a Machine,
}

impl Curl<'_> {
    /// Sends Zincati's request; as there, curl offers HTTP/2 and TLS 1.2 or later.
    fn run(&self, userinfo: &str, endpoint: &str, group: &str) -> Output {
        let mut agent = Zincati::new(NAME, &self.machine.id);
        agent.group = group.to_owned();
        let request = String::from_utf8(agent.request(endpoint)).unwrap();
        let (_head, body) = request.split_once("\r\n\r\n").unwrap();
        let (ip, port) = (self.server.ip(), self.server.port());
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--max-time", "60", "--http2", "--noproxy", "*"]);
        curl.args(["--resolve", &format!("{NAME}:{port}:{ip}"), "--write-out", "\n%{http_code}"]);
        // Zincati sends neither of the first two.
        curl.args(["-H", "Content-Type:", "-H", "User-Agent:", "-H", "fleet-lock-protocol: true", "--data-binary", body]);
        if let Some(ca) = self.ca {
            curl.arg("--cacert").arg(ca);
        }
        curl.arg(format!("https://{userinfo}@{NAME}:{port}/v1/{endpoint}")).output().unwrap()
    }

    /// The status and the kind of the answer; a kind only where the answer has one.
    fn ask(&self, userinfo: &str, endpoint: &str, group: &str) -> (u16, Option<String>) {
        let output = self.run(userinfo, endpoint, group);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        (status.parse().unwrap(), body["kind"].as_str().map(str::to_owned))
    }

    #[track_caller]
    fn approved(&self, endpoint: &str) {
        let (status, kind) = self.ask(USERINFO, endpoint, "default");
        assert_eq!(status, 200, "{kind:?}");
    }
}

#[test]
fn curl_gets_its_answers_over_tls_with_a_credential_in_the_url() {
    let (cluster, [one]) = cluster_of();
    let file = cluster.folder().join("credentials.yaml");
    std::fs::write(&file, CREDENTIALS).unwrap();
    let start = cluster.server(&binary()).arg("--tls=bootstrap").arg("--pre-reboot-wait=30s");
    let server = start.arg("--auth-file").arg(file.to_str().unwrap()).start();
    let map = cluster.admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/reboot-manager-ca")).ok();
    let ca = cluster.folder().join("ca.crt");
    std::fs::write(&ca, map["data"]["ca.crt"].as_str().unwrap()).unwrap();
    let curl = Curl { server: server.address.parse().unwrap(), ca: Some(&ca), machine: &one };

    curl.approved("steady-state");
    one.is_in_service(&cluster);

    cluster.fleet.deployment("shop", "web", 3, Placement::On("n1"));
    cluster.wait_for_running("n1", 3);
    curl.approved("pre-reboot");
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
    assert!(cluster.is_cordoned("n1"));
    assert_eq!(cluster.holders(), ["n1"]);
    cluster.fleet.reboot("n1");
    curl.approved("steady-state");
    one.is_in_service(&cluster);

    for userinfo in ["workers:wrong", "workers", "others:p%40ss%2Fword%3A9"] {
        assert_eq!(curl.ask(userinfo, "pre-reboot", "default"), (401, Some("unauthorized".to_owned())), "{userinfo}");
    }
    assert_eq!(curl.ask(USERINFO, "pre-reboot", "other"), (403, Some("forbidden_group".to_owned())));
    let without_ca = Curl { ca: None, ..curl }.run(USERINFO, "pre-reboot", "default");
    assert_eq!(without_ca.status.code(), Some(60), "a client that does not know the CA must refuse the certificate");
    assert!(cluster.holders().is_empty());
}
