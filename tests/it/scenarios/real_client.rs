//! An agent that is built as Zincati is, against the whole program: TLS with the cluster's CA, a credential in the URL.

use reqwest::{Certificate, StatusCode};
use test_cluster::objects::Placement;

use super::{NAMESPACE, binary, cluster, machines};
use crate::agent::{Agent, client};

const CREDENTIALS: &str = "credentials:\n- {user: workers, password: p@ss/word:9, groups: [default]}\n";

/// The credential as it stands in a URL.
const USERINFO: &str = "workers:p%40ss%2Fword%3A9";

/// A name of the Service, which is in the certificate.
const NAME: &str = "reboot-manager.reboot-manager.svc";

#[test]
fn an_agent_built_on_reqwest_gets_its_answers_over_tls_with_its_credential() {
    let cluster = cluster();
    let [one] = machines(&cluster);
    let file = cluster.folder().join("credentials.yaml");
    std::fs::write(&file, CREDENTIALS).unwrap();
    let start = cluster.server(&binary()).arg("--tls=bootstrap").arg("--pre-reboot-wait=30s");
    let server = start.arg("--auth-file").arg(file.to_str().unwrap()).start();
    let ca = cluster.admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/reboot-manager-ca")).ok();
    let ca = Certificate::from_pem(ca["data"]["ca.crt"].as_str().unwrap().as_bytes()).unwrap();
    let address = server.address.parse().unwrap();
    let trusting = || client().add_root_certificate(ca.clone()).resolve(NAME, address);
    let base = |userinfo: &str| format!("https://{userinfo}@{NAME}:{}/", address.port());

    let agent = Agent::new(&base(USERINFO), trusting(), &one.id, "default");
    agent.ask("v1/steady-state").unwrap().unwrap();
    one.is_in_service(&cluster);

    cluster.fleet.deployment("shop", "web", 3, Placement::On("n1"));
    cluster.wait_for_running("n1", 3);
    agent.ask("v1/pre-reboot").unwrap().unwrap();
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
    assert!(cluster.is_cordoned("n1"));
    assert_eq!(cluster.holders(), ["n1"]);
    cluster.fleet.reboot("n1");
    agent.ask("v1/steady-state").unwrap().unwrap();
    one.is_in_service(&cluster);

    let refused = |base: &str, group: &str| Agent::new(base, trusting(), &one.id, group).ask("v1/pre-reboot").unwrap().unwrap_err();
    for userinfo in ["workers:wrong", "workers", "strangers:p%40ss%2Fword%3A9"] {
        let told = refused(&base(userinfo), "default");
        assert_eq!((told.status, told.kind.as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"), "{userinfo}: {}", told.value);
    }
    let told = refused(&base(USERINFO), "other");
    assert_eq!((told.status, told.kind.as_str()), (StatusCode::FORBIDDEN, "forbidden_group"), "{}", told.value);
    let stranger = Agent::new(&base(USERINFO), client().resolve(NAME, address), &one.id, "default");
    let error = stranger.ask("v1/pre-reboot").expect_err("a client that does not know the CA must not be satisfied");
    assert!(error.is_connect(), "{error:?}");
    assert!(cluster.holders().is_empty());
}
