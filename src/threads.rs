//! Threads: their names, their stacks, and which of them may keep theirs.
//!
//! A stack is memory that has once been touched, and a call to Kubernetes touches 50 KiB for a TLS handshake. A thread that lives as long
//! as the process would keep that for good, so it does such work [`aside`].

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
pub fn aside<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let name = current().name().unwrap_or_default().to_owned();
    scope(|scope| match Builder::new().name(name).stack_size(STACK_BYTES).spawn_scoped(scope, &work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_none) => work(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_aside_runs_on_a_thread_of_the_same_name() {
        let here = current();
        let there = aside(current);
        assert_ne!(there.id(), here.id());
        assert_eq!(there.name(), here.name());
    }
}
