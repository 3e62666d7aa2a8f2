//! Every call that a reboot makes to Kubernetes fails once, in each possible way, and the fleet still finishes.
//!
//! A run is a small cluster, a kind of reboot, a kind of fault and the number of the call that meets the fault. Runs of one kind
//! begin with the first call and end when no call has the next number, so the number of calls need not be known. The promises are
//! checked after every write of the program, before its answer: between two writes only the run itself changes the cluster.
//!
//! By default only calls that may change something meet faults; with `CRASH_CONSISTENCY=every-call` all do, and writes
//! are also done 30 s late.

mod cluster;
mod faults;
mod reboots;

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use faults::{FAULTS, FaultKind, LATE};
use reboots::{REBOOTS, Reboot};

/// Limit of the calls of a reboot: more than any reboot makes.
const CALLS_MAX: usize = 300;

/// Number of clusters in parallel. A run mostly waits: for pods to end, and for the next read of them.
const AT_A_TIME: usize = 12;

/// Calls that meet faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    EveryCall,
    EveryWrite,
}

impl Reach {
    fn chosen() -> Self {
        match std::env::var("CRASH_CONSISTENCY").as_deref() {
            Ok("every-call") => Self::EveryCall,
            Ok("every-write") | Err(_) => Self::EveryWrite,
            Ok(other) => panic!("CRASH_CONSISTENCY is {other:?}; it must be every-call or every-write"),
        }
    }
}

#[test]
fn a_fault_at_any_call_of_a_reboot_breaks_no_promise_and_the_fleet_finishes() {
    let reach = Reach::chosen();
    let each =
        |faults: &'static [FaultKind], reach| REBOOTS.iter().flat_map(move |reboot| faults.iter().map(move |fault| (reboot, fault, reach)));
    let mut work: Vec<(&Reboot, &FaultKind, Reach)> = each(FAULTS, reach).collect();
    if reach == Reach::EveryCall {
        work.extend(each(LATE, Reach::EveryWrite));
    }
    let (begun, kinds) = (Instant::now(), work.len());
    let (work, runs) = (Mutex::new(work), Mutex::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((reboot, fault, reach)) = work.lock().unwrap().pop() else { return };
                    let count = every_call(reboot, fault, reach);
                    *runs.lock().unwrap() += count;
                    println!("| {} | {} | {count} |", reboot.name, fault.name);
                }
            });
        }
    });
    let runs = *runs.lock().unwrap();
    println!("crash consistency, {reach:?}: {runs} runs, {kinds} kinds, {} s", begun.elapsed().as_secs());
    assert!(runs > kinds * 4, "only {runs} runs");
}

/// Performs the runs of one kind, and returns how many met their fault.
fn every_call(reboot: &Reboot, fault: &FaultKind, reach: Reach) -> usize {
    let fleet = cluster::Small::new();
    for call in 1..CALLS_MAX {
        let run = format!("{}, {} at {reach:?} number {call}", reboot.name, fault.name);
        if !fleet.run(reboot, fault, reach, call, &run) {
            assert!(call > reboot.writes_min, "{run}: there are fewer calls than a reboot makes");
            return call - 1;
        }
    }
    panic!("{}, {}: there was still a call of number {CALLS_MAX}", reboot.name, fault.name);
}
