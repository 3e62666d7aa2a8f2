//! Follows the documents: every command in them is run, in their order, on the real control plane.
//!
//! A block of shell is run unless the line above it says where it is run or why it cannot be, as `<!-- not run here: … -->`. The
//! program itself runs beside the cluster, with the rights of its ServiceAccount, because no kubelet starts containers.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use test_cluster::{Server, TestCluster};

use super::certificate::{cluster_ip, published};
use super::install::uninstall;
use super::{Machine, NAMESPACE, binary, blocked, cluster, cluster_of, machine_id, machines, write};
use crate::markdown::{Block, blocks};
use crate::repository::read;

/// In this order; the last one takes everything away.
pub(crate) const DOCUMENTS: [&str; 11] = [
    "README.md",
    "docs/settings.md",
    "docs/metrics.md",
    "docs/protocol.md",
    "docs/lock.md",
    "docs/fedora-coreos.md",
    "docs/flatcar.md",
    "docs/tls.md",
    "docs/security.md",
    "docs/moving.md",
    "docs/kubernetes.md",
];

/// The address that the documents take for the Service's.
const ADDRESS: &str = "10.0.0.78";

/// Maximum time of a block. Each has a shorter time limit of its own.
const BLOCK_SECONDS: &str = "180";

#[test]
fn the_commands_of_the_documents_work() {
    let cluster = cluster();
    let all: Vec<Block> = DOCUMENTS.into_iter().flat_map(blocks).filter(|block| block.language == "sh").collect();
    let run: Vec<&Block> = all.iter().filter(|block| block.remark.is_none()).collect();
    assert!(run.len() >= 15, "{} blocks", run.len());
    if cluster.kubectl().is_none() {
        eprintln!("CLUSTER=simulated has no kubectl: {} blocks were read and none was run", run.len());
        return;
    }
    let [one, _two, _three] = machines(&cluster);
    Walk::begin(cluster, one).through(&run);
}

/// Follows the documents with one cluster and one replica.
struct Walk {
    cluster: TestCluster,
    server: Option<Server>,
    machine: Machine,
    /// Folder in which the commands run, with the files of a checkout.
    folder: PathBuf,
}

impl Walk {
    fn begin(cluster: TestCluster, machine: Machine) -> Self {
        uninstall(&cluster);
        old_servers(&cluster);
        let folder = cluster.folder().join("walk");
        std::fs::create_dir(&folder).unwrap();
        symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes"), folder.join("kubernetes")).unwrap();
        std::fs::write(folder.join("credentials.yaml"), credentials()).unwrap();
        Self { cluster, server: None, machine, folder }
    }

    fn through(mut self, blocks: &[&Block]) {
        let mut failed = Vec::new();
        for block in blocks {
            let output = self.run(&block.text);
            if !output.status.success() {
                failed.push(format!("{}:\n{}\n{output:?}", block.place, block.text));
            }
            if let Some((_, rest)) = block.before.split_once("must print `") {
                let wanted = rest.split('`').next().unwrap();
                let printed = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(printed.lines().any(|line| line.trim_end() == wanted), "{} must print {wanted}: {printed}", block.place);
            }
            if self.server.is_none() && failed.is_empty() {
                self.serve();
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
        self.is_gone();
    }

    /// Runs a block unchanged, but for the address.
    fn run(&self, text: &str) -> Output {
        let kubectl = self.cluster.kubectl().unwrap();
        let programs = PathBuf::from(kubectl.get_program()).parent().unwrap().display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        let mut command = Command::new("timeout");
        command.args([BLOCK_SECONDS, "bash", "-euo", "pipefail", "-c"]).arg(text.replace(ADDRESS, &self.cluster_ip()));
        command.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", path).env("CURL_HOME", &self.folder).current_dir(&self.folder).output().unwrap()
    }

    /// The program that the Deployment would start, and a curl that reaches it at the address of the Service.
    fn serve(&mut self) {
        let token = self.run(&format!("kubectl create token -n {NAMESPACE} reboot-manager"));
        self.cluster.token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
        let server = self.cluster.server(&binary()).arg("--tls").arg("bootstrap").start();
        let file = write(&self.cluster, "trusted.crt", published(&self.cluster)["ca.crt"].as_str().unwrap());
        let address = self.cluster_ip();
        let settings = format!("connect-to = \"{address}:443:{}\"\ncacert = \"{}\"\n", server.address, file);
        std::fs::write(self.folder.join(".curlrc"), settings).unwrap();
        // One reboot, so that the documents have something to show; by a replica that speaks as the agent does.
        let as_replica = self.cluster.server(&binary()).env("POD_NAMESPACE", NAMESPACE).env("POD_SERVICE_ACCOUNT", "reboot-manager");
        let plain = as_replica.start();
        self.machine.until_approved(&plain);
        self.machine.comes_back(&self.cluster, &plain);
        self.server = Some(server);
    }

    fn cluster_ip(&self) -> String {
        let service = self.cluster.admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/services/reboot-manager"));
        service.body["spec"]["clusterIP"].as_str().unwrap_or(ADDRESS).to_owned()
    }

    /// Checks the end state of docs/kubernetes.md.
    fn is_gone(&self) {
        assert_eq!(self.cluster.admin.get(&format!("/api/v1/namespaces/{NAMESPACE}")).status, 404);
        for node in ["n1", "n2"] {
            let annotations = &self.cluster.fleet.read_node(node)["metadata"]["annotations"];
            assert!(annotations["rebootmanager/status"].is_null(), "{annotations}");
        }
    }
}

/// The servers from which docs/moving.md moves, with the names of their own manifests.
fn old_servers(cluster: &TestCluster) {
    cluster.fleet.ensure_namespace("fleetlock");
    for (namespace, label) in [("default", "name"), ("fleetlock", "app.kubernetes.io/name")] {
        let container = json!({"name": "fleetlock", "image": "example.org/fleetlock"});
        let labels: Value = json!({label: "fleetlock"});
        cluster.fleet.create(
            &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fleetlock", "namespace": namespace},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}),
        );
    }
}

/// The script in the Butane file for Flatcar, unchanged.
#[test]
fn the_script_for_flatcar_ends_well_on_200_and_on_nothing_else() {
    let (cluster, [one, two]) = cluster_of();
    let server = cluster.server(&binary()).arg("--tls").arg("bootstrap").start();
    let address = &cluster_ip(&cluster);
    let trusted = write(&cluster, "trusted.crt", published(&cluster)["ca.crt"].as_str().unwrap());
    write(&cluster, ".curlrc", &format!("connect-to = \"{address}:443:{}\"\n", server.address));
    let script = flatcar_script().replace(ADDRESS, address).replace("/etc/reboot-manager/ca.crt", &trusted);
    let ask = |machine_id: &str, endpoint: &str| {
        let script = write(&cluster, "ask", &script.replace("/etc/machine-id", &write(&cluster, "machine-id", &format!("{machine_id}\n"))));
        let output = Command::new("bash").args([&script, endpoint]).env("CURL_HOME", cluster.folder()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let ids = [1, 2].map(machine_id);
    assert!(ask(&ids[0], "steady-state").0);
    let (granted, text) = ask(&ids[0], "pre-reboot");
    assert!(granted && text.contains("approved"), "{text}");
    let (granted, text) = ask(&ids[1], "pre-reboot");
    assert!(!granted && text.contains("slots_taken"), "{text}");
    assert_eq!(cluster.holders(), [one.node.as_str()]);
    drop(server);
    assert!(!ask(&ids[1], "pre-reboot").0, "{} gets no answer", two.node);
}

/// The commands of the README, with `sudo` and the machine-id of the node.
#[test]
fn a_drain_is_cancelled_by_the_commands_of_the_readme() {
    let (cluster, [one]) = cluster_of();
    let server = cluster.server(&binary()).arg("--pre-reboot-wait=0s").start();
    blocked(&cluster, "web", 1, "n1");
    one.until_blocked(&server, "shop/web");
    assert!(cluster.is_cordoned("n1"));

    let block = blocks("README.md").into_iter().find(|block| block.text.contains("stop zincati.service")).unwrap();
    let commands = block.text.replace("/etc/machine-id", &write(&cluster, "machine-id", &format!("{:032x}\n", 1)));
    let commands =
        commands.replace("sudo systemctl stop zincati.service", "true").replace("https://", "http://").replace(ADDRESS, &server.address);
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &commands]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("200 OK"), "{printed}");
    one.is_in_service(&cluster);
    cluster.wait_for_no_holder();
}

/// The lines of /opt/bin/reboot-manager-ask in docs/flatcar.md.
fn flatcar_script() -> String {
    let document = read("docs/flatcar.md");
    let lines = document.lines().skip_while(|line| line.trim() != "#!/bin/bash").take_while(|line| line.starts_with("          "));
    lines.map(|line| format!("{}\n", &line[10..])).collect()
}

/// The file in docs/security.md, unchanged.
#[test]
fn the_credentials_of_the_documents_are_understood() {
    let (cluster, [one, _two]) = cluster_of();
    let file = write(&cluster, "credentials.yaml", &credentials());
    let server = cluster.server(&binary()).arg("--auth-file").arg(&file).start();
    one.agent(&server).steady_state().expect(401, "unauthorized");
    one.agent(&server).with_credential("workers:6c1f0b0d5f9e4c3ba4e0").steady_state().expect(200, "steady_state");
    let other = one.agent(&server).with_credential("worker-7:0f6a2e77c1d84e6f9b3d").steady_state();
    assert_eq!((other.status, other.kind.as_str()), (403, "forbidden_node"));
}

fn credentials() -> String {
    blocks("docs/security.md").into_iter().find(|block| block.text.starts_with("credentials:")).unwrap().text
}
