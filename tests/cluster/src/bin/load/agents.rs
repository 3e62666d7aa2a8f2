//! Many agents on few threads: each machine returns the time of its next action, and the threads take the next machine that is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Number of threads. Each holds one connection and waits for its answer.
const THREADS: usize = 32;

/// Queue of the machines by the time of their next action.
struct Due {
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Number of machines that act at this moment.
    acting: usize,
}

/// Runs every machine when it is due, until none is left. `act` gets the number of the machine and returns the time of its next action.
pub(super) fn play(due: impl IntoIterator<Item = (Instant, usize)>, act: impl Fn(usize) -> Option<Instant> + Sync) {
    let due = Mutex::new(Due { waiting: due.into_iter().map(Reverse).collect(), acting: 0 });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(machine) = next(&due, &changed) {
                    let again = act(machine);
                    let mut due = due.lock().expect("the queue");
                    due.acting -= 1;
                    due.waiting.extend(again.map(|at| Reverse((at, machine))));
                    drop(due);
                    changed.notify_all();
                }
            });
        }
    });
}

/// Waits for the next machine that is due; `None` if none is left.
fn next(due: &Mutex<Due>, changed: &Condvar) -> Option<usize> {
    let mut due = due.lock().expect("the queue");
    loop {
        let now = Instant::now();
        due = match due.waiting.peek() {
            Some(Reverse((at, machine))) if *at <= now => {
                let machine = *machine;
                due.waiting.pop();
                due.acting += 1;
                return Some(machine);
            }
            Some(Reverse((at, _))) => {
                let wait = at.duration_since(now);
                changed.wait_timeout(due, wait).expect("the queue").0
            }
            None if due.acting == 0 => return None,
            None => changed.wait(due).expect("the queue"),
        }
    }
}
