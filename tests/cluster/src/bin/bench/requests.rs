//! Measures the cost of one request: time, processor, calls to Kubernetes and their bytes.
//!
//! Times and processor come from a server that calls the API server directly, calls and bytes from one behind a proxy.

use std::path::Path;
use std::time::{Duration, Instant};

use test_cluster::cluster::SOON;
use test_cluster::fleet::machine_id;
use test_cluster::wait::wait_for;
use test_cluster::{Proxy, Server, TestCluster};

/// Rounds of a cheap request: the processor's clock has steps of 10 ms, so the error of one request is 10 ms divided by this.
const MANY: usize = 200;

/// Rounds of a request that uses up a node.
const FEW: usize = 25;

/// Pause between grants. An API server that serves consistent lists from its cache asks etcd for its progress once in 100 ms. Grants in
/// quick succession wait for that; real reboots never do.
const APART: Duration = Duration::from_millis(250);

/// Number of starts that are measured.
const STARTS: usize = 5;

/// Measurements at one number of nodes.
pub(super) struct At {
    pub(super) nodes: usize,
    pub(super) rows: Vec<Row>,
    pub(super) peak_kib: u64,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    /// Median milliseconds from the start until `/readyz` answers 200.
    pub(super) ready: f64,
    /// Median milliseconds from the start until the first check-in is answered.
    pub(super) answered: f64,
}

/// Measurements of one kind of request.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// Sorted.
    milliseconds: Vec<f64>,
    /// Milliseconds of processor time of the server for each request.
    pub(super) cpu: Option<f64>,
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

/// Server that calls the API server directly, and server behind a proxy.
struct Pair<'a> {
    cluster: &'a TestCluster,
    direct: Server,
    seen: Server,
    proxy: Proxy,
}

pub(super) fn measure(cluster: &TestCluster, program: &Path, nodes: usize) -> At {
    let (ready, answered) = starts(cluster, program);
    let proxy = Proxy::to(&cluster.admin);
    let seen = cluster.server_through(&proxy, program).start();
    let direct = quiet_server(cluster, program);
    let pair = Pair { cluster, direct, seen, proxy };
    let mut rows = vec![pair.check_in()];
    rows.extend(pair.denied());
    rows.extend(pair.granted());
    let (threads, descriptors) = (pair.direct.threads(), pair.direct.descriptors());
    let peak_kib = pair.direct.peak_rss_kib();
    drop(pair);
    rows.push(list_of_all(cluster));
    At { nodes, rows, peak_kib, threads, descriptors, ready, answered }
}

impl Row {
    fn of(what: &'static str, times: &[Duration]) -> Self {
        let mut milliseconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        milliseconds.sort_by(f64::total_cmp);
        Self { what, milliseconds, cpu: None, requests: 0, bytes: 0 }
    }

    pub(super) fn median(&self) -> f64 {
        self.milliseconds[self.milliseconds.len() / 2]
    }

    pub(super) fn worst(&self) -> f64 {
        self.milliseconds[self.milliseconds.len() - 1]
    }

    fn with_cpu(mut self, cpu: Duration) -> Self {
        self.cpu = Some(cpu.as_secs_f64() * 1e3 / self.milliseconds.len() as f64);
        self
    }

    fn with_calls(mut self, calls: (usize, usize)) -> Self {
        (self.requests, self.bytes) = calls;
        self
    }
}

impl Pair<'_> {
    fn check_in(&self) -> Row {
        let ask = |server: &Server, node: usize| drop(server.zincati(&machine_id(node)).steady_state().expect(200, "steady_state"));
        // The first check-in of a node writes its annotation.
        (10..30).for_each(|node| ask(&self.direct, node));
        ask(&self.seen, 10);
        let calls = self.calls(|| ask(&self.seen, 10));
        let (times, cpu) = self.timed((0..MANY).map(|round| 10 + round % 20), &ask);
        Row::of("check-in that changes nothing", &times).with_cpu(cpu).with_calls(calls)
    }

    /// Measures a denied request, and a repeated one of the node that holds the only slot.
    fn denied(&self) -> [Row; 2] {
        let (deny, grant) = (&ask(404, "slots_taken"), &ask(200, "approved"));
        grant(&self.seen, 30);
        deny(&self.seen, 31);
        let calls = self.calls(|| deny(&self.seen, 31));
        let (times, cpu) = self.timed((0..MANY).map(|round| 31 + round % 20), deny);
        let denied = Row::of("denied pre-reboot", &times).with_cpu(cpu).with_calls(calls);
        let calls = self.calls(|| grant(&self.seen, 30));
        let (times, cpu) = self.timed((0..FEW).map(|_| apart(30)), grant);
        let again = Row::of("granted pre-reboot asked again", &times).with_cpu(cpu).with_calls(calls);
        self.cluster.fleet.reboot("n30");
        self.come_back(&self.direct, 30);
        [denied, again]
    }

    fn granted(&self) -> [Row; 2] {
        let grant = ask(200, "approved");
        let mut calls = [(0, 0); 2];
        calls[0] = self.calls(|| grant(&self.seen, 51));
        self.cluster.fleet.reboot("n51");
        calls[1] = self.calls(|| self.come_back(&self.seen, 51));
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        for node in 52..52 + FEW {
            let (time, used) = self.timed([node].into_iter().map(apart), &grant);
            times[0].extend(time);
            cpu[0] += used;
            self.cluster.fleet.reboot(&format!("n{node}"));
            let (time, used) = self.timed([node].into_iter(), &|server, node| self.come_back(server, node));
            times[1].extend(time);
            cpu[1] += used;
        }
        let [granted, returned] = times;
        [
            Row::of("granted pre-reboot of an empty node", &granted).with_cpu(cpu[0]).with_calls(calls[0]),
            Row::of("its check-in after the reboot", &returned).with_cpu(cpu[1]).with_calls(calls[1]),
        ]
    }

    fn come_back(&self, server: &Server, node: usize) {
        server.zincati(&machine_id(node)).steady_state().expect(200, "steady_state");
    }

    /// Returns the time of each request, and the processor time of all.
    fn timed(&self, nodes: impl Iterator<Item = usize>, ask: &dyn Fn(&Server, usize)) -> (Vec<Duration>, Duration) {
        let before = self.direct.cpu_time();
        let times = nodes.map(|node| time(|| ask(&self.direct, node))).collect();
        (times, self.direct.cpu_time().saturating_sub(before))
    }

    fn calls(&self, work: impl FnOnce()) -> (usize, usize) {
        calls(&self.proxy, work)
    }
}

/// Sends a pre-reboot request that must be answered with this status and kind.
fn ask(status: u16, kind: &'static str) -> impl Fn(&Server, usize) {
    move |server, node| drop(server.zincati(&machine_id(node)).pre_reboot().expect(status, kind))
}

/// Measures one list of all Nodes in one page: the minimum cost of a server that lists Nodes to identify its caller.
fn list_of_all(cluster: &TestCluster) -> Row {
    let api = cluster.api_with(&cluster.token);
    let mut bytes = 0;
    let mut list = || {
        let authorization = ("authorization".to_owned(), format!("Bearer {}", cluster.token));
        let answer = api.pass_on("GET", "/api/v1/nodes", &[authorization], &[]).expect("an answer");
        assert_eq!(answer.status, 200);
        bytes = answer.body.len();
    };
    let times: Vec<Duration> = (0..STARTS).map(|_| time(&mut list)).collect();
    Row::of("for comparison: one list of all Nodes, received and not even parsed", &times).with_calls((1, bytes))
}

/// Returns the median milliseconds from the start until ready, and until the first answer.
fn starts(cluster: &TestCluster, program: &Path) -> (f64, f64) {
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = quiet_server(cluster, program);
        while server.page("/readyz").0 != 200 {
            assert!(begun.elapsed() < SOON, "never ready: {}", server.log().join("\n"));
            std::thread::sleep(Duration::from_millis(1));
        }
        ready.push(begun.elapsed());
        server.zincati(&machine_id(0)).steady_state().expect(200, "steady_state");
        answered.push(begun.elapsed());
    }
    (Row::of("", &ready).median(), Row::of("", &answered).median())
}

/// Waits before the turn of this node.
fn apart(node: usize) -> usize {
    std::thread::sleep(APART);
    node
}

fn quiet_server(cluster: &TestCluster, program: &Path) -> Server {
    cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager=info").start()
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Counts the calls of one request and the bytes received for them.
fn calls(proxy: &Proxy, work: impl FnOnce()) -> (usize, usize) {
    quiet(proxy);
    let before = sum(proxy);
    work();
    quiet(proxy);
    let after = sum(proxy);
    (after.0 - before.0, after.1 - before.1)
}

/// Sums calls and bytes without watches, which deliver changes of any node.
fn sum(proxy: &Proxy) -> (usize, usize) {
    let log: Vec<_> = proxy.log().into_iter().filter(|call| call.verb != "watch").collect();
    (log.len(), log.iter().map(|call| call.received).sum())
}

/// Waits until the background work of the request is finished.
fn quiet(proxy: &Proxy) {
    let mut last = (sum(proxy), Instant::now());
    wait_for("the proxy is quiet", SOON, || {
        let now = sum(proxy);
        if now != last.0 {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > Duration::from_millis(400) { Ok(()) } else { Err("calls") }
    });
}
