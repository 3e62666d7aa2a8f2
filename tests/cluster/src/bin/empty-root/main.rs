//! Runs the static program as a container without a base image does: in a root that holds only the program and the mounts of a
//! kubelet, read-only, as uid 65532. The API server is simulated, behind a proxy with TLS, and is known by name only.
//!
//! Usage, as root and in a new mount namespace: `unshare --mount empty-root PROGRAM MANIFEST [EMULATOR]`; scripts/build-static
//! does that. An emulator is a static program that runs programs of another architecture.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "it ends when something is not as expected")]

mod names;

use std::path::Path;
use std::process::Command;

use test_cluster::certificate::Authority;
use test_cluster::cluster::{NAMESPACE, SOON};
use test_cluster::empty_root::{EmptyRoot, USER};
use test_cluster::fleet::Fleet;
use test_cluster::secured::Secured;
use test_cluster::server::Start;
use test_cluster::wait::wait_for;
use test_cluster::{Proxy, Simulated, apply};

use names::Names;

/// Value of `KUBERNETES_SERVICE_HOST`; the name exists only with the suffix of a pod's search list.
const HOST: &str = "kubernetes.default.svc";
const MACHINE_ID: &str = "1c09ca98649c4c7abc779cd04c96812e";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, emulator @ ..] = arguments.as_slice() else { panic!("usage: empty-root PROGRAM MANIFEST [EMULATOR]") };
    let manifest = std::fs::read_to_string(manifest).expect("the manifest");
    let root = EmptyRoot::with(Path::new(program), emulator.first().map(Path::new));
    says_its_version(&root);

    let authority = Authority::new();
    let cluster = Simulated::start();
    let admin = cluster.admin();
    apply(&admin, &manifest, &["Deployment", "PodDisruptionBudget"]);
    Fleet::new(admin.clone()).node("n1", MACHINE_ID, "boot").create();
    let proxy = Proxy::secured(&admin, &authority.issue(&["127.0.0.1", HOST]));
    let names = Names::serve(&format!("{HOST}.cluster.local"));
    root.mount(&cluster.token_for(NAMESPACE, "reboot-manager"), &authority.pem(), NAMESPACE);
    root.is_read_only();

    let port = proxy.address().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
    let server = Start::in_root(&root, HOST, port).arg("--tls=bootstrap").start();
    has_the_user(server.pid());
    wait_for("/readyz", SOON, || {
        let (status, why) = server.page("/readyz");
        if status == 200 { Ok(()) } else { Err(why) }
    });
    assert!(names.asked() > 0, "the name of the API server was never asked for");

    let answer = Secured::new(&admin).call(&server.address, "steady-state", MACHINE_ID);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("steady_state"), "{answer}");
    let node = admin.get("/api/v1/nodes/n1").ok();
    assert_eq!(node["metadata"]["annotations"]["rebootmanager/status"], "Ready", "{node}");

    server.signal("TERM");
    assert_eq!(server.exit_code(SOON), Some(0));
    println!("empty root: {program} ran as uid {}, resolved {HOST}, checked a node in over TLS and stopped", USER);
}

/// Runs `--version` in a root without any mounts.
fn says_its_version(root: &EmptyRoot) {
    let command = root.command();
    let output = Command::new(&command[0]).args(&command[1..]).arg("--version").output().expect("chroot");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("reboot-manager "), "{output:?}");
}

/// Checks the user of the process in `/proc`.
fn has_the_user(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for row in ["Uid:", "Gid:"] {
        let line = status.lines().find(|line| line.starts_with(row)).unwrap();
        let ids: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(ids, [&USER.to_string()[..]; 4], "{line}");
    }
}
