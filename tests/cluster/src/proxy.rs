//! The proxy between the program under test and an API server: a reverse proxy that counts, and that can be made to fail on purpose.
//!
//! It speaks plain HTTP to the program and whatever the API server speaks behind it. Answers are passed on whole, but for watches, which
//! [`Watches`] can hold up, cut and put words into.

mod rule;
#[cfg(test)]
mod tests;
mod watches;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use rule::{Calls, Fault, Hook, Rule};
pub use watches::Watches;

use rustls::ServerConfig;

use crate::api::Api;
use crate::certificate::Certificate;
use crate::http::{Reply, Request, Response, Server};
use crate::resources::Target;

/// Call of the program, as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Number of the call, from 1.
    pub n: usize,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method in lower case for paths outside the API.
    pub verb: String,
    /// Resource as RBAC names it: `nodes`, `pods/eviction`; the path itself for paths outside the API.
    pub resource: String,
    /// Path and query, as sent.
    pub path: String,
    /// Bytes of the answer's body.
    pub received: usize,
    /// Status of the API server's answer; `None` before the answer, and if the API server was not called.
    pub upstream: Option<u16>,
    /// Status of the answer to the program; `None` before the answer, and if the connection was cut.
    pub status: Option<u16>,
    /// True once the proxy has finished with the call.
    pub done: bool,
}

impl Passed {
    /// Reports whether this call may have changed an object.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch", "head"].contains(&self.verb.as_str()) && self.resource != "selfsubjectaccessreviews"
    }
}

/// Proxy that cuts everything that waits on it on drop.
pub struct Proxy {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    upstream: Api,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    log: Vec<Passed>,
    /// Number of releases so far.
    released: u64,
    closing: bool,
    watches: watches::State,
}

/// Faults that apply to a call.
struct Arrival {
    faults: Vec<Arc<Fault>>,
    /// [`State::released`] at that moment: a release that comes before the call has begun to wait counts, too.
    released: u64,
}

impl Proxy {
    /// Opens a proxy to this API server. The proxy forwards the program's token and does not use the token of `upstream`.
    pub fn to(upstream: &Api) -> Self {
        Self::open(upstream, None)
    }

    /// Opens a proxy that serves TLS with this certificate.
    pub fn secured(upstream: &Api, certificate: &Certificate) -> Self {
        Self::open(upstream, Some(certificate.server(None)))
    }

    fn open(upstream: &Api, tls: Option<Arc<ServerConfig>>) -> Self {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { upstream: upstream.clone(), state, changed: Condvar::new() });
        let handler = Arc::clone(&shared);
        let server = Server::start(tls, Arc::new(move |request| handler.handle(request))).expect("a port of 127.0.0.1");
        Self { shared, server }
    }

    /// Returns the URL for the program, unless the proxy serves TLS.
    pub fn base(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Adds a rule. Every rule counts its own calls from now on, and of several that fit one call each has its effect, in this order.
    pub fn plan(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Replaces all rules by one; no call passes in between.
    pub fn replan(&self, rule: Rule) {
        self.shared.state().rules = vec![rule];
        self.release();
    }

    /// Removes all rules and releases everything that waits.
    pub fn clear(&self) {
        self.shared.state().rules.clear();
        self.release();
    }

    /// Releases the calls that are frozen or slow at this moment, as if there had been no fault.
    pub fn release(&self) {
        self.shared.state().released += 1;
        self.shared.changed.notify_all();
    }

    /// Returns all calls so far, including those in progress.
    pub fn log(&self) -> Vec<Passed> {
        self.shared.state().log.clone()
    }

    /// Returns the number of calls of this verb and resource.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.shared.state().log.iter().filter(|passed| passed.verb == verb && passed.resource == resource).count()
    }

    /// Waits until the calls so far are as wanted; panics with the calls after `limit`.
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

    /// Handles one call from its arrival to its answer.
    fn handle(self: &Arc<Self>, request: &Request) -> Reply {
        let (passed, arrival) = self.arrive(request);
        let reply = match self.before_upstream(&passed, &arrival) {
            Some(reply) => reply,
            None if passed.verb == "watch" => self.pass_on_watch(request, passed.n, &arrival),
            None => self.pass_on(request, passed.n, &arrival),
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

    fn arrive(&self, request: &Request) -> (Passed, Arrival) {
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
            path: request.target.clone(),
            received: 0,
            upstream: None,
            status: None,
            done: false,
        };
        let faults = state.rules.iter_mut().filter_map(|rule| rule.apply(&passed)).collect();
        let arrival = Arrival { faults, released: state.released };
        state.log.push(passed.clone());
        drop(state);
        self.changed.notify_all();
        (passed, arrival)
    }

    /// Applies the faults before the API server; returns an answer if the API server is not called.
    fn before_upstream(&self, passed: &Passed, arrival: &Arrival) -> Option<Reply> {
        for fault in &arrival.faults {
            match &**fault {
                Fault::Before(hook) => hook(passed),
                Fault::CutBefore => return Some(Reply::Cut),
                Fault::Freeze => self.wait(arrival, None),
                Fault::Slow(time) => self.wait(arrival, Some(*time)),
                Fault::Status(response) => return Some(Reply::Send(response.clone())),
                Fault::After(_) | Fault::CutAfter | Fault::StatusAfter(_) => {}
            }
            if self.state().closing {
                return Some(Reply::Cut);
            }
        }
        None
    }

    fn pass_on(&self, request: &Request, n: usize, arrival: &Arrival) -> Reply {
        let headers = kept(request);
        let Ok(answer) = self.upstream.pass_on(&request.method, &request.target, &headers, &request.body) else { return Reply::Cut };
        let Some(passed) = self.note(n, |passed| passed.upstream = Some(answer.status)) else { return Reply::Cut };
        let mut response = Response { status: answer.status, headers: returned(answer.headers), body: answer.body, chunked: false };
        if self.after_upstream(&passed, arrival, &mut response) { Reply::Send(response) } else { Reply::Cut }
    }

    /// Applies the faults between the API server's answer and the answer to the program; returns `false` if the connection is cut.
    fn after_upstream(&self, passed: &Passed, arrival: &Arrival, response: &mut Response) -> bool {
        for fault in &arrival.faults {
            match &**fault {
                Fault::After(hook) => hook(passed),
                Fault::CutAfter => return false,
                Fault::StatusAfter(other) => *response = other.clone(),
                Fault::Before(_) | Fault::CutBefore | Fault::Freeze | Fault::Slow(_) | Fault::Status(_) => {}
            }
        }
        !self.state().closing
    }

    /// Waits until this time has passed, the call is released or the proxy closes.
    fn wait(&self, arrival: &Arrival, time: Option<Duration>) {
        let state = self.state();
        let waits = |state: &mut State| state.released == arrival.released && !state.closing;
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

/// Returns the header fields of a request that are forwarded.
fn kept(request: &Request) -> Vec<(String, String)> {
    let kept = |name: &str| ["accept", "authorization", "content-type", "user-agent"].contains(&name.to_ascii_lowercase().as_str());
    request.headers.iter().filter(|(name, _)| kept(name)).cloned().collect()
}

/// Returns the header fields of an answer that are forwarded.
fn returned(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.into_iter().filter(|(name, _)| ["content-type", "retry-after", "warning"].contains(&name.as_str())).collect()
}
