//! A whole fleet checks in twice: the first time each node gets its annotation, the second time nothing changes.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use test_cluster::TestCluster;
use test_cluster::fleet::machine_id;

use super::answers::Answers;
use super::samples::Samples;

/// Limit of the server's memory: the promise is 8 MiB at 5,000 nodes.
const RSS_KIB_MAX: u64 = 8 * 1024;

/// Number of threads. Each holds one connection and waits for its answer.
const THREADS: usize = 32;

pub(super) fn play(program: &Path, manifest: &str, nodes: usize, time: Duration) -> Vec<String> {
    let cluster = TestCluster::new(manifest);
    cluster.fleet.padded_nodes(0..nodes);
    let server = cluster.server_direct(program).env("RUST_LOG", "warn,reboot_manager::commands=info").start();
    let (answers, samples) = (Answers::default(), Samples::new());
    let names = ["first check-in", "second check-in"];
    for name in names {
        let begun = Instant::now();
        let check_in = |machine: usize| {
            let due = begun + time.mul_f64(machine as f64 / nodes as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            answers.add(name, server.zincati(&machine_id(machine)).send("steady-state").try_answer().as_ref());
        };
        samples.take(
            &server,
            || (),
            || {
                thread::scope(|scope| {
                    for first in 0..THREADS {
                        scope.spawn(move || (first..nodes).step_by(THREADS).for_each(check_in));
                    }
                });
            },
        );
    }
    answers.print();
    samples.print();
    let peak = server.peak_rss_kib();
    println!("Peak RSS: {peak} KiB.\n");
    let unheard = |name: &&&'static str| answers.count(name, "200 `steady_state`") != nodes;
    let fault = |name: &&'static str| format!("{name}: not all of {nodes} nodes were answered 200 steady_state");
    let mut broken: Vec<String> = names.iter().filter(unheard).map(fault).collect();
    if peak > RSS_KIB_MAX {
        broken.push(format!("{peak} KiB resident at the peak; {RSS_KIB_MAX} is the limit"));
    }
    broken
}
