//! Measures the program on a real control plane. For each number of nodes: the cost of requests, beside the cost of one list of all Nodes.
//! Then a drain beside `kubectl drain`. scripts/bench does all set-up.
//!
//! Usage: `bench PROGRAM MANIFEST [NODES …]`. The output is Markdown.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement reads the clock, and ends at a wrong answer"
)]

mod drains;
mod requests;

use std::path::{Path, PathBuf};

use test_cluster::TestCluster;
use test_cluster::cluster::Backend;

use requests::Row;

/// Default numbers of nodes, one measurement each.
const NODES: [usize; 3] = [100, 1000, 5000];

/// Smallest number of nodes that the rounds can use.
const NODES_MIN: usize = 80;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, numbers @ ..] = arguments.as_slice() else { panic!("usage: bench PROGRAM MANIFEST [NODES …]") };
    let mut numbers: Vec<usize> = numbers.iter().map(|number| number.parse().expect("a number of nodes")).collect();
    if numbers.is_empty() {
        numbers = NODES.to_vec();
    }
    numbers.sort_unstable();
    assert!(numbers[0] >= NODES_MIN, "{} nodes are too few: the minimum is {NODES_MIN}", numbers[0]);
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let cluster = TestCluster::on(Backend::Real, &manifest);
    machine(&program);
    let (mut made, mut all) = (0, Vec::new());
    for nodes in numbers {
        eprintln!("bench: making nodes, up to {nodes}");
        cluster.fleet.padded_nodes(made..nodes);
        made = nodes;
        eprintln!("bench: measuring at {nodes} nodes");
        all.push((nodes, requests::measure(&cluster, &program)));
    }
    let bytes = cluster.admin.get("/api/v1/nodes/n7").ok().to_string().len();
    println!("Nodes of {bytes} bytes each.\n");
    requests_table(&all);
    drains::measure(&cluster, &program);
}

/// Prints the machine, its load and the size of the program.
fn machine(program: &Path) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let kind = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    println!("{}: {cores} cores, {}.", jiff::Timestamp::now().strftime("%Y-%m-%d"), kind.trim_start_matches(['\t', ' ', ':']).trim());
    println!("Load average at the start: {}.", load.split(' ').next().unwrap_or_default());
    let size = std::fs::metadata(program).unwrap().len();
    println!("The program: {size} bytes ({:.2} MiB).", size as f64 / f64::from(1 << 20));
}

fn requests_table(all: &[(usize, Vec<Row>)]) {
    println!("| request | nodes | ms, median | ms, worst | CPU, ms | API requests | API bytes |\n|---|--:|--:|--:|--:|--:|--:|");
    for row in 0..all[0].1.len() {
        for (nodes, rows) in all {
            let seen = &rows[row];
            let cpu = seen.cpu.map_or_else(String::new, |cpu| format!("{cpu:.2}"));
            let (what, median, worst, (requests, bytes)) = (seen.what, seen.median(), seen.worst(), seen.calls);
            println!("| {what} | {nodes} | {median:.1} | {worst:.1} | {cpu} | {requests} | {bytes} |");
        }
    }
}
