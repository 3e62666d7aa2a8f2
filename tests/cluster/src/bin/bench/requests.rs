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

/// Lists of all Nodes that are measured.
const LISTS: usize = 5;

/// Measurements of one kind of request.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// Sorted.
    milliseconds: Vec<f64>,
    /// Milliseconds of processor time of the server for each request.
    pub(super) cpu: Option<f64>,
    /// Calls to Kubernetes, and bytes received for them.
    pub(super) calls: (usize, usize),
}

/// Server that calls the API server directly, and server behind a proxy.
struct Pair<'a> {
    cluster: &'a TestCluster,
    direct: Server,
    seen: Server,
    proxy: Proxy,
}

/// Measures every kind of request.
pub(super) fn measure(cluster: &TestCluster, program: &Path) -> Vec<Row> {
    let proxy = Proxy::to(&cluster.admin);
    let seen = cluster.server_through(&proxy, program).start();
    let direct = cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager=info").start();
    let pair = Pair { cluster, direct, seen, proxy };
    let mut rows = vec![pair.check_in()];
    rows.extend(pair.denied());
    rows.extend(pair.granted());
    drop(pair);
    rows.push(list_of_all(cluster));
    rows
}

impl Row {
    fn of(what: &'static str, times: &[Duration], cpu: Option<Duration>, calls: (usize, usize)) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let mut sorted: Vec<f64> = times.iter().copied().map(milliseconds).collect();
        sorted.sort_by(f64::total_cmp);
        Self { what, cpu: cpu.map(|cpu| milliseconds(cpu) / sorted.len() as f64), milliseconds: sorted, calls }
    }

    pub(super) fn median(&self) -> f64 {
        self.milliseconds[self.milliseconds.len() / 2]
    }

    pub(super) fn worst(&self) -> f64 {
        self.milliseconds[self.milliseconds.len() - 1]
    }
}

impl Pair<'_> {
    fn check_in(&self) -> Row {
        // The first check-in of a node writes its annotation.
        (10..30).for_each(|node| come_back(&self.direct, node));
        come_back(&self.seen, 10);
        self.row("check-in that changes nothing", 10, (0..MANY).map(|round| 10 + round % 20), &come_back)
    }

    /// Measures a denied request, and a repeated one of the node that holds the only slot.
    fn denied(&self) -> [Row; 2] {
        let (deny, grant) = (&ask(404, "slots_taken"), &ask(200, "approved"));
        grant(&self.seen, 30);
        deny(&self.seen, 31);
        let denied = self.row("denied pre-reboot", 31, (0..MANY).map(|round| 31 + round % 20), deny);
        let again = self.row("granted pre-reboot asked again", 30, (0..FEW).map(|_| apart(30)), grant);
        self.cluster.fleet.reboot("n30");
        come_back(&self.direct, 30);
        [denied, again]
    }

    fn granted(&self) -> [Row; 2] {
        let grant = ask(200, "approved");
        let calls_granted = calls(&self.proxy, || grant(&self.seen, 51));
        self.cluster.fleet.reboot("n51");
        let calls_returned = calls(&self.proxy, || come_back(&self.seen, 51));
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        for node in 52..52 + FEW {
            let (time, used) = self.timed([node].into_iter().map(apart), &grant);
            times[0].extend(time);
            cpu[0] += used;
            self.cluster.fleet.reboot(&format!("n{node}"));
            let (time, used) = self.timed([node].into_iter(), &come_back);
            times[1].extend(time);
            cpu[1] += used;
        }
        let [granted, returned] = times;
        [
            Row::of("granted pre-reboot of an empty node", &granted, Some(cpu[0]), calls_granted),
            Row::of("its check-in after the reboot", &returned, Some(cpu[1]), calls_returned),
        ]
    }

    /// Measures a request: its calls for the node `seen`, its time and processor time for the others.
    fn row(&self, what: &'static str, seen: usize, nodes: impl Iterator<Item = usize>, ask: &dyn Fn(&Server, usize)) -> Row {
        let calls = calls(&self.proxy, || ask(&self.seen, seen));
        let (times, cpu) = self.timed(nodes, ask);
        Row::of(what, &times, Some(cpu), calls)
    }

    /// Returns the time of each request, and the processor time of all.
    fn timed(&self, nodes: impl Iterator<Item = usize>, ask: &dyn Fn(&Server, usize)) -> (Vec<Duration>, Duration) {
        let before = self.direct.cpu_time();
        let times = nodes.map(|node| time(|| ask(&self.direct, node))).collect();
        (times, self.direct.cpu_time().saturating_sub(before))
    }
}

/// Sends a pre-reboot request that must be answered with this status and kind.
fn ask(status: u16, kind: &'static str) -> impl Fn(&Server, usize) {
    move |server, node| drop(server.zincati(&machine_id(node)).pre_reboot().expect(status, kind))
}

fn come_back(server: &Server, node: usize) {
    server.zincati(&machine_id(node)).steady_state().expect(200, "steady_state");
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
    let times: Vec<Duration> = (0..LISTS).map(|_| time(&mut list)).collect();
    Row::of("for comparison: one list of all Nodes, received and not even parsed", &times, None, (1, bytes))
}

/// Waits before the turn of this node.
fn apart(node: usize) -> usize {
    std::thread::sleep(APART);
    node
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
