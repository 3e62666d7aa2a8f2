//! Measures the program on a real control plane: check-ins and reboots at a number of nodes, and a drain beside
//! `kubectl drain`. Usage: `measure PROGRAM MANIFEST [NODES]`; scripts/measure does all set-up.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it measures time, and ends when something is not as expected"
)]

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use test_cluster::objects::Placement;
use test_cluster::scene::{Backend, SOON};
use test_cluster::wait::wait_for;
use test_cluster::{Road, Scene, Server};

const ROUNDS: usize = 15;
/// An API server that serves consistent lists from its cache asks etcd how far it is once in 100 ms, for each resource: rounds that follow
/// closely on each other would wait for that, as no two reboots ever do.
const APART: Duration = Duration::from_millis(250);
const PODS: u32 = 70;
const DRAINS: usize = 3;

struct Measured {
    what: &'static str,
    milliseconds: Vec<f64>,
    requests: usize,
    received: usize,
}

impl Measured {
    fn of(what: &'static str) -> Self {
        Self { what, milliseconds: Vec::new(), requests: 0, received: 0 }
    }

    /// One round counted on the road, the others timed.
    fn row(
        what: &'static str,
        road: &Road,
        (seen, direct): (&Server, &Server),
        rounds: Range<usize>,
        ask: &dyn Fn(&Server, usize),
    ) -> Self {
        let mut measured = Self::of(what);
        measured.count(road, || ask(seen, rounds.end));
        for round in rounds {
            measured.time(|| ask(direct, round));
        }
        measured
    }

    fn count(&mut self, road: &Road, ask: impl FnOnce()) {
        let before = (road.log().len(), received(road));
        ask();
        quiet(road);
        (self.requests, self.received) = (road.log().len() - before.0, received(road) - before.1);
    }

    fn time(&mut self, ask: impl FnOnce()) {
        std::thread::sleep(APART);
        let begun = Instant::now();
        ask();
        self.milliseconds.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, rest @ ..] = arguments.as_slice() else { panic!("usage: measure PROGRAM MANIFEST [NODES]") };
    let nodes: usize = rest.first().map_or(2000, |number| number.parse().expect("a number of nodes"));
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let scene = Scene::on(Backend::Real, &manifest);
    let begun = Instant::now();
    make_nodes(&scene, nodes);
    let bytes = scene.admin.get("/api/v1/nodes/n7").ok().to_string().len();
    println!("{nodes} nodes of {bytes} bytes each, made in {:.0} s", begun.elapsed().as_secs_f64());
    let requests = requests(&scene, &program);
    println!("\n| at {nodes} nodes | ms (median) | ms (worst) | API requests | API bytes received |\n|---|--:|--:|--:|--:|");
    for row in requests {
        let mut sorted = row.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        println!(
            "| {} | {:.1} | {:.1} | {} | {} |",
            row.what,
            sorted[sorted.len() / 2],
            sorted[sorted.len() - 1],
            row.requests,
            row.received
        );
    }
    println!("\n| drain of {PODS} pods | s |\n|---|---|");
    let (ours, kubectl) = drains(&scene, &program);
    println!("| reboot-manager, request to approval | {ours} |\n| kubectl drain | {kubectl} |");
}

/// Nodes of realistic size, `n0` to the last.
fn make_nodes(scene: &Scene, count: usize) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in (thread..count).step_by(8) {
                    scene.fleet.node(&format!("n{number}"), &format!("{:032x}", number + 1), "boot").padded().create();
                }
            });
        }
    });
}

fn id(number: usize) -> String {
    format!("{:032x}", number + 1)
}

/// Times come from a server that calls the API server itself, counts from one whose calls are seen on the road.
fn requests(scene: &Scene, program: &std::path::Path) -> Vec<Measured> {
    let direct = scene.server_direct(program).env("RUST_LOG", "warn,reboot_manager=info").start();
    let road = Road::to(&scene.admin);
    let seen = scene.server_through(&road, program).start();
    quiet(&road);
    println!("RSS when started: {} KiB", direct.peak_rss_kib());
    let mut rows = Vec::new();
    let mut row = |what, rounds: Range<usize>, ask: &dyn Fn(&Server, usize)| {
        rows.push(Measured::row(what, &road, (&seen, &direct), rounds, ask));
    };
    let steady = |server: &Server, node: usize| drop(server.zincati(&id(node)).steady_state().expect(200, "steady_state"));
    row("first check-in of all: the directory is read, the node marked Ready", 0..1, &steady);
    row("first check-in of a node", 10..10 + ROUNDS, &steady);
    row("check-in that changes nothing", 10..10 + ROUNDS, &steady);
    let grant = |server: &Server, node: usize| drop(server.zincati(&id(node)).pre_reboot().expect(200, "approved"));
    // A node that comes back frees the slot for the next, so each round is timed alone.
    let (mut granted, mut returned) = (Measured::of("granted pre-reboot of an empty node"), Measured::of("its check-in after the reboot"));
    granted.count(&road, || grant(&seen, 39));
    scene.fleet.reboot("n39");
    returned.count(&road, || steady(&seen, 39));
    for node in 40..40 + ROUNDS {
        granted.time(|| grant(&direct, node));
        scene.fleet.reboot(&format!("n{node}"));
        returned.time(|| steady(&direct, node));
    }
    rows.extend([granted, returned]);
    let mut row = |what, rounds: Range<usize>, ask: &dyn Fn(&Server, usize)| {
        rows.push(Measured::row(what, &road, (&seen, &direct), rounds, ask));
    };
    seen.zincati(&id(80)).pre_reboot().expect(200, "approved");
    row("granted pre-reboot asked again", 80..81, &|server, _| drop(server.zincati(&id(80)).pre_reboot().expect(200, "approved")));
    row("denied pre-reboot", 90..90 + ROUNDS, &|server, node| drop(server.zincati(&id(node)).pre_reboot().expect(404, "slots_taken")));
    scene.fleet.reboot("n80");
    steady(&direct, 80);
    println!("peak RSS of the server that was timed: {} KiB", direct.peak_rss_kib());
    rows
}

/// Without what a watch brings, which comes whenever any node changes and not because of a request.
fn received(road: &Road) -> usize {
    road.log().iter().filter(|call| call.verb != "watch").map(|call| call.received).sum()
}

/// Waits until the background work of the start is over.
fn quiet(road: &Road) {
    let mut last = (road.log().len(), Instant::now());
    wait_for("the road is quiet", SOON, || {
        if road.log().len() != last.0 {
            last = (road.log().len(), Instant::now());
        }
        if last.1.elapsed() > Duration::from_millis(400) { Ok(()) } else { Err("calls") }
    });
}

/// The same node full of the same pods, drained in turn by each.
fn drains(scene: &Scene, program: &std::path::Path) -> (String, String) {
    let server = scene.server_direct(program).arg("--pre-reboot-wait=300s").start();
    scene.fleet.deployment("shop", "web", PODS, Placement::On("n1"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..DRAINS * 2 {
        scene.wait_for_running("n1", PODS as usize);
        let begun = Instant::now();
        if round % 2 == 0 {
            server.zincati(&id(1)).pre_reboot().expect(200, "approved");
            ours.push(format!("{:.1}", begun.elapsed().as_secs_f64()));
            scene.fleet.reboot("n1");
            server.zincati(&id(1)).steady_state().expect(200, "steady_state");
        } else {
            let mut kubectl = scene.kubectl().expect("kubectl");
            let output = kubectl.args(["drain", "n1", "--ignore-daemonsets", "--delete-emptydir-data", "--force"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            theirs.push(format!("{:.1}", begun.elapsed().as_secs_f64()));
            scene.set_cordon("n1", false);
        }
    }
    (ours.join(", "), theirs.join(", "))
}
