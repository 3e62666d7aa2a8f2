//! Measures the program on a real control plane, for growing numbers of nodes: memory at rest and at its peak, the time from start to
//! ready, and the calls of a check-in, a reboot and a heartbeat; then the memory of a held request. The program runs in an empty root, as
//! in its image.
//! Usage, as root: `unshare --mount footprint PROGRAM MANIFEST [--steady] [NODES …]`; scripts/measure-memory does all set-up.
//!
//! The exit code is an error if a figure is over its limit. With `--steady` only figures count that are equal on every machine and in
//! every run: no times, and not how much of the file the kernel keeps in memory.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement reads the clock, and ends at a wrong answer"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use test_cluster::cluster::{Backend, NAMESPACE, SOON};
use test_cluster::empty_root::EmptyRoot;
use test_cluster::fleet::machine_id;
use test_cluster::objects::Placement;
use test_cluster::secured::Secured;
use test_cluster::server::Start;
use test_cluster::wait::wait_for;
use test_cluster::{Proxy, Server, TestCluster};

/// Default numbers of nodes, one measurement each.
const NODES: [usize; 3] = [1, 2000, 5000];
/// Starts of which the median counts; one suffices where times do not count.
const STARTS: usize = 9;

const KIB: usize = 1024;
const DISK_MAX: usize = 4 * KIB * KIB;
const REST_MAX: usize = 3 * KIB * KIB;
const OWN_MAX: usize = KIB * KIB;
/// Bytes that one node in the view of the fleet may add to either.
const NODE_MAX: usize = 208;
const PEAK_MAX: usize = 8 * KIB * KIB;
const READY_MAX: Duration = Duration::from_millis(100);
const CHECK_IN_MAX: usize = 4 * KIB;

/// Requests that are held at once to measure the memory of one. All come from one address, whose share is a quarter of `--max-waiting`.
const HELD: usize = 200;
const HELD_ARGUMENTS: [&str; 3] = ["--pre-reboot-wait=25m", "--max-waiting=800", "--max-connections=1600"];
/// Threads while they are held: that of each connection, and one that reads the Lease from time to time.
const HELD_THREADS: usize = HELD + 1;
const HELD_MAX: usize = 64 * KIB;

/// Pods of the node that reboots, each of which is evicted.
const PODS: usize = 10;

/// Figure and its limit.
struct Row {
    what: &'static str,
    unit: &'static str,
    seen: f64,
    max: Option<f64>,
    /// Equal on every machine.
    steady: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, rest @ ..] = arguments.as_slice() else { panic!("usage: footprint PROGRAM MANIFEST [--steady] [NODES …]") };
    let (steady, numbers) = match rest {
        [flag, numbers @ ..] if flag == "--steady" => (true, numbers),
        numbers => (false, numbers),
    };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().expect("a number of nodes")).collect();
    let numbers = if numbers.is_empty() { NODES.to_vec() } else { numbers };
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let cluster = TestCluster::on(Backend::Real, &manifest);
    cluster.fleet.padded_nodes(0..1);
    cluster.fleet.deployment("shop", "web", PODS as u32, Placement::On("n0"));
    let (mut made, mut missed) = (1, 0);
    for nodes in numbers {
        cluster.fleet.padded_nodes(made..made.max(nodes));
        made = made.max(nodes);
        eprintln!("measuring at {nodes} nodes");
        let rows = measure(&cluster, &program, nodes, if steady { 1 } else { STARTS });
        println!("\n| at {nodes} nodes | | wanted |\n|---|--:|---|");
        missed += rows.iter().filter(|row| row.print_and_miss(steady)).count();
    }
    cluster.fleet.padded_nodes(made..made.max(HELD + 1));
    println!("\n| {HELD} requests held | | wanted |\n|---|--:|---|");
    missed += usize::from(held(&cluster, &program).print_and_miss(steady));
    let bytes = cluster.admin.get("/api/v1/nodes/n0").ok().to_string().len();
    println!("\nNodes of {bytes} bytes each.");
    assert!(missed == 0, "{missed} figures are over what is wanted");
}

impl Row {
    /// Prints the row, and reports whether the figure is over its limit. With `only_steady` other figures have none.
    fn print_and_miss(&self, only_steady: bool) -> bool {
        let Self { what, unit, seen, .. } = self;
        let max = self.max.filter(|_| self.steady || !only_steady);
        let digits = match *unit {
            "MiB" => 2,
            "KiB" => 1,
            _ => 0,
        };
        let missed = max.is_some_and(|max| *seen > max);
        let wanted = max.map_or_else(String::new, |max| format!("at most {max:.digits$}{}", if missed { ", MISSED" } else { "" }));
        println!("| {what}, {unit} | {seen:.digits$} | {wanted} |");
        missed
    }
}

fn measure(cluster: &TestCluster, program: &Path, nodes: usize, starts: usize) -> Vec<Row> {
    let mebibytes = |bytes: usize| bytes as f64 / (KIB * KIB) as f64;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let memory = |what, bytes, max| Row { what, unit: "MiB", seen: mebibytes(bytes), max: Some(mebibytes(max)), steady: true };
    let resident = |what, bytes| Row { steady: false, ..memory(what, bytes, REST_MAX + nodes * NODE_MAX) };
    let time = |what, seen, max: Option<Duration>| {
        let max = max.map(milliseconds);
        Row { what, unit: "ms", seen: milliseconds(seen), max, steady: false }
    };
    let number = |what, unit, seen: usize, max: Option<usize>| {
        let max = max.map(|max| max as f64);
        Row { what, unit, seen: seen as f64, max, steady: true }
    };

    let root = rooted(cluster, program);
    // The first start makes a CA and a certificate, so it is not timed.
    start(in_root(cluster, &root)).0.kill();
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let begun = Instant::now();
        let (server, time) = start(in_root(cluster, &root));
        ready.push(time);
        steady_state(cluster, &server);
        answered.push(begun.elapsed());
    }
    let [ready, answered] = [ready, answered].map(|mut times| {
        times.sort();
        times[starts / 2]
    });

    let (server, _) = start(in_root(cluster, &root));
    rests(&server);
    let (fresh, fresh_peak) = (row_of(&server, "VmRSS"), row_of(&server, "VmHWM"));
    let busy = server.cpu_time();
    steady_state(cluster, &server);
    let index_peak = row_of(&server, "VmHWM");
    reboot(cluster, &server);
    let reboot_peak = row_of(&server, "VmHWM");
    std::thread::sleep(IDLE);
    steady_state(cluster, &server);
    rests(&server);
    let (rest, own) = (row_of(&server, "VmRSS"), row_of(&server, "RssAnon"));
    drop(server);

    let proxy = Proxy::to(&cluster.admin);
    let (server, _) = start(cluster.server_through(&proxy, program));
    steady_state(cluster, &server);
    rests(&server);
    let check_in = calls(&proxy, || steady_state(cluster, &server));
    let granted = calls(&proxy, || reboot(cluster, &server));
    let heartbeat = heartbeat(cluster, &proxy, &server);
    vec![
        memory("the file", usize::try_from(std::fs::metadata(program).unwrap().len()).unwrap(), DISK_MAX),
        time("start to ready, median", ready, Some(READY_MAX)),
        time("start to the first check-in answered, median", answered, None),
        time("processor time of that, with all nodes read", busy, None),
        resident("resident at rest, just started", fresh),
        memory("peak until ready", fresh_peak, PEAK_MAX),
        memory("peak, all nodes read", index_peak, PEAK_MAX),
        memory("peak, a reboot granted and over", reboot_peak, PEAK_MAX),
        resident("resident at rest after that", rest),
        memory("of which its own, not the file's", own, OWN_MAX + nodes * NODE_MAX),
        number("calls of a check-in that changes nothing", "requests", check_in.0, Some(2)),
        number("answers to them", "bytes", check_in.1, Some(CHECK_IN_MAX)),
        number("calls of a granted reboot of a node with 10 pods, and its check-in", "requests", granted.0, None),
        number("answers to them", "bytes", granted.1, None),
        number("a heartbeat of another node, from the watch", "bytes", heartbeat.0, None),
        number("heartbeats of another node in an hour, one each 5 minutes", "bytes", heartbeat.0 * 12, None),
        time("processor time of 100 heartbeats", heartbeat.1, None),
    ]
}

/// Measures the memory of a request that is held over TLS: what the program has more of its own while many wait for the slot of one node.
fn held(cluster: &TestCluster, program: &Path) -> Row {
    let root = rooted(cluster, program);
    let (server, _) = start(HELD_ARGUMENTS.into_iter().fold(in_root(cluster, &root), Start::arg));
    let nodes = Secured::new(&cluster.admin);
    let answer = nodes.call(&server.address, "pre-reboot", &machine_id(0));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    rests(&server);
    let (before, threads) = (row_of(&server, "RssAnon"), server.threads());
    let mut requests: Vec<_> = (1..=HELD).map(|number| nodes.send(&server.address, "pre-reboot", &machine_id(number))).collect();
    wait_for("all requests are held, and the workers that decided them have ended", SOON, || {
        let waiting = server.log().iter().filter(|line| line.contains(": waits for a slot since ")).count();
        let more = server.threads().saturating_sub(threads);
        if waiting == HELD && more <= HELD_THREADS { Ok(()) } else { Err(format!("{waiting} wait, {more} threads more")) }
    });
    let own = row_of(&server, "RssAnon");
    let left = requests.iter_mut().map(|request| usize::from(request.is_held())).sum::<usize>();
    assert!(left == HELD, "{left} of {HELD} requests are held: {}", server.log().join("\n"));
    let bytes = own.saturating_sub(before) as f64 / HELD as f64;
    let (what, max) = ("memory of a held request over TLS", HELD_MAX as f64 / KIB as f64);
    Row { what, unit: "KiB", seen: bytes / KIB as f64, max: Some(max), steady: true }
}

/// Prepares a root with the program and its service account.
fn rooted(cluster: &TestCluster, program: &Path) -> EmptyRoot {
    let root = EmptyRoot::with(program, None);
    root.mount(&cluster.token, &std::fs::read_to_string(cluster.ca().unwrap()).unwrap(), NAMESPACE);
    root
}

fn in_root(cluster: &TestCluster, root: &EmptyRoot) -> Start {
    let (host, port) = cluster.admin.base().trim_start_matches("https://").rsplit_once(':').unwrap();
    Start::in_root(root, host, port.parse().unwrap())
}

/// Starts a server as the manifest does, and measures the time until it is ready.
fn start(start: Start) -> (Server, Duration) {
    let begun = Instant::now();
    let server = start.env("RUST_LOG", "warn,reboot_manager=info").arg("--tls=bootstrap").start();
    let ready = loop {
        if is_ready(&server.ops) {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < SOON, "never ready: {}", server.log().join("\n"));
        std::thread::sleep(Duration::from_millis(1));
    };
    (server, ready)
}

fn is_ready(ops: &str) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(ops).and_then(|mut stream| {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

/// Checks a node in, as each agent does every few minutes.
fn steady_state(cluster: &TestCluster, server: &Server) {
    let answer = Secured::new(&cluster.admin).call(&server.address, "steady-state", &machine_id(0));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Performs a whole reboot of a node with pods.
fn reboot(cluster: &TestCluster, server: &Server) {
    cluster.wait_for_running("n0", PODS);
    wait_for("the reboot is approved", SOON, || {
        let answer = Secured::new(&cluster.admin).call(&server.address, "pre-reboot", &machine_id(0));
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
    });
    cluster.fleet.reboot("n0");
    steady_state(cluster, server);
}

/// Counts the calls of `work`, and the bytes received for them.
fn calls(proxy: &Proxy, work: impl FnOnce()) -> (usize, usize) {
    let before = proxy.log().len();
    work();
    let log = proxy.log();
    (log.len() - before, log[before..].iter().map(|call| call.received).sum())
}

/// Measures the bytes of the watch for each heartbeat of another node, and the processor time of a hundred.
fn heartbeat(cluster: &TestCluster, proxy: &Proxy, server: &Server) -> (usize, Duration) {
    const COUNT: usize = 100;
    let received = || proxy.log().iter().filter(|call| call.verb == "watch").map(|call| call.received).sum::<usize>();
    rests(server);
    let before = (received(), server.cpu_time());
    (0..COUNT).for_each(|_| cluster.fleet.heartbeat("n0"));
    rests(server);
    ((received() - before.0) / COUNT, server.cpu_time() - before.1)
}

/// Waits until the server is idle for a while: no page fetched, no processor time used.
fn rests(server: &Server) {
    let used = || -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()).collect()
    };
    let mut last = (used(), Instant::now());
    wait_for("the server rests", SOON, || {
        let now = used();
        if now != last.0 {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > QUIET { Ok(()) } else { Err("it works") }
    });
}

/// Reads a row of `/proc/PID/status`, in bytes.
fn row_of(server: &Server, row: &str) -> usize {
    usize::try_from(server.memory_kib(row)).expect("a small number") * KIB
}

/// Longer than the program keeps connections to the API server without use, which it closes at the next call.
const IDLE: Duration = Duration::from_secs(16);

/// Time without activity that counts as idle.
const QUIET: Duration = Duration::from_secs(2);
