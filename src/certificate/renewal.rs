//! Renewal of our own certificates. Pure: the validity, the wanted names and the time are arguments.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub not_before: Timestamp,
    /// `notAfter`.
    pub not_after: Timestamp,
}

/// Reason to make a new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// Two thirds of its life are over.
    Age(Timestamp),
    /// The certificate is not signed by our CA, or is unreadable.
    Foreign(String),
    /// The certificate lacks these addresses or names.
    Missing(Vec<String>),
    /// No certificate is stored.
    New,
}

/// Validity of a new certificate.
pub(super) const LIFE: Duration = Duration::from_secs(365 * DAY);

/// Returns why a certificate for `names` is replaced; `None` if it is kept. `last` is the end of its CA. No certificate outlives the
/// CA, so near that end a new one is made only if it lasts a day longer.
pub(super) fn next(
    held: &Validity,
    names: &BTreeSet<String>,
    wanted: &BTreeSet<String>,
    last: Timestamp,
    now: Timestamp,
) -> Option<Renewal> {
    let missing: Vec<String> = wanted.difference(names).cloned().collect();
    if !missing.is_empty() {
        return Some(Renewal::Missing(missing));
    }
    let life = held.not_before.duration_until(held.not_after);
    let due = held.not_before.saturating_add(life * 2 / 3).unwrap_or(held.not_after);
    let gain = held.not_after.duration_until(end(last, now));
    (now >= due && gain >= GAIN_MIN).then_some(Renewal::Age(held.not_after))
}

/// Returns when a certificate made now ends.
pub(super) fn end(last: Timestamp, now: Timestamp) -> Timestamp {
    now.saturating_add(LIFE).unwrap_or(last).min(last)
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(not_after) => write!(f, "the old one ends {not_after}"),
            Self::Foreign(how) => write!(f, "the old one is not from this CA: {how}"),
            Self::Missing(names) => write!(f, "the old one does not hold for {}", names.join(", ")),
            Self::New => f.write_str("there was none"),
        }
    }
}

const DAY: u64 = 24 * 3600;
/// Minimum extension by a new certificate.
const GAIN_MIN: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2027-01-01T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(held: &[&str], wanted: &[&str], last: &str, now: &str, expected: &Option<Renewal>) {
        let validity = Validity { not_before: at(BEGIN), not_after: at(END) };
        assert_eq!(next(&validity, &names(held), &names(wanted), at(last), at(now)), *expected);
    }

    #[test]
    fn each_reason_has_its_words() {
        let said =
            [Renewal::Age(at(END)), Renewal::Foreign("x".to_owned()), Renewal::Missing(vec!["a".to_owned(), "b".to_owned()]), Renewal::New]
                .map(|why| why.to_string());
        let wanted = [
            "the old one ends 2027-01-01T00:00:00Z",
            "the old one is not from this CA: x",
            "the old one does not hold for a, b",
            "there was none",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_certificate_stays_for_two_thirds_of_its_life() {
        let (last, name) = ("2036-01-01T00:00:00Z", &["10.0.0.1"][..]);
        // 365 days: two thirds are 243 days and 8 hours.
        check(name, name, last, BEGIN, &None);
        check(name, name, last, "2026-09-01T07:59:59Z", &None);
        check(name, name, last, "2026-09-01T08:00:00Z", &Some(Renewal::Age(at(END))));
        check(name, name, last, "2030-01-01T00:00:00Z", &Some(Renewal::Age(at(END))));
        // A clock that is behind does not make it old.
        check(name, name, last, "2025-06-01T00:00:00Z", &None);
    }

    #[test]
    fn a_missing_name_renews_at_any_age_and_a_name_too_many_does_not() {
        let last = "2036-01-01T00:00:00Z";
        let missing = |all: &[&str]| Some(Renewal::Missing(all.iter().map(|name| (*name).to_owned()).collect()));
        check(&["a"], &["a", "fd00::1"], last, BEGIN, &missing(&["fd00::1"]));
        check(&[], &["a", "b"], last, "2030-01-01T00:00:00Z", &missing(&["a", "b"]));
        check(&["a", "b"], &["a"], last, BEGIN, &None);
        check(&["a"], &[], last, BEGIN, &None);
    }

    #[test]
    fn nothing_outlives_the_ca() {
        let (name, late) = (&["a"][..], "2026-12-01T00:00:00Z");
        check(name, name, END, late, &None);
        check(name, name, "2027-01-01T23:59:59Z", late, &None);
        check(name, name, "2027-01-02T00:00:00Z", late, &Some(Renewal::Age(at(END))));
        assert_eq!(end(at(END), at(late)), at(END));
        assert_eq!(end(at("2036-01-01T00:00:00Z"), at(BEGIN)), at("2027-01-01T00:00:00Z"));
    }
}
