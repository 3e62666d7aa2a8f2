//! Rules for retries. Pure: the attempt, its outcome, the time left and the jitter are arguments.
//!
//! A read may always be repeated. A write is repeated only if the server certainly did not act on it: nothing was sent, the credential
//! was refused before the request was handled (401), or priority and fairness refused it (429 with `Retry-After`). A 429 that names a
//! disruption budget is an answer, not an overload. The caller decides about it, because other pods may be evicted meanwhile.
//!
//! Specification: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/> and
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>.

use std::time::Duration;

use super::status::ApiStatus;
use crate::system::backoff::Backoff;

/// An attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// 1 for the first.
    pub(super) number: u32,
    pub(super) is_write: bool,
    /// A fresh credential was fetched for this call already.
    pub(super) is_renewed: bool,
    pub(super) left: Duration,
    /// Random number from 0 to 1, drawn for each attempt.
    pub(super) jitter: f64,
}

/// Result of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// An answer other than a success.
    Answer(&'a ApiStatus),
    /// Bytes were sent, and no complete answer arrived.
    Lost,
    /// The server got nothing of the request.
    NotSent,
    /// Nothing was sent, because no credential or no trusted server was found. Waiting does not help.
    Untrusted,
}

/// Reaction to a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next {
    GiveUp,
    /// Fetch the credential again, and if the result differs, send the request at once.
    Renew,
    /// Send the request again after this pause.
    Wait(Duration),
}

/// Returns the reaction to `attempt`, which ended with `outcome`.
#[must_use]
pub(super) fn next(attempt: &Attempt, outcome: Outcome<'_>) -> Next {
    if let Outcome::Answer(status) = outcome
        && status.code == 401
    {
        return if attempt.is_renewed { Next::GiveUp } else { Next::Renew };
    }
    if attempt.number >= ATTEMPTS_MAX || !may_repeat(attempt.is_write, outcome) {
        return Next::GiveUp;
    }
    let requested = match outcome {
        Outcome::Answer(status) => status.retry_after_seconds.map(Duration::from_secs),
        _ => None,
    };
    let pause = BACKOFF.pause(attempt.number, attempt.jitter).max(requested.unwrap_or_default().min(RETRY_AFTER_MAX));
    if pause < attempt.left { Next::Wait(pause) } else { Next::GiveUp }
}

fn may_repeat(is_write: bool, outcome: Outcome<'_>) -> bool {
    match outcome {
        Outcome::NotSent => true,
        Outcome::Lost => !is_write,
        Outcome::Untrusted => false,
        Outcome::Answer(status) if is_write => status.code == 429 && status.retry_after_seconds.is_some() && !status.names_a_budget(),
        // A 404 that Kubernetes did not send comes from a proxy, and is as temporary as its 502.
        Outcome::Answer(status) if status.code == 404 => !status.says_not_found(),
        Outcome::Answer(status) => matches!(status.code, 408 | 429 | 500 | 502 | 503 | 504),
    }
}

/// Maximum number of attempts, with the first.
const ATTEMPTS_MAX: u32 = 4;
pub(crate) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(5) };
/// Maximum pause that the server may request. After a longer one the caller gets the error.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::client::status::Cause;

    fn attempt(is_write: bool, number: u32) -> Attempt {
        Attempt { number, is_write, is_renewed: false, left: Duration::from_secs(30), jitter: 1.0 }
    }

    fn wait(milliseconds: u64) -> Next {
        Next::Wait(Duration::from_millis(milliseconds))
    }

    /// Checks the pauses in milliseconds after the first attempt of a read and of a write; 0: none is repeated.
    #[track_caller]
    fn check(outcome: Outcome<'_>, read: u64, write: u64) {
        for (is_write, pause) in [(false, read), (true, write)] {
            let expected = if pause == 0 { Next::GiveUp } else { wait(pause) };
            assert_eq!(next(&attempt(is_write, 1), outcome), expected, "{outcome:?}");
        }
    }

    #[track_caller]
    fn check_answer(code: u16, retry_after_seconds: Option<u64>, read: u64, write: u64) {
        check(Outcome::Answer(&ApiStatus { code, retry_after_seconds, ..ApiStatus::default() }), read, write);
    }

    #[test]
    fn reads_are_repeated_after_what_may_pass_and_writes_only_when_the_server_did_not_act() {
        for code in [408, 429, 500, 502, 503, 504] {
            check_answer(code, None, 250, 0);
        }
        for code in [408, 500, 502, 503, 504] {
            check_answer(code, Some(3), 3_000, 0);
        }
        for code in [302, 400, 403, 409, 410, 422, 501, 505] {
            check_answer(code, None, 0, 0);
        }
        check_answer(409, Some(1), 0, 0);
        check_answer(429, Some(1), 1_000, 1_000);
        check_answer(429, Some(3_600), 10_000, 10_000);
        check_answer(404, None, 250, 0);
        check(Outcome::Answer(&ApiStatus { code: 404, reason: "NotFound".to_owned(), ..ApiStatus::default() }), 0, 0);
        let causes = vec![Cause { reason: "DisruptionBudget".to_owned(), ..Cause::default() }];
        check(Outcome::Answer(&ApiStatus { code: 429, retry_after_seconds: Some(10), causes, ..ApiStatus::default() }), 10_000, 0);
        check(Outcome::Lost, 250, 0);
        check(Outcome::NotSent, 250, 250);
        check(Outcome::Untrusted, 0, 0);
    }

    #[test]
    fn a_refused_credential_is_renewed_once() {
        let refused = ApiStatus { code: 401, ..ApiStatus::default() };
        for is_write in [false, true] {
            assert_eq!(next(&attempt(is_write, 1), Outcome::Answer(&refused)), Next::Renew);
            assert_eq!(next(&Attempt { is_renewed: true, ..attempt(is_write, 2) }, Outcome::Answer(&refused)), Next::GiveUp);
        }
    }

    #[test]
    fn attempts_and_time_are_limited() {
        let waits: Vec<_> = (1..=4).map(|number| next(&attempt(false, number), Outcome::Lost)).collect();
        assert_eq!(waits, [wait(250), wait(500), wait(1_000), Next::GiveUp]);
        for (left, then) in [(249, Next::GiveUp), (250, Next::GiveUp), (251, wait(250))] {
            let late = Attempt { left: Duration::from_millis(left), ..attempt(false, 1) };
            assert_eq!(next(&late, Outcome::Lost), then, "{left} ms are left");
        }
    }
}
