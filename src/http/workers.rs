//! The threads that answer requests.
//!
//! A worker that takes a request starts another worker if none waits. A worker that gets no request for a second ends. An
//! idle server keeps one worker, whose stack no request has filled. A stack that a reboot has filled takes 0.1 MiB (scripts/measure-memory).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tiny_http::{Request, Response};

use super::handoff::{Client, Handoff};
use crate::system::guarded::Guarded;
use crate::system::threads;

// Longer than the pause between the requests of a busy moment.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// The workers of one port.
pub(super) struct Workers {
    name: String,
    handoff: Arc<Handoff>,
    handle: Box<dyn Fn(Request, Client) + Send + Sync>,
    count_max: usize,
    count: Guarded<Count>,
}

#[derive(Debug)]
struct Count {
    all: usize,
    /// Workers without a request.
    waiting: usize,
}

impl Workers {
    pub(super) fn start(
        name: &str,
        count_max: usize,
        handoff: Arc<Handoff>,
        handle: impl Fn(Request, Client) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let count = Guarded::new(Count { all: 1, waiting: 1 });
        Arc::new(Self { name: name.to_owned(), handoff, handle: Box::new(handle), count_max, count }).add()
    }

    fn add(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::clone(self);
        threads::start(&self.name, move || this.work())
    }

    fn work(self: Arc<Self>) {
        let mut is_new = true;
        while let Ok(next) = self.next(is_new) {
            match next {
                Some(request) => {
                    is_new = false;
                    self.replace_waiting();
                    self.answer(request);
                    self.count.lock().waiting += 1;
                }
                None if self.may_end() => return,
                None => {}
            }
        }
    }

    /// Waits for a request: a new worker without a limit, any other until [`IDLE_MAX`] and then `None`.
    fn next(&self, is_new: bool) -> io::Result<Option<Request>> {
        let server = &self.handoff.server;
        if is_new {
            return server.recv().map(Some);
        }
        match server.recv_timeout(IDLE_MAX)? {
            // tiny_http can wake a worker for a request in its last millisecond and still return `None`.
            None => server.try_recv(),
            request => Ok(request),
        }
    }

    fn answer(&self, request: Request) {
        match self.handoff.take(&request) {
            // The turn lasts until the request is answered or held.
            Some((client, _passing)) => (self.handle)(request, client),
            None => drop(request.respond(Response::empty(403))),
        }
    }

    /// Starts a worker in place of this one, which stops waiting to answer a request.
    fn replace_waiting(self: &Arc<Self>) {
        let mut count = self.count.lock();
        count.waiting -= 1;
        // If no thread can be started, this worker takes the next request once it has answered.
        if count.waiting == 0 && count.all < self.count_max && self.add().is_ok() {
            *count = Count { all: count.all + 1, waiting: 1 };
        }
    }

    /// Reports whether a waiting worker may end: another one waits, or was started in its place.
    fn may_end(self: &Arc<Self>) -> bool {
        let mut count = self.count.lock();
        if count.waiting == 1 {
            return self.add().is_ok();
        }
        *count = Count { all: count.all - 1, waiting: count.waiting - 1 };
        true
    }
}
