//! Other FleetLock servers, asked for the same on the same control plane, in turn in one run.
//!
//! Their client library holds itself to five calls a second, with ten saved up. So each request is made when they have rested, as nodes
//! call them in reality, and their times are their best.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use test_cluster::certificate::self_signed;
use test_cluster::cluster::{NAMESPACE, SOON};
use test_cluster::fleet::{machine_id, zincati_id};
use test_cluster::objects;
use test_cluster::wait::wait_for;
use test_cluster::zincati::Answer;
use test_cluster::{Proxy, TestCluster, Zincati, usage};

use crate::requests::{Row, calls, time};

/// Rounds of each request.
const ROUNDS: usize = 8;

/// Between two requests: ten calls' worth.
const REST: Duration = Duration::from_millis(2200);

/// Between two requests for a reboot that is not granted yet.
const AGAIN: Duration = Duration::from_millis(20);

const STARTS: usize = 3;

/// Another server, and its program.
pub(super) struct Peer {
    kind: Kind,
    program: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heathcliff26,
    Poseidon,
}

/// What was seen of one at one number of nodes.
pub(super) struct Seen {
    name: &'static str,
    nodes: usize,
    rows: Vec<Row>,
    bytes: u64,
    peak_kib: u64,
    start: f64,
}

/// A running one; killed when dropped.
pub(super) struct Running {
    process: Child,
    address: String,
}

impl Peer {
    /// From `poseidon=FILE` or `heathcliff26=FILE`.
    pub(super) fn of(word: &str) -> Self {
        let (kind, program) = match word.split_once('=') {
            Some(("poseidon", program)) => (Kind::Poseidon, program),
            Some(("heathcliff26", program)) => (Kind::Heathcliff26, program),
            _ => panic!("{word}: it must be poseidon=FILE or heathcliff26=FILE"),
        };
        Self { kind, program: PathBuf::from(program) }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Heathcliff26 => "heathcliff26/fleetlock",
            Kind::Poseidon => "poseidon/fleetlock",
        }
    }

    pub(super) fn measure(&self, cluster: &TestCluster, nodes: usize) -> Seen {
        eprintln!("bench: measuring {} at {nodes} nodes", self.name());
        allow_everything(cluster);
        let direct = || self.start(cluster, cluster.admin.base(), cluster.ca().as_deref());
        let mut starts: Vec<Duration> = (0..STARTS).map(|_| time(|| drop(direct()))).collect();
        starts.sort();
        // Their client library sends its token over TLS only.
        let (made, ca) = (self_signed(), cluster.folder().join("proxy.pem"));
        std::fs::write(&ca, &made.pem).expect("the certificate is written");
        let proxy = Proxy::secured(&cluster.admin, &made);
        let pair = Pair { seen: self.start(cluster, &format!("https://{}", proxy.address()), Some(&ca)), direct: direct(), proxy };
        // The first grant makes the Lease, without which a check-in may fail.
        pair.direct.grant(10);
        pair.direct.check_in(10);
        pair.seen.check_in(10);
        let mut check_in = Taken::of("check-in that changes nothing");
        check_in.count(&pair, |server| server.check_in(10));
        (0..ROUNDS).for_each(|_| check_in.time(&pair, |server| server.check_in(10)));

        let mut denied = Taken::of("denied pre-reboot");
        pair.direct.grant(30);
        denied.count(&pair, |server| server.deny(31));
        (0..ROUNDS).for_each(|_| denied.time(&pair, |server| server.deny(31)));
        pair.direct.check_in(30);

        let (mut granted, mut back) = (Taken::of("granted pre-reboot of an empty node"), Taken::of("its check-in after the reboot"));
        granted.count(&pair, |server| server.grant(50));
        back.count(&pair, |server| server.check_in(50));
        for node in (51..).take(ROUNDS) {
            granted.time(&pair, |server| server.grant(node));
            cluster.fleet.reboot(&format!("n{node}"));
            back.time(&pair, |server| server.check_in(node));
        }
        Seen {
            name: self.name(),
            nodes,
            rows: [check_in, denied, granted, back].map(Taken::row).into(),
            bytes: std::fs::metadata(&self.program).expect("the program").len(),
            peak_kib: usage::memory_kib(pair.direct.process.id(), "VmHWM:"),
            start: starts[STARTS / 2].as_secs_f64() * 1e3,
        }
    }

    /// Starts it with the API at `base`, and waits until it answers.
    pub(super) fn start(&self, cluster: &TestCluster, base: &str, ca: Option<&Path>) -> Running {
        let kubeconfig = cluster.kubeconfig(base, ca);
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string();
        let mut command = Command::new(&self.program);
        command.env_clear();
        let health = match self.kind {
            Kind::Poseidon => {
                command.env("KUBECONFIG", kubeconfig).env("NAMESPACE", NAMESPACE).args(["-address", &address]);
                "/-/healthy"
            }
            Kind::Heathcliff26 => {
                let file = cluster.folder().join("heathcliff26.yaml");
                let text = json!({
                    "logLevel": "error",
                    "kubernetes": {"kubeconfig": kubeconfig, "drainTimeoutSeconds": 300, "drainRetries": 0},
                    "server": {"listen": address, "ssl": {"enabled": false, "cert": "", "key": ""}},
                    "storage": {"type": "kubernetes", "kubernetes": {"namespace": NAMESPACE}},
                    "groups": {"default": {"slots": 1}},
                });
                std::fs::write(&file, text.to_string()).expect("its configuration is written");
                command.arg("-c").arg(file);
                "/healthz"
            }
        };
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the other server starts");
        let running = Running { process, address };
        wait_for("the other server answers", SOON, || running.is_healthy(health).then_some(()).ok_or("not yet"));
        running
    }
}

/// One server that calls the API server itself, and one whose calls are seen on the proxy.
struct Pair {
    direct: Running,
    seen: Running,
    proxy: Proxy,
}

/// What one kind of request took.
struct Taken {
    what: &'static str,
    times: Vec<Duration>,
    cpu: Duration,
    calls: (usize, usize),
}

impl Taken {
    fn of(what: &'static str) -> Self {
        Self { what, times: Vec::new(), cpu: Duration::ZERO, calls: (0, 0) }
    }

    fn count(&mut self, pair: &Pair, work: impl FnOnce(&Running)) {
        self.calls = calls(&pair.proxy, || work(&pair.seen));
    }

    fn time(&mut self, pair: &Pair, work: impl FnOnce(&Running)) {
        std::thread::sleep(REST);
        let before = usage::cpu_time(pair.direct.process.id());
        self.times.push(time(|| work(&pair.direct)));
        self.cpu += usage::cpu_time(pair.direct.process.id()).saturating_sub(before);
    }

    fn row(self) -> Row {
        Row::of(self.what, &self.times).with_cpu(self.cpu).with_calls(self.calls)
    }
}

impl Running {
    /// The agent of the node of this number.
    fn agent(&self, node: usize) -> Zincati {
        Zincati::new(&self.address, &zincati_id(&machine_id(node)))
    }

    fn check_in(&self, node: usize) {
        let answer = self.agent(node).steady_state();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub(super) fn try_check_in(&self, node: usize) {
        let _ = self.agent(node).send("steady-state").try_answer();
    }

    fn deny(&self, node: usize) {
        let answer = self.agent(node).pre_reboot();
        assert_ne!(answer.status, 200, "{answer:?}");
    }

    fn grant(&self, node: usize) {
        assert!(self.until_granted(node, SOON), "node {node} is never granted its reboot");
    }

    /// Asks until the answer is 200; whether it was within `limit`.
    pub(super) fn until_granted(&self, node: usize, limit: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if matches!(self.agent(node).send("pre-reboot").try_answer(), Some(Answer { status: 200, .. })) {
                return true;
            }
            std::thread::sleep(AGAIN);
        }
        false
    }

    fn is_healthy(&self, path: &str) -> bool {
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        agent.get(format!("http://{}{path}", self.address)).call().is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// They need more rights than the program, and one of them a namespace of its own.
fn allow_everything(cluster: &TestCluster) {
    cluster.fleet.ensure_namespace("fleetlock");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench-peers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "reboot-manager", "namespace": NAMESPACE}],
    });
    let answer = cluster.admin.create(&objects::collection(&binding), &binding);
    assert!(matches!(answer.status, 201 | 409), "{} {}", answer.status, answer.body);
}

/// What was seen of all of them.
pub(super) fn tables(all: &[Seen]) {
    if all.is_empty() {
        return;
    }
    println!(
        "\n| server | request | nodes | ms, median | ms, worst | CPU, ms | API requests | API bytes |\n|---|---|--:|--:|--:|--:|--:|--:|"
    );
    for Seen { name, nodes, rows, .. } in all {
        for row in rows {
            let cpu = row.cpu.map_or_else(String::new, |cpu| format!("{cpu:.0}"));
            let (median, worst) = (row.median(), row.worst());
            println!("| {name} | {} | {nodes} | {median:.1} | {worst:.1} | {cpu} | {} | {} |", row.what, row.requests, row.bytes);
        }
    }
    println!("\n| server | nodes | size, MiB | start to healthy, ms | peak RSS, MiB |\n|---|--:|--:|--:|--:|");
    for Seen { name, nodes, bytes, peak_kib, start, .. } in all {
        let (size, peak) = (*bytes as f64 / f64::from(1 << 20), *peak_kib as f64 / 1024.0);
        println!("| {name} | {nodes} | {size:.1} | {start:.0} | {peak:.1} |");
    }
}
