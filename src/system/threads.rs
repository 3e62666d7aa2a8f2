//! Threads: their names, their stacks, and which of them may keep theirs.
//!
//! A stack is memory that has once been touched, and a call to Kubernetes touches 50 KiB for a TLS handshake. A thread that lives as long
//! as the process would keep that for good, so it does such work [`on_fresh_stack`].

use std::io;
use std::thread::{Builder, current, scope};

/// Enough for a TLS handshake in a build without optimisation, too. Pages that are not touched cost nothing.
pub const STACK_BYTES: usize = 512 * 1024;

/// Starts a thread.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_small(name, STACK_BYTES, work)
}

/// Starts a thread whose stack is as small as told.
pub fn start_small(name: &str, stack_bytes: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(work).map(|_running| ())
}

/// Does `work` on a thread of its own and waits for it; so its stack is given back. Where no thread is to be had it is done here.
pub fn on_fresh_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let name = current().name().unwrap_or_default().to_owned();
    scope(|scope| match Builder::new().name(name).stack_size(STACK_BYTES).spawn_scoped(scope, &work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_none) => work(),
    })
}

/// Does `work` on up to `count` threads at once, the calling one among them, and returns what each came to. Where a thread cannot be started,
/// the others do its part.
pub fn together<T: Send>(name: &str, count: usize, stack_bytes: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    scope(|scope| {
        let start = |_| Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn_scoped(scope, &work).ok();
        let others: Vec<_> = (1..count).map_while(start).collect();
        let here = work();
        let there = others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(here).chain(there).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn work_on_a_fresh_stack_runs_on_a_thread_of_the_same_name() {
        let here = current();
        let there = on_fresh_stack(current);
        assert_ne!(there.id(), here.id());
        assert_eq!(there.name(), here.name());
    }

    #[test]
    fn work_done_together_is_done_at_the_same_time() {
        let all = Barrier::new(3);
        let threads = together("t", 3, STACK_BYTES, || {
            all.wait();
            current().id()
        });
        assert!(threads.contains(&current().id()));
        assert_eq!(threads.into_iter().collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn work_is_done_here_alone_where_no_thread_can_be_started() {
        // No address space has room for this stack, so the system refuses the thread.
        assert_eq!(together("t", 3, 1 << 60, || current().id()), [current().id()]);
    }
}
