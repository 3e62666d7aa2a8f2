//! Kinds of faults that a call may meet.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use test_cluster::proxy::Fault;

use super::cluster::Current;

/// Kind of fault.
pub(super) struct FaultKind {
    pub(super) name: &'static str,
    /// Makes the fault; a fault may kill the current server.
    pub(super) fault: fn(&Arc<Current>) -> Fault,
}

/// Faults that meet every call in turn.
pub(super) const FAULTS: &[FaultKind] = &[
    FaultKind { name: "the server is killed before the call", fault: |current| Fault::before(kill(current)) },
    FaultKind { name: "the server is killed after the call", fault: |current| Fault::after(kill(current)) },
    FaultKind { name: "done, and the answer is lost", fault: |_| Fault::CutAfter },
    FaultKind { name: "done, and answered 504", fault: |_| Fault::status_after(504) },
    FaultKind { name: "the connection is cut", fault: |_| Fault::CutBefore },
    FaultKind { name: "409", fault: |_| Fault::conflict409() },
    FaultKind { name: "429 with Retry-After", fault: |_| Fault::toomany429(1) },
    FaultKind { name: "429 without Retry-After", fault: |_| status(429, "TooManyRequests") },
    FaultKind { name: "500", fault: |_| Fault::internal500() },
    FaultKind { name: "504", fault: |_| status(504, "Timeout") },
];

/// Writes that happen after the client has given up waiting for the answer.
pub(super) const LATE: &[FaultKind] = &[FaultKind { name: "30 s late", fault: |_| Fault::Slow(Duration::from_secs(30)) }];

fn kill(current: &Arc<Current>) -> impl Fn(&test_cluster::proxy::Passed) + Send + Sync + 'static {
    let current = Arc::clone(current);
    move |_| current.kill()
}

fn status(code: u16, reason: &str) -> Fault {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "code": code,
        "message": "fault of the test"});
    Fault::status(code, &body)
}
