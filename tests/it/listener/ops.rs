//! The ops port: a probe waits for nothing, in any attack on the port, with every worker busy and a slow API server.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use test_cluster::proxy::{Fault, Rule};
use test_cluster::wait::wait_for;

use super::client::{Client, Port};
use super::{ATTACKER, End, Siege, WAYS, Way};
use crate::scenarios::{SOON, threads};

const PROBES: usize = 100;

/// Time of each call to Kubernetes.
const SLOW: Duration = Duration::from_secs(10);

/// Time after which a kubelet gives up, if the manifest does not say otherwise.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Connections that each attacker keeps open, of two addresses.
const KEPT: usize = 250;

/// Loops of each attacker that read the metrics.
const READERS: usize = 40;

/// Shortest time for which a socket can wait.
const NO_TIME: Duration = Duration::from_millis(1);

const GET_METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Opens connections that send nothing, or a part of a request, again and again, and keeps the last.
fn keeps_connections(port: &Port, over: &AtomicBool) {
    let mut kept: VecDeque<Client> = VecDeque::new();
    for number in 0_usize.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        kept.extend(keep_connection(port, number).ok());
        if kept.len() > KEPT {
            kept.pop_front();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Opens a connection that sends nothing, or a part of a request.
fn keep_connection(port: &Port, number: usize) -> io::Result<Client> {
    let mut client = port.try_connect()?;
    client.write_all(&GET_METRICS[..number % 2 * 20]).map(|()| client)
}

fn reads_metrics(port: &Port, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Ok(mut client) = port.try_connect() {
            client.exchange(GET_METRICS);
        }
    }
}

/// Sends requests until every worker waits for a call to Kubernetes; returns their connections.
fn keep_workers_busy(siege: &Siege, fault: Fault) -> Vec<Client> {
    siege.cluster.proxy.plan(Rule::any().inject(fault));
    // The node is read.
    let busy: Vec<Client> = (0..20).map(|_| siege.port.send(&siege.steady)).collect();
    wait_for("every worker is busy", SOON, || match threads(siege.server.pid(), "fleetlock") {
        28.. => Ok(()),
        fewer => Err(fewer),
    });
    busy
}

/// Probes the port, and checks that no probe is lost.
#[track_caller]
fn probe(port: &Port, beside: &str) {
    let (mut times, mut wrong) = (Vec::new(), Vec::new());
    for number in 0..PROBES {
        let (begun, page) = (Instant::now(), ["healthz", "readyz"][number % 2]);
        let answer = port.try_exchange(format!("GET /{page} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        times.push(begun.elapsed());
        // The Lease may be too old by now.
        let is_right = answer.starts_with("HTTP/1.1 200 ") || page == "readyz" && answer.starts_with("HTTP/1.1 503 ");
        wrong.extend(Some(answer).filter(|_| !is_right));
    }
    times.sort();
    println!("a probe takes {:?} beside {beside}, at most {:?}", times[PROBES / 2], times[PROBES - 1]);
    assert!(wrong.is_empty(), "{} of {PROBES} probes are lost beside {beside}: {wrong:?}", wrong.len());
    assert!(times[PROBES / 2] < PROBE_MAX, "{times:?}");
}

/// A load balancer checks the port that nodes call.
#[test]
fn a_probe_of_the_port_that_nodes_call_waits_for_no_worker() {
    for way in WAYS {
        let siege = Siege::alone(way, |start| start);
        let mut busy = keep_workers_busy(&siege, Fault::Freeze);
        let answer = siege.port.exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(busy.iter_mut().all(|client| client.is_held(NO_TIME)), "the answer comes after that of a worker");
    }
}

/// The ops port has no TLS, so one way suffices.
#[test]
fn probes_are_answered_at_once_beside_every_attack_and_with_a_slow_api_server() {
    let siege = Siege::alone(Way::Plain, |start| start);
    let same = Port::new(&siege.server.ops, None);
    let other = same.from(ATTACKER);
    let mut busy = keep_workers_busy(&siege, Fault::Slow(SLOW));
    let kept: Vec<Client> = (0..2 * KEPT).filter_map(|number| keep_connection([&same, &other][number % 2], number / 2).ok()).collect();
    probe(&same, "500 open connections");
    drop(kept);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        for port in [&same, &other] {
            scope.spawn(|| keeps_connections(port, &over));
            for _ in 0..READERS {
                scope.spawn(|| reads_metrics(port, &over));
            }
        }
        probe(&same, "every attack");
    });
    siege.cluster.proxy.clear();
    busy.iter_mut().for_each(|client| drop(client.rest()));
    siege.ends_well("500 connections to the ops port");
}
