//! The ops port: a probe waits for nothing, in any attack on the port, with every worker busy and a slow API server.

use std::io::Write;
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
    let mut kept: std::collections::VecDeque<Client> = std::collections::VecDeque::new();
    for number in 0_usize.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(mut client) = port.try_connect() {
            let _ = client.write_all(&GET_METRICS[..number % 2 * 20]);
            kept.push_back(client);
        }
        if kept.len() > KEPT {
            kept.pop_front();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
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
    let over = AtomicBool::new(false);
    let mut times = Vec::new();
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let _end = End(&over);
        for port in [&same, &other] {
            scope.spawn(|| keeps_connections(port, &over));
            for _ in 0..READERS {
                scope.spawn(|| reads_metrics(port, &over));
            }
        }
        for number in 0..PROBES {
            let (begun, page) = (Instant::now(), ["healthz", "readyz"][number % 2]);
            let answer = same.try_exchange(format!("GET /{page} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            times.push(begun.elapsed());
            // The Lease may be too old by now.
            let is_right = answer.starts_with("HTTP/1.1 200 ") || page == "readyz" && answer.starts_with("HTTP/1.1 503 ");
            wrong.extend(Some(answer).filter(|_| !is_right));
        }
    });
    times.sort();
    println!("a probe takes {:?}, at most {:?}", times[PROBES / 2], times[PROBES - 1]);
    assert!(wrong.is_empty(), "{} of {PROBES} probes are lost: {wrong:?}", wrong.len());
    assert!(times[PROBES / 2] < PROBE_MAX, "{times:?}");
    siege.cluster.proxy.clear();
    busy.iter_mut().for_each(|client| drop(client.rest()));
    siege.ends_well("500 connections to the ops port");
}
