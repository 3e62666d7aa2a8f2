//! Many agents on few threads: each machine says when it wants to act next, and the threads take whoever is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Threads. Each holds one connection, and waits for its answer.
const HANDS: usize = 32;

/// Who is due when.
struct Due {
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Machines that act at this moment.
    acting: usize,
}

/// Lets every machine act when it is due until none wants to act any more. `act` gets the number of the machine and says when it is due
/// again.
pub(super) fn play(due: impl IntoIterator<Item = (Instant, usize)>, act: impl Fn(usize) -> Option<Instant> + Sync) {
    let due = Mutex::new(Due { waiting: due.into_iter().map(Reverse).collect(), acting: 0 });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while let Some(machine) = next(&due, &changed) {
                    let again = act(machine);
                    let mut due = due.lock().expect("who is due");
                    due.acting -= 1;
                    due.waiting.extend(again.map(|at| Reverse((at, machine))));
                    drop(due);
                    changed.notify_all();
                }
            });
        }
    });
}

/// Waits for the next machine that is due; `None` when there will be no more.
fn next(due: &Mutex<Due>, changed: &Condvar) -> Option<usize> {
    let mut due = due.lock().expect("who is due");
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
                changed.wait_timeout(due, wait).expect("who is due").0
            }
            None if due.acting == 0 => return None,
            None => changed.wait(due).expect("who is due"),
        }
    }
}
