//! What goes wrong on the proxy, and with which calls.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Passed;
use crate::http::Response;

/// Function that runs in the thread of the call. The function may use the proxy and the cluster.
pub type Hook = Box<dyn Fn(&Passed) + Send + Sync>;

/// Fault of a call.
pub enum Fault {
    /// Runs a hook between the API server's answer and the answer to the program.
    After(Hook),
    /// Runs a hook before the call is forwarded.
    Before(Hook),
    /// The API server executes the call, but the connection closes without an answer.
    CutAfter,
    /// The connection closes; nothing is forwarded.
    CutBefore,
    /// The call is neither forwarded nor answered until released.
    Freeze,
    /// The call is forwarded after this time.
    Slow(Duration),
    /// The proxy answers; nothing is forwarded.
    Status(Response),
    /// The API server executes the call, but the program receives this answer.
    StatusAfter(Response),
}

impl Fault {
    /// Runs a hook before the call is forwarded.
    pub fn before(hook: impl Fn(&Passed) + Send + Sync + 'static) -> Self {
        Self::Before(Box::new(hook))
    }

    /// Runs a hook between the API server's answer and the answer to the program.
    pub fn after(hook: impl Fn(&Passed) + Send + Sync + 'static) -> Self {
        Self::After(Box::new(hook))
    }

    /// Answers with this body.
    pub fn status(code: u16, body: &serde_json::Value) -> Self {
        Self::Status(Response::json(code, body))
    }

    /// Answers with this code after the API server executed the call.
    pub fn status_after(code: u16) -> Self {
        Self::StatusAfter(refusal(code, "", "fault of the proxy"))
    }

    /// Another client has written the object.
    pub fn conflict409() -> Self {
        let message = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and \
             try again";
        Self::Status(refusal(409, "Conflict", message))
    }

    pub fn toomany429(retry_after: u32) -> Self {
        let mut response = refusal(429, "TooManyRequests", "The server has received too many requests and has asked us to try again later");
        response.headers.push(("Retry-After".to_owned(), retry_after.to_string()));
        Self::Status(response)
    }

    pub fn internal500() -> Self {
        Self::Status(refusal(500, "InternalError", "Internal error occurred: fault of the proxy"))
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code});
    if !reason.is_empty() {
        body["reason"] = json!(reason);
    }
    Response::json(code, &body)
}

/// Calls to which [`Calls::inject`] adds a fault.
pub struct Calls {
    fits: Box<dyn Fn(&Passed) -> bool + Send + Sync>,
    /// Numbers of the calls among those that fit, counted from 1 since the rule was added.
    numbers: RangeInclusive<usize>,
}

impl Calls {
    /// Selects only the n-th such call, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        self.numbers = n..=n;
        self
    }

    /// Selects the n-th such call and all later calls.
    #[must_use]
    pub fn from(mut self, n: usize) -> Self {
        self.numbers = n..=usize::MAX;
        self
    }

    /// Selects only calls with this text in the path or query.
    #[must_use]
    pub fn with_path(self, part: &str) -> Self {
        let part = part.to_owned();
        Self { numbers: self.numbers, fits: Box::new(move |passed| passed.path.contains(&part) && (self.fits)(passed)) }
    }

    /// Adds the fault.
    pub fn inject(self, fault: Fault) -> Rule {
        Rule { calls: self, fault: Arc::new(fault), count: 0 }
    }
}

/// Fault and the calls to which it applies.
pub struct Rule {
    calls: Calls,
    fault: Arc<Fault>,
    count: usize,
}

impl Rule {
    /// Selects calls of this verb and resource, as in [`Passed`].
    pub fn on(verb: &str, resource: &str) -> Calls {
        let (verb, resource) = (verb.to_owned(), resource.to_owned());
        Calls { fits: Box::new(move |passed| passed.verb == verb && passed.resource == resource), numbers: ALL }
    }

    pub fn any() -> Calls {
        Calls { fits: Box::new(|_| true), numbers: ALL }
    }

    /// Selects every call that may change an object.
    pub fn any_write() -> Calls {
        Calls { fits: Box::new(Passed::is_write), numbers: ALL }
    }

    /// Counts a call, and returns the fault if it applies to the call.
    pub(super) fn apply(&mut self, passed: &Passed) -> Option<Arc<Fault>> {
        if !(self.calls.fits)(passed) {
            return None;
        }
        self.count += 1;
        self.calls.numbers.contains(&self.count).then(|| Arc::clone(&self.fault))
    }
}

const ALL: RangeInclusive<usize> = 1..=usize::MAX;
