//! Measures the program on a real control plane: what a request costs at each number of nodes, beside the least that a server must pay
//! which lists the Nodes for each request; and a drain beside `kubectl drain`. scripts/bench does all set-up.
//!
//! Usage: `bench PROGRAM MANIFEST PLOT [PEER=FILE …] [NODES …]`. It prints Markdown and writes the plot, an SVG, into the file PLOT.
//! A PEER is another FleetLock server, by its name in `peers.rs`, and FILE its program.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it measures time, and ends when something is not as expected"
)]

mod drains;
mod peers;
mod plot;
mod requests;

use std::path::{Path, PathBuf};

use test_cluster::TestCluster;
use test_cluster::cluster::Backend;

use peers::Peer;
use requests::At;

/// How many nodes there are unless told, one measurement each.
const NODES: [usize; 3] = [100, 1000, 5000];

/// The rounds need so many.
const NODES_MIN: usize = 80;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, plot, numbers @ ..] = arguments.as_slice() else { panic!("usage: bench PROGRAM MANIFEST PLOT [NODES …]") };
    let (given, numbers): (Vec<&String>, Vec<&String>) = numbers.iter().partition(|word| word.contains('='));
    let peers: Vec<Peer> = given.into_iter().map(|word| Peer::of(word)).collect();
    let mut numbers: Vec<usize> = numbers.iter().map(|number| number.parse().expect("a number of nodes")).collect();
    if numbers.is_empty() {
        numbers = NODES.to_vec();
    }
    numbers.sort_unstable();
    assert!(numbers[0] >= NODES_MIN, "{} nodes are too few: {NODES_MIN} are asked of", numbers[0]);
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let cluster = TestCluster::on(Backend::Real, &manifest);
    machine(&program);
    let (mut made, mut all, mut others) = (0, Vec::new(), Vec::new());
    for nodes in numbers {
        eprintln!("bench: making nodes, up to {nodes}");
        cluster.fleet.padded_nodes(made..nodes);
        made = nodes;
        eprintln!("bench: measuring at {nodes} nodes");
        all.push(requests::measure(&cluster, &program, nodes));
        others.extend(peers.iter().map(|peer| peer.measure(&cluster, nodes)));
    }
    let bytes = cluster.admin.get("/api/v1/nodes/n7").ok().to_string().len();
    println!("Nodes of {bytes} bytes each.\n");
    requests_table(&all);
    process_table(&all);
    peers::tables(&others);
    std::fs::write(plot, plot::of(&all)).expect("the plot is written");
    drains::measure(&cluster, &program, &peers);
}

/// What the figures were measured on and with.
fn machine(program: &Path) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let kind = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    println!("{}: {cores} cores, {}.", jiff::Timestamp::now().strftime("%Y-%m-%d"), kind.trim_start_matches(['\t', ' ', ':']).trim());
    println!("Load average at the start: {} (other work runs beside).", load.split(' ').next().unwrap_or_default());
    let size = std::fs::metadata(program).unwrap().len();
    println!("The program: {size} bytes ({:.2} MiB).", size as f64 / f64::from(1 << 20));
}

fn requests_table(all: &[At]) {
    println!("| request | nodes | ms, median | ms, worst | CPU, ms | API requests | API bytes |\n|---|--:|--:|--:|--:|--:|--:|");
    for row in 0..all[0].rows.len() {
        for at in all {
            let seen = &at.rows[row];
            println!(
                "| {} | {} | {:.1} | {:.1} | {} | {} | {} |",
                seen.what,
                at.nodes,
                seen.median(),
                seen.worst(),
                seen.cpu.map_or_else(String::new, |cpu| format!("{cpu:.2}")),
                seen.requests,
                seen.bytes
            );
        }
    }
}

fn process_table(all: &[At]) {
    println!("\n| nodes | start to ready, ms | start to the first check-in answered, ms | peak RSS, MiB | threads | descriptors |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for at in all {
        let peak = at.peak_kib as f64 / 1024.0;
        println!("| {} | {:.0} | {:.0} | {peak:.2} | {} | {} |", at.nodes, at.ready, at.answered, at.threads, at.descriptors);
    }
}
