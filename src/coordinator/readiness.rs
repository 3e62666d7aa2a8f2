//! Readiness of this replica, as a stored result: a probe reads it and never waits for Kubernetes.
//!
//! Ready means that no right is missing and that the Lease was read recently. A thread asks for the rights at the start, every hour, and
//! after a refusal. The reconciler reads the Lease anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::Error;
use super::error::error_chain;
use crate::kube::{ApiError, Kube, Permission};
use crate::system::guarded::Guarded;
use crate::system::{clock, threads};

/// Time between two checks of the rights while none is missing. A check makes one call for each right, so this makes 408 calls a day.
/// A right that is needed is noticed by the refusal anyway.
const RIGHTS_EVERY: Duration = Duration::from_secs(3600);

/// Time after which a right that is missing, and was not before, is asked for again before it is reported. An API server that has just
/// started refuses everything until it has read the RBAC rules, which takes about five seconds.
const CONFIRMED_AFTER: Duration = Duration::from_secs(8);

/// Minimum time between two checks of the rights after refusals. A webhook may refuse evictions for days.
const AFTER_REFUSAL_EVERY: Duration = Duration::from_secs(60);

/// Maximum age of the last read of the Lease, which is read every ten seconds.
const LEASE_AGE_MAX: Duration = Duration::from_secs(60);

/// Stored result of the checks.
#[derive(Debug, Default)]
pub struct Readiness {
    state: Guarded<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rights that were missing at the last check.
    missing: Option<Vec<String>>,
    /// Rights that were missing at the first check of all, which must be confirmed.
    unconfirmed: Vec<String>,
    /// Error of a check since then.
    check_error: Option<String>,
    checking: bool,
    checked_at: Option<Instant>,
    /// Kubernetes has refused a call since the last check.
    refused: bool,
    /// Time of the last check after a refusal.
    refusal_checked_at: Option<Instant>,
    /// Result of the last check of the Lease's namespace: `Err` with its name if it does not exist.
    namespace: Option<Result<(), String>>,
    /// Last read of the Lease: the time at which it ended, and its error.
    lease: Option<(Instant, Option<String>)>,
    logged: Option<Result<(), String>>,
}

impl Readiness {
    /// Records that Kubernetes has refused a call (403), as without the right.
    pub fn call_was_refused(&self) {
        self.state.lock().refused = true;
    }

    /// Returns `Ok` if this replica is ready, else a message with one line for each reason.
    pub fn result(&self) -> Result<(), String> {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.log_change(now);
        state.result(now)
    }

    /// Records that the Lease was read, by a request or by the reconciler.
    pub(super) fn lease_was_read(&self) {
        self.record_lease(None);
    }

    /// Records that the reconciler could not read the Lease. With an invalid lock in the Lease the replica stays ready, because its
    /// answers say what to repair.
    pub(super) fn lease_was_not_read(&self, error: &Error) {
        if !matches!(error, Error::Lock(_)) {
            self.record_lease(Some(error_chain(error)));
        }
    }

    /// Reports whether the namespace of the Lease existed at the last check.
    pub(super) fn has_namespace(&self) -> bool {
        self.state.lock().namespace == Some(Ok(()))
    }

    /// Records whether the namespace of the Lease exists.
    pub(super) fn namespace_was_checked(&self, namespace: &str, exists: bool) {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.namespace = Some(if exists { Ok(()) } else { Err(namespace.to_owned()) });
        state.log_change(now);
    }

    /// Checks the rights in the background, if a check is due.
    pub(super) fn check_rights(self: &Arc<Self>, kube: &Arc<Kube>) {
        if !self.state.lock().begin(clock::now().instant) {
            return;
        }
        let (this, kube) = (Arc::clone(self), Arc::clone(kube));
        let started = threads::start("rights", move || {
            let mut missing = kube.missing_permissions();
            if is_refusal(&missing) && this.state.lock().must_confirm(missing.as_deref().unwrap_or_default()) {
                clock::sleep(CONFIRMED_AFTER);
                missing = kube.missing_permissions();
            }
            this.rights_were_checked(missing.map(|missing| names(&missing)).map_err(|error| error_chain(&error)));
        });
        if let Err(error) = started {
            self.rights_were_checked(Err(format!("no thread can be started: {error}")));
        }
    }

    fn record_lease(&self, failure: Option<String>) {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.lease = Some((now, failure));
        state.log_change(now);
    }

    fn rights_were_checked(&self, missing: Result<Vec<String>, String>) {
        let now = clock::now().instant;
        let mut state = self.state.lock();
        state.record(missing, now);
        state.log_change(now);
    }
}

impl State {
    /// Begins a check of the rights if one is due. Returns `true` if the caller must check.
    fn begin(&mut self, now: Instant) -> bool {
        let passed = |since: Option<Instant>, time| since.is_none_or(|since| now.saturating_duration_since(since) >= time);
        let wrong = self.check_error.is_some() || self.missing.as_ref().is_none_or(|missing| !missing.is_empty());
        let refused = self.refused && passed(self.refusal_checked_at, AFTER_REFUSAL_EVERY);
        if self.checking || !(wrong || refused || passed(self.checked_at, RIGHTS_EVERY)) {
            return false;
        }
        if self.refused {
            self.refusal_checked_at = Some(now);
        }
        (self.checking, self.refused) = (true, false);
        true
    }

    /// Reports whether a refusal is new, so that it must be confirmed before it is recorded.
    fn must_confirm(&mut self, missing: &[Permission]) -> bool {
        self.unconfirmed = names(missing);
        self.missing.as_ref().is_none_or(Vec::is_empty)
    }

    fn record(&mut self, missing: Result<Vec<String>, String>, now: Instant) {
        self.checking = false;
        match missing {
            Ok(missing) => (self.missing, self.check_error, self.checked_at) = (Some(missing), None, Some(now)),
            Err(error) => self.check_error = Some(error),
        }
    }

    fn result(&self, now: Instant) -> Result<(), String> {
        let mut lines = Vec::new();
        match (&self.missing, &self.check_error) {
            (Some(missing), _) => lines.extend(missing.iter().map(|permission| format!("{}\n", missing_line(permission)))),
            (None, Some(error)) => lines.push(format!("the rights of the service account cannot be checked: {error}\n")),
            // This replica is not ready yet, so the page may name what is not certain.
            (None, None) if !self.unconfirmed.is_empty() => {
                lines.extend(self.unconfirmed.iter().map(|permission| format!("{}; it is checked again\n", missing_line(permission))));
            }
            (None, None) => lines.push("the rights of the service account are being checked\n".to_owned()),
        }
        if let Some(Err(namespace)) = &self.namespace {
            lines.push(format!("the namespace {namespace:?} of the Lease does not exist: create it, or correct --namespace\n"));
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

    /// Logs the result if it has changed. Nothing is logged while this replica starts.
    fn log_change(&mut self, now: Instant) {
        if (self.missing.is_none() && self.check_error.is_none()) || self.lease.is_none() {
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

fn names(missing: &[Permission]) -> Vec<String> {
    missing.iter().map(ToString::to_string).collect()
}

fn missing_line(permission: &str) -> String {
    format!("the service account may not {permission}: apply the RBAC rules of kubernetes/deployment.yaml")
}

/// Reports whether the API server answers that a right is missing, or that it may not be asked.
fn is_refusal(missing: &Result<Vec<Permission>, ApiError>) -> bool {
    match missing {
        Ok(missing) => !missing.is_empty(),
        Err(error) => matches!(error, ApiError::Refused(..)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::permissions;

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
        check(&state, start, "are being checked\nthe Lease has not been read yet\n");
        state.record(Err("it is down".to_owned()), start);
        check(&state, start, "cannot be checked: it is down\n");
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
        state.namespace = Some(Err("typo".to_owned()));
        check(&state, start, "the namespace \"typo\" of the Lease does not exist: create it, or correct --namespace\n");
        state.namespace = Some(Ok(()));
        // A failed check does not put in doubt what an earlier check has found.
        state.record(Err("it is down".to_owned()), start);
        check(&state, start, "");
    }

    #[test]
    fn rights_are_checked_at_the_start_periodically_after_a_refusal_and_while_one_is_missing() {
        let start = clock::now().instant;
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut state = State::default();
        assert!(state.begin(start) && !state.begin(start), "once at a time");
        state.record(Err("it is down".to_owned()), start);
        assert!(state.begin(start));
        state.record(Ok(vec!["patch nodes".to_owned()]), start);
        assert!(state.begin(start));
        state.record(Ok(Vec::new()), start);
        assert!(!state.begin(start) && !state.begin(later(3599)) && state.begin(later(3600)));
        state.record(Ok(Vec::new()), later(3600));
        state.refused = true;
        assert!(state.begin(later(3601)), "the first refusal counts at once");
        state.record(Ok(Vec::new()), later(3602));
        assert!(!state.begin(later(3700)));
        state.refused = true;
        assert!(state.begin(later(3701)));
        state.record(Ok(Vec::new()), later(3701));
        state.refused = true;
        assert!(!state.begin(later(3760)) && state.begin(later(3761)));
    }

    #[test]
    fn a_day_at_rest_costs_at_most_five_hundred_access_reviews() {
        let start = clock::now().instant;
        let mut state = State::default();
        let mut checks = 0;
        for second in (0..24 * 3600).step_by(10) {
            let now = start + Duration::from_secs(second);
            if state.begin(now) {
                checks += 1;
                state.record(Ok(Vec::new()), now);
            }
        }
        let reviews = checks * permissions(Some("reboot-manager")).len();
        assert!((17..=500).contains(&reviews), "{checks} checks, {reviews} reviews");
    }

    #[test]
    fn a_right_is_found_missing_only_after_a_second_answer() {
        let now = clock::now().instant;
        let missing = &permissions(None)[..1];
        let mut state = State { lease: Some((now, None)), ..State::default() };
        assert!(state.must_confirm(missing), "at the start");
        check(&state, now, "may not get nodes: apply the RBAC rules of kubernetes/deployment.yaml; it is checked again\n");
        state.record(Ok(Vec::new()), now);
        assert!(state.must_confirm(missing), "when none was missing");
        check(&state, now, "");
        state.record(Ok(names(missing)), now);
        assert!(!state.must_confirm(missing), "the checks while one is missing need no other");
        check(&state, now, "may not get nodes: apply the RBAC rules of kubernetes/deployment.yaml\n");
        state.record(Ok(Vec::new()), now);
        state.record(Err("it is down".to_owned()), now);
        assert!(state.must_confirm(missing), "after an outage");
        check(&state, now, "");
    }
}
