//! curl, which shares no code with the program or its tests, sends what Zincati sends to the whole program: TLS with the cluster's CA, and a
//! credential in the URL.

use std::process::{Command, Output};

use serde_json::Value;
use test_cluster::Zincati;
use test_cluster::objects::Placement;

use super::certificate::{cluster_ip, published};
use super::{Machine, binary, cluster_of, write};

const CREDENTIALS: &str = "credentials:\n- {user: workers, password: p@ss/word:9, groups: [default]}\n";

/// The credential as a URL has it.
const USERINFO: &str = "workers:p%40ss%2Fword%3A9";

/// curl on one machine.
struct Curl<'a> {
    /// A name or an address of the Service, which is in the certificate.
    host: &'a str,
    server: &'a str,
    machine: &'a Machine,
    /// More arguments: which CA and which versions of TLS it accepts.
    tls: &'a [&'a str],
}

impl Curl<'_> {
    /// Sends Zincati's request; as there, curl offers HTTP/2 and TLS 1.2 or later.
    fn run(&self, userinfo: &str, endpoint: &str, group: &str) -> Output {
        let mut agent = Zincati::new(self.host, &self.machine.id);
        agent.group = group.to_owned();
        let request = String::from_utf8(agent.request(endpoint)).unwrap();
        let (_head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-q", "--silent", "--show-error", "--max-time", "60", "--http2", "--noproxy", "*"]);
        // Only the place to which the connection goes is changed.
        curl.args(["--connect-to", &format!("{}:443:{}", self.host, self.server), "--write-out", "\n%{http_code}"]);
        // Zincati sends neither of the first two.
        curl.args(["-H", "Content-Type:", "-H", "User-Agent:", "-H", "fleet-lock-protocol: true", "--data-binary", body]);
        curl.args(self.tls).arg(format!("https://{userinfo}@{}/v1/{endpoint}", self.host)).output().unwrap()
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
    let file = write(&cluster, "credentials.yaml", CREDENTIALS);
    let start = cluster.server(&binary()).arg("--tls=bootstrap").arg("--pre-reboot-wait=30s");
    let server = start.arg("--auth-file").arg(&file).start();
    let trust = ["--cacert", &write(&cluster, "ca.crt", published(&cluster)["ca.crt"].as_str().unwrap())];
    let curl = Curl { host: "reboot-manager.reboot-manager.svc", server: &server.address, machine: &one, tls: &trust };

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
    let without_ca = Curl { tls: &[], ..curl }.run(USERINFO, "pre-reboot", "default");
    assert_eq!(without_ca.status.code(), Some(60), "a client that does not know the CA must refuse the certificate");
    assert!(cluster.holders().is_empty());

    let ip = cluster_ip(&cluster);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
    for version in ["1.2", "1.3"] {
        let only = [trust[0], trust[1], &format!("--tlsv{version}"), "--tls-max", version];
        Curl { host: &host, tls: &only, ..curl }.approved("steady-state");
    }
}
