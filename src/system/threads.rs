//! Threads: names and stacks.
//!
//! The memory of a stack stays resident once it was touched, and a TLS handshake with Kubernetes touches 50 KiB. A thread that lives as
//! long as the process therefore does this work [`on_fresh_stack`], which saves 0.1 MiB (scripts/measure-memory).

use std::io;
use std::thread::{Builder, current, scope};

// Suffices for a TLS handshake, also in a build without optimisation. Untouched pages cost nothing.
pub(crate) const STACK_BYTES: usize = 512 * 1024;

pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_small(name, STACK_BYTES, work)
}

pub(crate) fn start_small(name: &str, stack_bytes: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(work).map(|_running| ())
}

/// Runs `work` on a new thread, whose stack is freed afterwards. If no thread can be started, runs `work` on the calling thread.
pub(crate) fn on_fresh_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let name = current().name().unwrap_or_default().to_owned();
    scope(|scope| match Builder::new().name(name).stack_size(STACK_BYTES).spawn_scoped(scope, &work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_none) => work(),
    })
}

/// Runs `work` on the calling thread and up to `count - 1` new threads at once, and returns all results. Threads that cannot be
/// started are left out.
pub(crate) fn together<T: Send>(name: &str, count: usize, stack_bytes: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
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
    fn a_fresh_stack_belongs_to_a_new_thread_of_the_same_name() {
        let here = current();
        let there = on_fresh_stack(current);
        assert_ne!(there.id(), here.id());
        assert_eq!(there.name(), here.name());
    }

    #[test]
    fn work_done_together_runs_at_the_same_time() {
        let all = Barrier::new(3);
        let threads = together("t", 3, STACK_BYTES, || {
            all.wait();
            current().id()
        });
        assert!(threads.contains(&current().id()));
        assert_eq!(threads.into_iter().collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn work_runs_on_the_calling_thread_if_no_other_can_be_started() {
        // No address space has room for this stack, so the kernel refuses the thread.
        assert_eq!(together("t", 3, 1 << 60, || current().id()), [current().id()]);
    }
}
