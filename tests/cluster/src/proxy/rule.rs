//! What goes wrong on the proxy, and with which calls.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Passed;
use crate::http::Response;

/// Runs in the thread of the call, which waits for it. It may use the proxy and the cluster.
pub type Hook = Box<dyn Fn(&Passed) + Send + Sync>;

/// What happens to a call.
pub enum Fault {
    /// Runs when the API server has answered and the program does not know yet.
    After(Hook),
    /// Runs before the call is passed on.
    Before(Hook),
    /// Done by the API server, but the connection closes without an answer.
    CutAfter,
    /// The connection closes; nothing is passed on.
    CutBefore,
    /// Neither passed on nor answered until released.
    Freeze,
    /// Done by the API server, but not answered until released.
    FreezeAfter,
    /// Passed on only after this time.
    Slow(Duration),
    /// Answered by the proxy; nothing is passed on.
    Status(Response),
    /// Done by the API server, but the program hears this.
    StatusAfter(Response),
}

impl Fault {
    /// Runs before the call is passed on.
    pub fn before(hook: impl Fn(&Passed) + Send + Sync + 'static) -> Self {
        Self::Before(Box::new(hook))
    }

    /// Runs when the API server has answered and the program does not know yet.
    pub fn after(hook: impl Fn(&Passed) + Send + Sync + 'static) -> Self {
        Self::After(Box::new(hook))
    }

    /// An answer of the proxy with this body.
    pub fn status(code: u16, body: &serde_json::Value) -> Self {
        Self::Status(Response::json(code, body))
    }

    /// Done, but answered with this code.
    pub fn status_after(code: u16) -> Self {
        Self::StatusAfter(refusal(code, "", "the proxy says so"))
    }

    /// Another client has written the object.
    pub fn conflict409() -> Self {
        let message = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and \
             try again";
        Self::Status(refusal(409, "Conflict", message))
    }

    /// The API server has too much to do.
    pub fn toomany429(retry_after: u32) -> Self {
        let mut response = refusal(429, "TooManyRequests", "The server has received too many requests and has asked us to try again later");
        response.headers.push(("Retry-After".to_owned(), retry_after.to_string()));
        Self::Status(response)
    }

    /// The API server is broken.
    pub fn internal500() -> Self {
        Self::Status(refusal(500, "InternalError", "Internal error occurred: the proxy says so"))
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code});
    if !reason.is_empty() {
        body["reason"] = json!(reason);
    }
    Response::json(code, &body)
}

/// Which of the calls that fit a rule meet its fault, counted from 1 and from when the rule was planned.
#[derive(Debug, Clone, Copy)]
enum Occurrence {
    Every,
    From(usize),
    Nth(usize),
}

/// Calls, before it is said what happens to them.
pub struct Calls {
    fits: Box<dyn Fn(&Passed) -> bool + Send + Sync>,
    when: Occurrence,
}

impl Calls {
    /// Only the n-th such call, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        self.when = Occurrence::Nth(n);
        self
    }

    /// The n-th such call and all that follow.
    #[must_use]
    pub fn from(mut self, n: usize) -> Self {
        self.when = Occurrence::From(n);
        self
    }

    /// Only calls with this in their path or query.
    #[must_use]
    pub fn with_path(self, part: &str) -> Self {
        let part = part.to_owned();
        Self { when: self.when, fits: Box::new(move |passed| passed.path.contains(&part) && (self.fits)(passed)) }
    }

    /// What happens to them.
    pub fn meet(self, fault: Fault) -> Rule {
        Rule { calls: self, fault: Arc::new(fault), met: 0 }
    }
}

/// What happens to which calls.
pub struct Rule {
    calls: Calls,
    fault: Arc<Fault>,
    met: usize,
}

impl Rule {
    /// Calls of this verb and resource, as in [`Passed`].
    pub fn on(verb: &str, resource: &str) -> Calls {
        let (verb, resource) = (verb.to_owned(), resource.to_owned());
        Calls { fits: Box::new(move |passed| passed.verb == verb && passed.resource == resource), when: Occurrence::Every }
    }

    /// Every call.
    pub fn any() -> Calls {
        Calls { fits: Box::new(|_| true), when: Occurrence::Every }
    }

    /// Every call that may change something.
    pub fn any_write() -> Calls {
        Calls { fits: Box::new(Passed::is_write), when: Occurrence::Every }
    }

    /// Counts a call; its fault when it meets one.
    pub(super) fn meets(&mut self, passed: &Passed) -> Option<Arc<Fault>> {
        if !(self.calls.fits)(passed) {
            return None;
        }
        self.met += 1;
        let hit = match self.calls.when {
            Occurrence::Every => true,
            Occurrence::From(n) => self.met >= n,
            Occurrence::Nth(n) => self.met == n,
        };
        hit.then(|| Arc::clone(&self.fault))
    }
}
