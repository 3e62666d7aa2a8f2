//! What one request costs: time, processor, calls to Kubernetes and their bytes.
//!
//! Times and processor come from a server that calls the API server itself, counts from one whose calls are seen on the proxy.

use std::path::Path;
use std::time::{Duration, Instant};

use test_cluster::cluster::SOON;
use test_cluster::fleet::machine_id;
use test_cluster::wait::wait_for;
use test_cluster::{Proxy, Server, TestCluster};

/// Rounds of what is cheap; the processor's clock has steps of 10 ms, which this divides.
const MANY: usize = 200;

/// Rounds of what takes a node each.
const FEW: usize = 25;

/// An API server that serves consistent lists from its cache asks etcd how far it is once in 100 ms, for each resource: grants that follow
/// closely on each other would wait for that, as no two reboots ever do.
const APART: Duration = Duration::from_millis(250);

/// Starts of the program.
const STARTS: usize = 5;

/// What was seen at one number of nodes.
pub(super) struct At {
    pub(super) nodes: usize,
    pub(super) rows: Vec<Row>,
    pub(super) peak_kib: u64,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    /// Milliseconds from the start until `/readyz` says yes; the median.
    pub(super) ready: f64,
    /// And until the first check-in is answered.
    pub(super) answered: f64,
}

/// One kind of request.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// Sorted.
    milliseconds: Vec<f64>,
    /// Milliseconds of processor time a request; nothing for what is not the server's.
    pub(super) cpu: Option<f64>,
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

/// The two servers.
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
    pub(super) fn of(what: &'static str, times: &[Duration]) -> Self {
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

    pub(super) fn with_cpu(mut self, cpu: Duration) -> Self {
        self.cpu = Some(cpu.as_secs_f64() * 1e3 / self.milliseconds.len() as f64);
        self
    }

    pub(super) fn with_calls(mut self, calls: (usize, usize)) -> Self {
        (self.requests, self.bytes) = calls;
        self
    }
}

impl Pair<'_> {
    fn check_in(&self) -> Row {
        let ask = |server: &Server, node: usize| drop(server.zincati(&machine_id(node)).steady_state().expect(200, "steady_state"));
        // The first of each node marks it.
        (10..30).for_each(|node| ask(&self.direct, node));
        ask(&self.seen, 10);
        let calls = self.calls(|| ask(&self.seen, 10));
        let (times, cpu) = self.timed((0..MANY).map(|round| 10 + round % 20), &ask);
        Row::of("check-in that changes nothing", &times).with_cpu(cpu).with_calls(calls)
    }

    /// Another node holds the only slot meanwhile, which shows what a holder that asks again costs, too.
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

    /// How long each took, and the processor time of all.
    fn timed(&self, nodes: impl Iterator<Item = usize>, ask: &dyn Fn(&Server, usize)) -> (Vec<Duration>, Duration) {
        let before = self.direct.cpu_time();
        let times = nodes.map(|node| time(|| ask(&self.direct, node))).collect();
        (times, self.direct.cpu_time().saturating_sub(before))
    }

    fn calls(&self, work: impl FnOnce()) -> (usize, usize) {
        calls(&self.proxy, work)
    }
}

/// A pre-reboot that is answered so.
fn ask(status: u16, kind: &'static str) -> impl Fn(&Server, usize) {
    move |server, node| drop(server.zincati(&machine_id(node)).pre_reboot().expect(status, kind))
}

/// The least that a server waits for which lists the Nodes, whole and in one page, to find out who is calling.
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

/// Median times from the start until it is ready, and until it has answered.
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

/// Lets some time pass before this node's turn.
fn apart(node: usize) -> usize {
    std::thread::sleep(APART);
    node
}

fn quiet_server(cluster: &TestCluster, program: &Path) -> Server {
    cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager=info").start()
}

pub(super) fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// The calls of one request, and the bytes it is answered.
pub(super) fn calls(proxy: &Proxy, work: impl FnOnce()) -> (usize, usize) {
    quiet(proxy);
    let before = sum(proxy);
    work();
    quiet(proxy);
    let after = sum(proxy);
    (after.0 - before.0, after.1 - before.1)
}

/// Without what a watch brings, which comes whenever any node changes and not because of a request.
fn sum(proxy: &Proxy) -> (usize, usize) {
    let log: Vec<_> = proxy.log().into_iter().filter(|call| call.verb != "watch").collect();
    (log.len(), log.iter().map(|call| call.received).sum())
}

/// Waits until the background work of what was asked for is over.
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
