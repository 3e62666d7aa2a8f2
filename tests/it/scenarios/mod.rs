//! What must hold on a cluster, one file a promise. Each scenario runs the built program, with the rights of
//! kubernetes/deployment.yaml and no others, on the cluster that `CLUSTER` chooses: simulated (the default) or real.

mod access;
mod came_back;
mod certificate;
mod control_plane;
mod cordon;
mod crash;
pub(crate) mod document_commands;
mod drain;
mod evidence;
mod faults;
mod foreign_client;
mod given_back;
mod hang_up;
mod hardening;
mod identity;
mod install;
mod lock;
mod log;
mod moving;
mod outage;
mod overdue;
mod own_pod;
mod protocol;
mod queue;
mod reboot;
mod watch;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reboot_manager::cluster::MachineId;
use reboot_manager::fleetlock::zincati_id;
use serde_json::{Value, json};
use test_cluster::objects::Placement;
use test_cluster::proxy::Passed;
use test_cluster::server::Start;
use test_cluster::zincati::{Answer, Pending, send};
use test_cluster::{Server, TestCluster, Zincati, cluster};

pub(crate) use test_cluster::cluster::SOON;

/// The manifest that users apply.
pub(crate) const MANIFEST: &str = include_str!("../../../kubernetes/deployment.yaml");

/// The program under test: `REBOOT_MANAGER_BINARY`, else the one built with these tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("REBOOT_MANAGER_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_reboot-manager")), PathBuf::from)
}

/// An empty cluster for the running test. The test's name is written to the file that `SCENARIOS_RUN` names, so that
/// their runner can see that none was left out.
pub(crate) fn cluster() -> TestCluster {
    let cluster = TestCluster::new(MANIFEST);
    if let Some(path) = std::env::var_os("SCENARIOS_RUN") {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // In one write: other scenarios add their names at the same time.
        file.write_all(format!("{name}\n").as_bytes()).unwrap();
    }
    cluster
}

/// A cluster with the nodes `n1`, `n2`, …
pub(crate) fn cluster_of<const N: usize>() -> (TestCluster, [Machine; N]) {
    let cluster = cluster();
    let machines = machines(&cluster);
    (cluster, machines)
}

/// A cluster with the nodes `n1`, `n2`, … and a server that holds requests open for `wait` (as `20s`).
pub(crate) fn served<const N: usize>(wait: &str) -> (TestCluster, [Machine; N], Server) {
    let (cluster, machines) = cluster_of();
    let server = server(&cluster, wait);
    (cluster, machines, server)
}

/// Creates a pod without an owner on `node`, and waits until it is the one pod that runs there.
pub(crate) fn running_pod(cluster: &TestCluster, name: &str, node: &str) {
    cluster.fleet.bare_pod("shop", name, Placement::On(node));
    cluster.wait_for_running(node, 1);
}

/// Creates a Deployment with `pods` pods on `node`, and a budget that refuses each eviction. Waits until the pods run.
pub(crate) fn blocked(cluster: &TestCluster, app: &str, pods: u32, node: &str) {
    cluster.fleet.deployment("shop", app, pods, Placement::On(node));
    cluster.fleet.budget("shop", app, pods, app);
    cluster.wait_for_running(node, pods as usize);
}

/// Removes the budget and the Deployment of [`blocked`].
pub(crate) fn unblock(cluster: &TestCluster, app: &str) {
    for kind in ["policy/v1/namespaces/shop/poddisruptionbudgets", "apps/v1/namespaces/shop/deployments"] {
        cluster.admin.delete(&format!("/apis/{kind}/{app}"), None).ok();
    }
}

/// Waits until `/readyz` answers `status` with a page that contains `text`, and returns the page.
#[track_caller]
pub(crate) fn wait_for_readyz(server: &Server, status: u16, text: &str) -> String {
    test_cluster::wait::wait_for(&format!("/readyz answers {status} {text:?}"), SOON * 2, || match server.page("/readyz") {
        (code, page) if code == status && page.contains(text) => Ok(page),
        (code, page) => Err(format!("{code} {page}")),
    })
}

/// A node and its agent.
pub(crate) struct Machine {
    pub(crate) node: String,
    pub(crate) id: String,
}

/// The calls that `act` causes, and perhaps some of the reconciler.
pub(crate) fn calls(cluster: &TestCluster, act: impl FnOnce()) -> Vec<Passed> {
    let before = cluster.proxy.log().len();
    act();
    cluster.proxy.log().split_off(before)
}

/// The number of calls with this verb and resource.
pub(crate) fn count(calls: &[Passed], verb: &str, resource: &str) -> usize {
    calls.iter().filter(|call| (call.verb.as_str(), call.resource.as_str()) == (verb, resource)).count()
}

/// Makes nodes `n1`, `n2`, … Each is Ready and takes pods.
pub(crate) fn machines<const N: usize>(cluster: &TestCluster) -> [Machine; N] {
    std::array::from_fn(|position| machine(cluster, &format!("n{}", position + 1), position + 1))
}

pub(crate) fn machine_id(number: usize) -> String {
    format!("{number:032x}")
}

/// Makes a node with the machine-id number `number`.
pub(crate) fn machine(cluster: &TestCluster, node: &str, number: usize) -> Machine {
    let machine_id = machine_id(number);
    cluster.fleet.node(node, &machine_id, &format!("boot-of-{node}")).create();
    Machine { node: node.to_owned(), id: zincati_id(MachineId::parse(&machine_id).unwrap()).to_string() }
}

/// A server that holds requests open for `wait` (as `20s`).
pub(crate) fn server(cluster: &TestCluster, wait: &str) -> Server {
    cluster.server(&binary()).arg("--pre-reboot-wait").arg(wait).start()
}

/// Sends a request of any form.
pub(crate) fn ask(server: &Server, head: &str, body: &str) -> Answer {
    let text = format!("{head}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    send(&server.address, text.as_bytes()).answer()
}

/// The names of the pods for which an eviction was asked, in order, one entry an eviction.
pub(crate) fn evicted(cluster: &TestCluster) -> Vec<String> {
    let log = cluster.proxy.log();
    let evictions = log.iter().filter(|call| call.resource == "pods/eviction");
    evictions.filter_map(|call| call.path.split('/').nth(6).map(str::to_owned)).collect()
}

/// The documents of a file of YAML.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// The answer of an API server that has no such object.
pub(crate) fn not_found(resource: &str, name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("{resource} \"{name}\" not found"), "details": {"name": name, "kind": resource}})
}

/// Counts the threads of a process with this name.
pub(crate) fn threads(pid: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|known| known.trim_end() == name).count()
}

/// Writes a file to the folder of the cluster, and returns its path.
pub(crate) fn write(cluster: &TestCluster, name: &str, text: &str) -> String {
    let path = cluster.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Sets the clock of the servers of [`shifted`] to `offset` seconds from now, such as `+900`.
pub(crate) fn set_clock(cluster: &TestCluster, offset: &str) {
    write(cluster, "clock", offset);
}

/// A server with the clock that [`set_clock`] sets. A static program cannot be shown another time, so the program is the ordinary one.
pub(crate) fn shifted(cluster: &TestCluster) -> Start {
    cluster.server(Path::new(env!("CARGO_BIN_EXE_reboot-manager"))).clock(&cluster.folder().join("clock"))
}

/// Waits until the clock shows another second: creation times have whole seconds.
pub(crate) fn next_second() {
    let now = test_cluster::objects::now;
    let before = now();
    test_cluster::wait::wait_for("the second is over", SOON, || if now() > before { Ok(()) } else { Err("not yet") });
}

impl Machine {
    pub(crate) fn agent(&self, server: &Server) -> Zincati {
        server.zincati(&self.id)
    }

    /// Asks until the reboot is granted, as an agent does, only faster.
    #[track_caller]
    pub(crate) fn until_approved(&self, server: &Server) -> Answer {
        test_cluster::wait::wait_for(&format!("{} is approved", self.node), SOON * 2, || {
            let answer = self.agent(server).pre_reboot();
            if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
    }

    /// Asks once, and waits until the drain has begun.
    #[track_caller]
    pub(crate) fn until_draining(&self, server: &Server) -> Pending {
        let pending = self.agent(server).send("pre-reboot");
        server.wait_for_log(&format!("node {}: draining", self.node), SOON);
        pending
    }

    /// Checks in until the answer is 200: a request that is still decided may overtake a check-in.
    #[track_caller]
    pub(crate) fn until_checked_in(&self, server: &Server) {
        test_cluster::wait::wait_for(&format!("{} checks in", self.node), SOON * 2, || {
            match self.agent(server).send("steady-state").try_answer() {
                Some(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Asks until the answer is that a pod is kept on the node, with this text.
    #[track_caller]
    pub(crate) fn until_blocked(&self, server: &Server, text: &str) {
        self.until_refused(server, "drain_blocked", text);
    }

    /// Asks until the answer is of this kind and has this text, and returns its message.
    #[track_caller]
    pub(crate) fn until_refused(&self, server: &Server, kind: &str, text: &str) -> String {
        test_cluster::wait::wait_for(&format!("{} is answered {kind} {text:?}", self.node), SOON, || {
            let answer = self.agent(server).pre_reboot();
            if answer.kind == kind && answer.value.contains(text) { Ok(answer.value) } else { Err(format!("{answer:?}")) }
        })
    }

    /// Asks until it is refused, because of a node marked by hand, with neither a write nor a list: the mark has come to the
    /// server by its watch. Before it has, the node may take a slot and be in the way of the other, too; then it gives that back.
    #[track_caller]
    pub(crate) fn until_spared(&self, cluster: &TestCluster, server: &Server) -> Answer {
        test_cluster::wait::wait_for(&format!("{} is spared the mark", self.node), SOON * 2, || {
            let mut answer = None;
            let calls = calls(cluster, || answer = Some(self.agent(server).pre_reboot().expect(404, "other_rebooting")));
            if calls.iter().all(|call| call.verb == "get") {
                return answer.ok_or_else(String::new);
            }
            self.agent(server).steady_state().expect(200, "steady_state");
            Err(format!("{calls:#?}"))
        })
    }

    /// Checks that the node is refused while `marked` has the annotation of a reboot.
    #[track_caller]
    pub(crate) fn is_refused_beside(&self, cluster: &TestCluster, marked: &str, server: &Server) -> Answer {
        cluster.set_status(marked, "Rebooting");
        let answer = self.agent(server).pre_reboot().expect(404, "other_rebooting");
        cluster.set_status(marked, "Ready");
        answer
    }

    /// Checks that a held request is approved, and that the node is empty then.
    #[track_caller]
    pub(crate) fn is_granted(&self, cluster: &TestCluster, held: Pending) {
        held.answer().expect(200, "approved");
        assert_eq!(self.pods(cluster), Vec::<String>::new());
    }

    /// Reboots for real: another boot, then the agent checks in.
    #[track_caller]
    pub(crate) fn comes_back(&self, cluster: &TestCluster, server: &Server) {
        cluster.fleet.reboot(&self.node);
        self.agent(server).steady_state().expect(200, "steady_state");
    }

    /// Nothing of ours is left on the node.
    #[track_caller]
    pub(crate) fn is_in_service(&self, cluster: &TestCluster) {
        let node = cluster.fleet.read_node(&self.node);
        let annotations = &node["metadata"]["annotations"];
        assert_eq!(annotations["rebootmanager/status"], "Ready", "{}", self.node);
        assert_eq!(annotations.get("rebootmanager/cordon"), None, "{}", self.node);
        assert!(!cluster.is_cordoned(&self.node), "{} is cordoned", self.node);
    }

    /// The names of its pods that are not of a DaemonSet, static or finished.
    pub(crate) fn pods(&self, cluster: &TestCluster) -> Vec<String> {
        let goes = |pod: &Value| {
            let owner = pod["metadata"]["ownerReferences"][0]["kind"].as_str().unwrap_or_default();
            let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            !matches!(owner, "DaemonSet" | "Node") && !finished
        };
        let pods = cluster.fleet.pods_on(&self.node);
        pods.iter().filter(|pod| goes(pod)).filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }
}

/// Long enough for a request to be decided, short enough to wait for.
pub(crate) const MOMENT: Duration = Duration::from_millis(1500);

pub(crate) use cluster::NAMESPACE;
