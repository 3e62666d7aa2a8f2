//! The readiness of this replica: a stored result. A probe reads it and waits for nothing, however slow Kubernetes is.
//!
//! Ready means that no right is missing and that the Lease was read lately. Rights are asked for on a thread of their own, at
//! the start, now and then, and after a refusal; the Lease is read by the reconciler anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::Error;
use super::error::error_chain;
use crate::kube::Kube;
use crate::system::guarded::Guarded;
use crate::system::{clock, threads};

/// Time between two questions about the rights when all is well: a call for each right, and they seldom change.
const RIGHTS_EVERY: Duration = Duration::from_secs(300);

/// After a refusal the rights are asked for at the next round, but not more often than this: a webhook that denies evictions
/// refuses for days.
const AFTER_REFUSAL_EVERY: Duration = Duration::from_secs(60);

/// The Lease is read every ten seconds. A replica that has not managed to for so long is of no use to a node.
const LEASE_AGE_MAX: Duration = Duration::from_secs(60);

/// The known facts, and since when they are known.
#[derive(Debug, Default)]
pub struct Readiness {
    state: Guarded<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The rights that were missing when they were last asked for.
    missing: Option<Vec<String>>,
    /// The reason why the rights could not be asked for since.
    unasked: Option<String>,
    asking: bool,
    asked_at: Option<Instant>,
    /// Kubernetes has refused something since they were asked for.
    refused: bool,
    refusal_looked_into_at: Option<Instant>,
    /// The last reading of the Lease: when it ended, and why it failed.
    lease: Option<(Instant, Option<String>)>,
    logged: Option<Result<(), String>>,
}

impl Readiness {
    /// Kubernetes has refused a call (403): a right may have been taken away.
    pub fn call_was_refused(&self) {
        self.state.lock().refused = true;
    }

    /// Returns `Ok` when this replica is ready, else a message with one line for each obstacle.
    pub fn result(&self) -> Result<(), String> {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.log_change(now);
        state.result(now)
    }

    /// The Lease was read, by any request or round.
    pub(super) fn lease_was_read(&self) {
        self.record_lease(None);
    }

    /// Records that the reconciler could not read the Lease. An invalid lock in the Lease does not make the replica unready: a node must
    /// get the answer that says what to repair.
    pub(super) fn lease_was_not_read(&self, error: &Error) {
        if !matches!(error, Error::Lock(_)) {
            self.record_lease(Some(error_chain(error)));
        }
    }

    /// Asks for the rights in the background, if it is time to.
    pub(super) fn ask_for_rights(self: &Arc<Self>, kube: &Arc<Kube>) {
        if !self.state.lock().begin(clock::now().instant) {
            return;
        }
        let (this, kube) = (Arc::clone(self), Arc::clone(kube));
        let asked = threads::start("rights", move || {
            let missing = kube.missing_permissions().map_err(|error| error_chain(&error));
            this.rights_were_asked(missing.map(|missing| missing.iter().map(ToString::to_string).collect()));
        });
        if let Err(error) = asked {
            self.rights_were_asked(Err(format!("no thread can be started: {error}")));
        }
    }

    fn record_lease(&self, failure: Option<String>) {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.lease = Some((now, failure));
        state.log_change(now);
    }

    fn rights_were_asked(&self, missing: Result<Vec<String>, String>) {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.record(missing, now);
        state.log_change(now);
    }
}

impl State {
    /// `true` when it is time to ask for the rights; then the caller must.
    fn begin(&mut self, now: Instant) -> bool {
        let passed = |since: Option<Instant>, time| since.is_none_or(|since| now.saturating_duration_since(since) >= time);
        let wrong = self.unasked.is_some() || self.missing.as_ref().is_none_or(|missing| !missing.is_empty());
        let refused = self.refused && passed(self.refusal_looked_into_at, AFTER_REFUSAL_EVERY);
        if self.asking || !(wrong || refused || passed(self.asked_at, RIGHTS_EVERY)) {
            return false;
        }
        if self.refused {
            self.refusal_looked_into_at = Some(now);
        }
        (self.asking, self.refused) = (true, false);
        true
    }

    fn record(&mut self, missing: Result<Vec<String>, String>, now: Instant) {
        self.asking = false;
        match missing {
            Ok(missing) => (self.missing, self.unasked, self.asked_at) = (Some(missing), None, Some(now)),
            Err(error) => self.unasked = Some(error),
        }
    }

    fn result(&self, now: Instant) -> Result<(), String> {
        let mut lines = Vec::new();
        match (&self.missing, &self.unasked) {
            (Some(missing), _) => lines.extend(missing.iter().map(|permission| {
                format!("the service account may not {permission}: apply the RBAC rules of kubernetes/deployment.yaml\n")
            })),
            (None, Some(error)) => lines.push(format!("the rights of the service account cannot be asked for: {error}\n")),
            (None, None) => lines.push("the rights of the service account are being asked for\n".to_owned()),
        }
        match &self.lease {
            None => lines.push("the Lease has not been read yet\n".to_owned()),
            Some((_, Some(error))) => lines.push(format!("the Lease cannot be used: {error}\n")),
            Some((at, None)) if now.saturating_duration_since(*at) > LEASE_AGE_MAX => {
                lines.push(format!("the Lease was last read more than {} s ago: the API server is slow\n", LEASE_AGE_MAX.as_secs()));
            }
            Some((_, None)) => {}
        }
        if lines.is_empty() { Ok(()) } else { Err(lines.concat()) }
    }

    /// Logs the result when it is another than before. Nothing is logged while this replica starts.
    fn log_change(&mut self, now: Instant) {
        if (self.missing.is_none() && self.unasked.is_none()) || self.lease.is_none() {
            return;
        }
        let result = self.result(now);
        if self.logged.as_ref() == Some(&result) {
            return;
        }
        match &result {
            Err(why) => warn!("not ready: {}", why.trim_end().replace('\n', "; ")),
            Ok(()) if self.logged.is_some() => info!("ready again"),
            Ok(()) => {}
        }
        self.logged = Some(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &State, now: Instant, says: &str) {
        match state.result(now) {
            Ok(()) => assert_eq!(says, ""),
            Err(lines) => assert!(!says.is_empty() && lines.contains(says), "{lines:?}"),
        }
    }

    #[test]
    fn ready_is_no_right_missing_and_the_lease_read_lately() {
        let start = clock::now().instant;
        let mut state = State::default();
        check(&state, start, "are being asked for\nthe Lease has not been read yet\n");
        state.record(Err("it is down".to_owned()), start);
        check(&state, start, "cannot be asked for: it is down\n");
        state.record(Ok(Vec::new()), start);
        check(&state, start, "the Lease has not been read yet\n");
        state.lease = Some((start, None));
        check(&state, start + LEASE_AGE_MAX, "");
        check(&state, start + LEASE_AGE_MAX + Duration::from_millis(1), "more than 60 s ago");
        state.lease = Some((start, Some("it is down".to_owned())));
        check(&state, start, "the Lease cannot be used: it is down\n");
        state.lease = Some((start, None));
        state.record(Ok(vec!["patch nodes".to_owned()]), start);
        check(&state, start, "the service account may not patch nodes: apply the RBAC rules of kubernetes/deployment.yaml\n");
        state.record(Ok(Vec::new()), start);
        // What was granted is not in doubt because it cannot be asked for just now.
        state.record(Err("it is down".to_owned()), start);
        check(&state, start, "");
    }

    #[test]
    fn rights_are_asked_for_at_the_start_now_and_then_after_a_refusal_and_while_something_is_wrong() {
        let start = clock::now().instant;
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut state = State::default();
        assert!(state.begin(start) && !state.begin(start), "once at a time");
        state.record(Err("it is down".to_owned()), start);
        assert!(state.begin(start));
        state.record(Ok(vec!["patch nodes".to_owned()]), start);
        assert!(state.begin(start));
        state.record(Ok(Vec::new()), start);
        assert!(!state.begin(start) && !state.begin(later(299)) && state.begin(later(300)));
        state.record(Ok(Vec::new()), later(300));
        state.refused = true;
        assert!(state.begin(later(301)), "the first refusal counts at once");
        state.record(Ok(Vec::new()), later(302));
        assert!(!state.begin(later(400)));
        state.refused = true;
        assert!(state.begin(later(401)));
        state.record(Ok(Vec::new()), later(401));
        state.refused = true;
        assert!(!state.begin(later(460)) && state.begin(later(461)));
    }
}
