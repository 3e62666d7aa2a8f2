//! The proxy between the program under test and an API server: a reverse proxy that counts, and that can be made to fail on purpose.
//!
//! It speaks plain HTTP to the program and whatever the API server speaks behind it. Answers are passed on whole, but for watches, which
//! [`Watches`] can hold up, cut and put words into.

mod rule;
#[cfg(test)]
mod tests;
mod watches;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use rule::{Calls, Fault, Hook, Rule};
pub use watches::Watches;

use rustls::ServerConfig;

use crate::api::Api;
use crate::certificate::Certificate;
use crate::http::{Reply, Request, Response, Server};
use crate::resources::Target;

/// One call of the program, as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Counts the calls, from 1.
    pub n: usize,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method in lower case for paths outside the API.
    pub verb: String,
    /// As RBAC names it: `nodes`, `pods/eviction`; the path itself for paths outside the API.
    pub resource: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// When it arrived, counted from the start of the proxy.
    pub at: Duration,
    /// Bytes of the request's body.
    pub sent: usize,
    /// Bytes of the body that the program was answered.
    pub received: usize,
    /// What the API server answered; `None` while it has not, or when it was not asked.
    pub upstream: Option<u16>,
    /// What the program was answered; `None` while it has not been, or when the connection was cut.
    pub status: Option<u16>,
    /// Whether the proxy is through with this call.
    pub done: bool,
}

impl Passed {
    /// Whether this call may have changed something.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch", "head"].contains(&self.verb.as_str()) && self.resource != "selfsubjectaccessreviews"
    }
}

/// The proxy. It ends, with all that waits on it, when this is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    upstream: Api,
    opened: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    log: Vec<Passed>,
    /// Grows when everything that waits is let go.
    released: u64,
    closing: bool,
    watches: watches::State,
}

/// What a call met when it arrived.
struct Met {
    faults: Vec<Arc<Fault>>,
    /// [`State::released`] at that moment: a release that comes before the call has begun to wait counts, too.
    released: u64,
}

impl Proxy {
    /// Opens a proxy to this API server. The program's own token is passed on; that of `upstream` is not used.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn to(upstream: &Api) -> Self {
        Self::open(upstream, None)
    }

    /// The same, over TLS with this certificate.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn secured(upstream: &Api, certificate: &Certificate) -> Self {
        Self::open(upstream, Some(certificate.server(None)))
    }

    fn open(upstream: &Api, tls: Option<Arc<ServerConfig>>) -> Self {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { upstream: upstream.clone(), opened: Instant::now(), state, changed: Condvar::new() });
        let handler = Arc::clone(&shared);
        let server = Server::start(tls, Arc::new(move |request| handler.travel(request))).expect("a port of 127.0.0.1");
        Self { shared, server }
    }

    /// The address for the program under test, where it is not TLS.
    pub fn base(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Adds a rule. Every rule counts its own calls from now on, and of several that fit one call each has its effect, in this order.
    pub fn plan(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Puts one rule in the place of all others; no call passes in between.
    pub fn replan(&self, rule: Rule) {
        self.shared.state().rules = vec![rule];
        self.release();
    }

    /// Removes all rules and lets everything that waits go on.
    pub fn clear(&self) {
        self.shared.state().rules.clear();
        self.release();
    }

    /// Lets go on what is frozen or slow at this moment. A frozen call is then passed on, or answered, as if nothing had been.
    pub fn release(&self) {
        self.shared.state().released += 1;
        self.shared.changed.notify_all();
    }

    /// All calls so far, also those under way.
    pub fn log(&self) -> Vec<Passed> {
        self.shared.state().log.clone()
    }

    /// How many calls of this verb and resource there were.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.shared.state().log.iter().filter(|passed| passed.verb == verb && passed.resource == resource).count()
    }

    /// Bytes of bodies in both directions so far.
    pub fn bytes(&self) -> usize {
        self.shared.state().log.iter().map(|passed| passed.sent + passed.received).sum()
    }

    /// Waits until the calls so far are as wanted.
    ///
    /// # Panics
    /// When `limit` passes first; the message holds the calls.
    #[track_caller]
    pub fn block_until(&self, wanted: impl Fn(&[Passed]) -> bool, limit: Duration) {
        let state = self.shared.state();
        let waiting = self.shared.changed.wait_timeout_while(state, limit, |state| !wanted(&state.log));
        let (state, timeout) = waiting.unwrap_or_else(PoisonError::into_inner);
        let calls = state.log.clone();
        drop(state);
        assert!(!timeout.timed_out(), "not within {limit:?}; the calls were {calls:#?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole way of one call.
    fn travel(self: &Arc<Self>, request: &Request) -> Reply {
        let (passed, met) = self.arrive(request);
        let reply = match self.on_the_way_there(&passed, &met) {
            Some(reply) => reply,
            None if passed.verb == "watch" => self.pass_on_watch(request, passed.n, &met),
            None => self.pass_on(request, passed.n, &met),
        };
        let answer = match &reply {
            Reply::Send(response) => Some((response.status, response.body.len())),
            Reply::Cut | Reply::CutAfter(_) | Reply::Raw(_) => None,
            Reply::Stream(..) => return reply,
        };
        self.note(passed.n, |passed| {
            passed.status = answer.map(|(status, _)| status);
            passed.received = answer.map_or(0, |(_, length)| length);
            passed.done = true;
        });
        reply
    }

    fn arrive(&self, request: &Request) -> (Passed, Met) {
        let target = Target::parse(request.path());
        let (verb, resource) = match &target {
            Some(target) => (target.verb(&request.method, request.raw_query()).to_owned(), target.resource()),
            None => (request.method.to_ascii_lowercase(), request.path().to_owned()),
        };
        let mut state = self.state();
        let passed = Passed {
            n: state.log.len() + 1,
            verb,
            resource,
            method: request.method.clone(),
            path: request.target.clone(),
            at: self.opened.elapsed(),
            sent: request.body.len(),
            received: 0,
            upstream: None,
            status: None,
            done: false,
        };
        let faults = state.rules.iter_mut().filter_map(|rule| rule.meets(&passed)).collect();
        let met = Met { faults, released: state.released };
        state.log.push(passed.clone());
        drop(state);
        self.changed.notify_all();
        (passed, met)
    }

    /// What happens before the API server is asked; an answer when it never is.
    fn on_the_way_there(&self, passed: &Passed, met: &Met) -> Option<Reply> {
        for fault in &met.faults {
            match &**fault {
                Fault::Before(hook) => hook(passed),
                Fault::CutBefore => return Some(Reply::Cut),
                Fault::Freeze => self.wait(met, None),
                Fault::Slow(time) => self.wait(met, Some(*time)),
                Fault::Status(response) => return Some(Reply::Send(response.clone())),
                Fault::After(_) | Fault::CutAfter | Fault::FreezeAfter | Fault::StatusAfter(_) => {}
            }
            if self.state().closing {
                return Some(Reply::Cut);
            }
        }
        None
    }

    fn pass_on(&self, request: &Request, n: usize, met: &Met) -> Reply {
        let headers = kept(request);
        let Ok(answer) = self.upstream.pass_on(&request.method, &request.target, &headers, &request.body) else { return Reply::Cut };
        let Some(passed) = self.note(n, |passed| passed.upstream = Some(answer.status)) else { return Reply::Cut };
        let mut response = Response { status: answer.status, headers: returned(answer.headers), body: answer.body, chunked: false };
        for fault in &met.faults {
            match &**fault {
                Fault::After(hook) => hook(&passed),
                Fault::CutAfter => return Reply::Cut,
                Fault::FreezeAfter => self.wait(met, None),
                Fault::StatusAfter(other) => response = other.clone(),
                Fault::Before(_) | Fault::CutBefore | Fault::Freeze | Fault::Slow(_) | Fault::Status(_) => {}
            }
            if self.state().closing {
                return Reply::Cut;
            }
        }
        Reply::Send(response)
    }

    /// Waits until this time has passed, or for ever; until it is released or the proxy closes in any case.
    fn wait(&self, met: &Met, time: Option<Duration>) {
        let state = self.state();
        let waits = |state: &mut State| state.released == met.released && !state.closing;
        match time {
            Some(time) => drop(self.changed.wait_timeout_while(state, time, waits)),
            None => drop(self.changed.wait_while(state, waits)),
        }
    }

    fn note(&self, n: usize, change: impl FnOnce(&mut Passed)) -> Option<Passed> {
        let mut state = self.state();
        let passed = state.log.get_mut(n - 1)?;
        change(passed);
        let passed = passed.clone();
        drop(state);
        self.changed.notify_all();
        Some(passed)
    }
}

/// The header fields of a request that are passed on.
fn kept(request: &Request) -> Vec<(String, String)> {
    let kept = |name: &str| ["accept", "authorization", "content-type", "user-agent"].contains(&name.to_ascii_lowercase().as_str());
    request.headers.iter().filter(|(name, _)| kept(name)).cloned().collect()
}

/// The header fields of an answer that are passed on.
fn returned(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.into_iter().filter(|(name, _)| ["content-type", "retry-after", "warning"].contains(&name.as_str())).collect()
}
