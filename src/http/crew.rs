//! The threads that answer requests. Whoever takes one sends for another before it answers, if none waits; and who has waited in vain
//! for a moment leaves. So a quiet server has one of them, with a stack that no request has filled.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tiny_http::{Request, Response};

use super::handoff::{Client, Handoff};
use crate::system::threads;

/// How long one that has answered waits for the next request.
const LINGER: Duration = Duration::from_secs(1);

/// Everything its threads share.
pub(super) struct Crew {
    name: String,
    handoff: Arc<Handoff>,
    handle: Box<dyn Fn(Request, Client) + Send + Sync>,
    /// How many there may be.
    count_max: usize,
    hands: Mutex<Hands>,
}

/// How many threads there are.
#[derive(Debug)]
struct Hands {
    all: usize,
    /// Those that wait for a request.
    waiting: usize,
}

impl Crew {
    /// Starts the first; at most `count_max` requests are handled at once.
    pub(super) fn hire(
        name: &str,
        count_max: usize,
        handoff: Arc<Handoff>,
        handle: impl Fn(Request, Client) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let hands = Mutex::new(Hands { all: 1, waiting: 1 });
        Arc::new(Self { name: name.to_owned(), handoff, handle: Box::new(handle), count_max, hands }).start()
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::clone(self);
        threads::start(&self.name, move || this.work())
    }

    /// Runs until there is nothing to do for it.
    fn work(self: Arc<Self>) {
        let mut fresh = true;
        while let Ok(next) = self.next(fresh) {
            match next {
                Some(request) => {
                    fresh = false;
                    self.send_for_another();
                    self.answer(request);
                    self.hands().waiting += 1;
                }
                None if self.may_leave() => return,
                None => {}
            }
        }
    }

    /// Waits for a request; who has answered one does not wait for ever, and gets `None`.
    fn next(&self, fresh: bool) -> io::Result<Option<Request>> {
        let server = self.handoff.server();
        if fresh {
            return server.recv().map(Some);
        }
        match server.recv_timeout(LINGER)? {
            // In its last millisecond it can be woken for a request, and end without a look.
            None => server.try_recv(),
            request => Ok(request),
        }
    }

    fn answer(&self, request: Request) {
        match self.handoff.client(&request) {
            Some(client) => (self.handle)(request, client),
            None => drop(request.respond(Response::empty(403))),
        }
    }

    /// One that has waited is about to work: sees to it that another waits. Where no thread is to be had, it comes back itself.
    fn send_for_another(self: &Arc<Self>) {
        let mut hands = self.hands();
        hands.waiting -= 1;
        if hands.waiting == 0 && hands.all < self.count_max && self.start().is_ok() {
            *hands = Hands { all: hands.all + 1, waiting: 1 };
        }
    }

    /// One that waits would leave. It may when another waits, or is put in its place.
    fn may_leave(self: &Arc<Self>) -> bool {
        let mut hands = self.hands();
        if hands.waiting == 1 {
            return self.start().is_ok();
        }
        *hands = Hands { all: hands.all - 1, waiting: hands.waiting - 1 };
        true
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(|_poisoned| std::process::abort())
    }
}
