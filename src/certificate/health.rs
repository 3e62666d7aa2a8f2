//! Condition of the certificate, for the log, the metrics and the text of `/readyz`: an error, or what will become one.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::renewal::Validity;
use super::served::Served;
use crate::metrics::Metrics;
use crate::system::clock::Now;
use crate::system::repeats::Repeats;

/// Minimum time between two log lines about the same warning, which may hold for a year.
const WARNING_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Time before the end of a certificate in which its renewal is overdue.
const OVERDUE_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Part of the life of a short-lived certificate in which its renewal is overdue.
const OVERDUE_PART: i32 = 6;

/// Errors and warnings to report.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// Errors, which need a person now.
    pub(super) errors: Vec<String>,
    /// Warnings: each names what a person must do by some time.
    pub(super) warnings: Vec<String>,
}

/// The reporter.
#[derive(Debug, Default)]
pub(super) struct Health {
    errors: Repeats,
    /// The warnings that were logged last, and when.
    warned: Option<(Instant, String)>,
}

impl Health {
    /// Reports the condition: in the log if it is new or has lasted, in the metric, and in the text of `/readyz`.
    pub(super) fn report(&mut self, condition: Condition, served: &Served, metrics: &Metrics, now: Now) {
        let Condition { errors, warnings } = condition;
        metrics.certificate_error(!errors.is_empty());
        let [joined_errors, joined_warnings] = [&errors, &warnings].map(|lines| lines.join("; "));
        if errors.is_empty() {
            if self.errors.clear() {
                log::info!("certificate: no error any more");
            }
        } else if self.errors.due(&joined_errors, now.instant).is_some() {
            log::error!("certificate: {joined_errors}");
        }
        let is_fresh =
            |(at, text): &(Instant, String)| *text == joined_warnings && now.instant.saturating_duration_since(*at) < WARNING_EVERY;
        if !warnings.is_empty() && !self.warned.as_ref().is_some_and(is_fresh) {
            log::warn!("certificate: {joined_warnings}");
            self.warned = Some((now.instant, joined_warnings));
        }
        served.set_notes(errors.into_iter().chain(warnings).collect());
    }
}

/// Returns what is wrong with the time for which a certificate is valid, if anything.
pub(super) fn expiry_error(validity: &Validity, now: Timestamp) -> Option<String> {
    let Validity { not_before, not_after } = validity;
    let margin = (not_before.duration_until(*not_after) / OVERDUE_PART).min(OVERDUE_BEFORE);
    if now < *not_before {
        Some(format!("the certificate is valid from {not_before} on, and nodes do not accept it before: is the clock right?"))
    } else if now >= *not_after {
        Some(format!("the certificate ended {not_after}, and nodes do not accept it"))
    } else if now.duration_until(*not_after) < margin {
        Some(format!("the certificate ends {not_after}, and nodes do not accept it from then on: its renewal is overdue"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check([from, to]: [&str; 2], now: &str, says: &str) {
        let validity = Validity { not_before: from.parse().unwrap(), not_after: to.parse().unwrap() };
        let error = expiry_error(&validity, now.parse().unwrap()).unwrap_or_default();
        assert!(if says.is_empty() { error.is_empty() } else { error.contains(says) }, "{now}: {error}");
    }

    #[test]
    fn the_end_is_known_fourteen_days_or_a_sixth_of_the_life_before() {
        let year = ["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"];
        check(year, "2025-12-31T23:59:59Z", "is the clock right?");
        check(year, "2026-01-01T00:00:00Z", "");
        check(year, "2026-12-18T00:00:00Z", "");
        check(year, "2026-12-18T00:00:01Z", "ends 2027-01-01T00:00:00Z");
        check(year, "2026-12-31T23:59:59Z", "renewal is overdue");
        check(year, "2027-01-01T00:00:00Z", "ended 2027-01-01T00:00:00Z");
        let day = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];
        check(day, "2026-01-01T20:00:00Z", "");
        check(day, "2026-01-01T20:00:01Z", "renewal is overdue");
    }
}
