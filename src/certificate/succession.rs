//! Life of our CA: when the first one is made, when its successor is made, and from when the successor signs. Pure: the stored objects
//! and the time are arguments.
//!
//! Nodes trust a CA because people have installed it on them. So a CA must never change unannounced: a successor is first shown beside
//! it, and a CA whose key is lost is replaced only if a person asks.

use jiff::{SignedDuration, Timestamp};

use super::authority::certificates;
use crate::cluster::CaBundle;

/// Change of the stored CA that is due now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first CA is made and stored.
    First,
    /// The certificates of the CA before are no longer shown.
    Forget,
    /// The Secret is missing, and this replica knows what it held: that is stored again.
    Restore(CaBundle),
    /// No change.
    Rest,
    /// The next CA is made, and shown beside the present one.
    Successor,
    /// The next CA signs from now on.
    Succeed,
}

/// Facts on which the next step depends.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts<'a> {
    /// The content of the Secret; `None`: there is no Secret.
    pub(super) stored: Option<&'a CaBundle>,
    /// The content of the Secret when this replica last read it.
    pub(super) remembered: Option<&'a CaBundle>,
    /// End of the CA that signs; `None` if it cannot be used.
    pub(super) current_end: Option<Timestamp>,
    /// Time at which the next CA was made; `None` if it cannot be used.
    pub(super) next_made: Option<Timestamp>,
    /// A certificate of a CA is shown in the ConfigMap, or a server certificate that is still valid is stored or served.
    pub(super) is_trusted: bool,
    /// Time from which a person wants the next CA to sign, with its text.
    pub(super) asked: Option<(Timestamp, &'a str)>,
}

impl Facts<'_> {
    /// Returns the step that is due.
    pub(super) fn next(&self, now: Timestamp) -> Step {
        let Some(stored) = self.stored else {
            return match self.remembered {
                Some(bundle) => Step::Restore(bundle.clone()),
                None if !self.is_trusted => Step::First,
                None if self.asked.is_some() => Step::Successor,
                None => Step::Rest,
            };
        };
        // A next CA that cannot be used must never sign: the key of the present one is given up for it.
        if stored.next.is_some() && self.next_made.is_none() {
            return Step::Successor;
        }
        if stored.next.is_none() {
            let ends = self.current_end.is_some_and(|end| now >= before(end, SHOWN_BEFORE_END));
            if ends || self.is_asked() {
                return Step::Successor;
            }
        } else if self.signs_from().is_some_and(|from| now >= from) {
            return Step::Succeed;
        }
        let is_old = stored.signs_since.is_some_and(|since| now >= since.saturating_add(FORGET_AFTER).unwrap_or(since));
        if is_old && !stored.previous.is_empty() { Step::Forget } else { Step::Rest }
    }

    /// Returns the time from which the next CA signs, once it is made; `None`: not until a person gives a time.
    pub(super) fn signs_from(&self) -> Option<Timestamp> {
        let asked = self.asked.filter(|_| self.is_asked()).map(|(from, _text)| from);
        match (asked, self.current_end) {
            // A certificate ends with its CA at the latest, so no date after that end helps anyone.
            (Some(asked), Some(end)) => Some(asked.min(before(end, SIGNS_BEFORE_END_MIN))),
            (None, Some(end)) => {
                // A CA whose end was noticed late: nodes get what time there is.
                let shown = self.next_made.and_then(|made| made.checked_add(SIGNS_BEFORE_END).ok());
                let from = before(end, SIGNS_BEFORE_END);
                Some(shown.map_or(from, |shown| shown.max(from)).min(before(end, SIGNS_BEFORE_END_MIN)))
            }
            (asked, None) => asked,
        }
    }

    /// Reports whether a person has asked for another CA and has not got it yet.
    fn is_asked(&self) -> bool {
        let fulfilled = self.stored.and_then(|stored| stored.fulfilled.as_deref());
        self.asked.is_some_and(|(_from, text)| fulfilled != Some(text))
    }

    /// Reports whether a person has asked for another CA that signs by now.
    pub(super) fn is_done(&self) -> bool {
        self.stored.is_some() && self.asked.is_some() && !self.is_asked()
    }
}

/// Returns the CAs after the next one has begun to sign. `asked`: text of the wish, if there is one.
pub(super) fn succeeded(bundle: &CaBundle, asked: Option<&str>, now: Timestamp) -> CaBundle {
    let Some(next) = &bundle.next else { return bundle.clone() };
    let previous = if bundle.current.certificate.is_empty() { &bundle.previous } else { &bundle.current.certificate };
    // The old key is not kept: it may be the reason for the change.
    let fulfilled = asked.map(str::to_owned);
    CaBundle { current: next.clone(), next: None, previous: previous.clone(), signs_since: Some(now), fulfilled }
}

/// Reports whether nodes may trust the stored CA: its certificate is among those that are shown, or none is shown.
pub(super) fn is_shown(bundle: &CaBundle, shown: &[String]) -> bool {
    shown.is_empty() || bundle.current.is_empty() || shown.iter().any(|shown| is_signer(bundle, shown))
}

/// Reports whether this is the certificate of the CA that signs.
pub(super) fn is_signer(bundle: &CaBundle, certificate: &String) -> bool {
    certificates(&bundle.current.certificate).first() == Some(certificate)
}

fn before(end: Timestamp, time: SignedDuration) -> Timestamp {
    end.saturating_sub(time).unwrap_or(end)
}

/// Time before the end of a CA from which its successor is shown: nodes are often changed once a year.
const SHOWN_BEFORE_END: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Time before the end of a CA from which its successor signs if no other time is given, and minimum time between making and signing.
const SIGNS_BEFORE_END: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Minimum time before the end of a CA from which its successor signs, whatever time is given.
const SIGNS_BEFORE_END_MIN: SignedDuration = SignedDuration::from_hours(24);

/// Time after which the old CA is no longer shown. Other replicas may serve its certificates for ten minutes.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{KeyPem, Pair};

    const END: &str = "2036-01-01T00:00:00Z";
    const NOW: &str = "2030-06-01T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn pair(name: &str) -> Pair {
        Pair { certificate: name.to_owned(), key: KeyPem::new(name.to_owned()) }
    }

    fn first() -> CaBundle {
        CaBundle::first(pair("first"))
    }

    fn with_next() -> CaBundle {
        CaBundle { next: Some(pair("next")), ..first() }
    }

    fn second(since: &str) -> CaBundle {
        succeeded(&with_next(), Some(NOW), at(since))
    }

    /// A wish, and its text.
    fn wish(text: &str) -> Option<(Timestamp, &str)> {
        Some((at(text), text))
    }

    /// Time at which the next CA of these tests was made.
    const MADE: &str = "2030-01-01T00:00:00Z";

    #[track_caller]
    fn check(facts: &Facts<'_>, now: &str, expected: &Step) {
        assert_eq!(facts.next(at(now)), *expected, "{facts:?}");
    }

    #[test]
    fn a_ca_is_made_only_if_none_is_trusted_or_a_person_asks() {
        let (nothing, bundle) = (Facts::default(), first());
        check(&nothing, NOW, &Step::First);
        check(&Facts { is_trusted: true, ..nothing.clone() }, NOW, &Step::Rest);
        check(&Facts { is_trusted: true, asked: wish(END), ..nothing.clone() }, NOW, &Step::Successor);
        for is_trusted in [false, true] {
            let remembered = Facts { remembered: Some(&bundle), is_trusted, asked: wish(NOW), ..nothing.clone() };
            check(&remembered, NOW, &Step::Restore(first()));
        }
        // A CA that cannot be used is not replaced, either.
        let unusable = Facts { stored: Some(&bundle), is_trusted: true, ..nothing };
        check(&unusable, "2040-01-01T00:00:00Z", &Step::Rest);
        check(&Facts { asked: wish(END), ..unusable }, NOW, &Step::Successor);
    }

    #[test]
    fn a_ca_near_its_end_is_followed_by_one_that_was_shown_for_eleven_months() {
        let (bundle, with_next) = (first(), with_next());
        let facts = Facts { stored: Some(&bundle), current_end: Some(at(END)), is_trusted: true, ..Facts::default() };
        check(&facts, "2034-12-31T23:59:59Z", &Step::Rest);
        check(&facts, "2035-01-01T00:00:00Z", &Step::Successor);
        let shown = Facts { stored: Some(&with_next), next_made: Some(at(MADE)), ..facts };
        check(&shown, "2035-01-01T00:00:00Z", &Step::Rest);
        check(&shown, "2035-12-01T23:59:59Z", &Step::Rest);
        check(&shown, "2035-12-02T00:00:00Z", &Step::Succeed);
        // Noticed late: 30 days if they are left, else all but one.
        let late = Facts { next_made: Some(at("2035-11-20T00:00:00Z")), ..shown.clone() };
        check(&late, "2035-12-19T23:59:59Z", &Step::Rest);
        check(&late, "2035-12-20T00:00:00Z", &Step::Succeed);
        let later = Facts { next_made: Some(at("2035-12-20T00:00:00Z")), ..shown };
        check(&later, "2035-12-30T23:59:59Z", &Step::Rest);
        check(&later, "2035-12-31T00:00:00Z", &Step::Succeed);
    }

    #[test]
    fn a_person_gives_the_time_and_gets_one_ca_for_it() {
        let (bundle, with_next, second) = (first(), with_next(), second("2030-06-01T00:00:05Z"));
        let asked = Facts { stored: Some(&bundle), current_end: Some(at(END)), is_trusted: true, asked: wish(NOW), ..Facts::default() };
        check(&asked, "2030-05-01T00:00:00Z", &Step::Successor);
        check(&Facts { stored: Some(&with_next), next_made: Some(at(MADE)), ..asked.clone() }, "2030-05-31T23:59:59Z", &Step::Rest);
        check(&Facts { stored: Some(&with_next), next_made: Some(at(MADE)), ..asked.clone() }, NOW, &Step::Succeed);
        let done = Facts { stored: Some(&second), ..asked.clone() };
        check(&done, "2030-06-01T00:00:05Z", &Step::Rest);
        assert!(done.is_done() && !asked.is_done());
        // Another time is another wish, also one that has passed.
        check(&Facts { asked: wish("2026-01-01T00:00:00Z"), ..done.clone() }, "2030-06-01T00:00:06Z", &Step::Successor);
        let again = Facts { asked: wish("2031-01-01T00:00:00Z"), ..done };
        assert!(!again.is_done());
        check(&again, "2030-06-01T00:00:06Z", &Step::Successor);
        // A time after the end of the CA would leave nodes without a certificate.
        let late = Facts { stored: Some(&with_next), next_made: Some(at(MADE)), asked: wish("2040-01-01T00:00:00Z"), ..asked };
        check(&late, "2035-12-30T23:59:59Z", &Step::Rest);
        check(&late, "2035-12-31T00:00:00Z", &Step::Succeed);
        // It is fulfilled by the one CA that came sooner.
        let after = succeeded(&with_next, Some("2040-01-01T00:00:00Z"), at("2035-12-31T00:00:00Z"));
        let fulfilled = Facts { stored: Some(&after), current_end: Some(at("2045-12-31T00:00:00Z")), next_made: None, ..late };
        assert!(fulfilled.is_done());
        check(&fulfilled, "2035-12-31T00:00:01Z", &Step::Rest);
    }

    #[test]
    fn a_next_ca_that_cannot_be_used_is_made_again_and_never_signs() {
        let with_next = with_next();
        let facts = Facts { stored: Some(&with_next), current_end: Some(at(END)), is_trusted: true, asked: wish(NOW), ..Facts::default() };
        for now in [MADE, NOW, "2035-12-31T00:00:00Z"] {
            check(&facts, now, &Step::Successor);
        }
    }

    #[test]
    fn a_lost_ca_is_followed_only_at_a_time_that_a_person_gives() {
        let lost = CaBundle { current: pair(""), next: Some(pair("next")), previous: "first".to_owned(), ..first() };
        let facts = Facts { stored: Some(&lost), next_made: Some(at(MADE)), is_trusted: true, ..Facts::default() };
        assert_eq!(facts.signs_from(), None);
        check(&facts, "2050-01-01T00:00:00Z", &Step::Rest);
        let asked = Facts { asked: wish(NOW), ..facts };
        check(&asked, "2030-05-31T23:59:59Z", &Step::Rest);
        check(&asked, NOW, &Step::Succeed);
        let after = succeeded(&lost, None, at(NOW));
        assert_eq!((after.current, after.next, after.previous.as_str()), (pair("next"), None, "first"));
    }

    #[test]
    fn the_old_ca_is_shown_for_a_day_more_without_its_key() {
        let bundle = second(NOW);
        assert_eq!((&bundle.current, &bundle.next, bundle.previous.as_str()), (&pair("next"), &None, "first"));
        let facts = Facts { stored: Some(&bundle), current_end: Some(at("2040-06-01T00:00:00Z")), is_trusted: true, ..Facts::default() };
        check(&facts, "2030-06-01T23:59:59Z", &Step::Rest);
        check(&facts, "2030-06-02T00:00:00Z", &Step::Forget);
        let forgotten = CaBundle { previous: String::new(), ..bundle.clone() };
        check(&Facts { stored: Some(&forgotten), ..facts }, "2030-06-02T00:00:00Z", &Step::Rest);
    }
}
