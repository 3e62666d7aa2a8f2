//! Classification of the answers to an eviction. Source: the Eviction API of Kubernetes, and answers that API servers gave.

use std::fmt;
use std::time::Duration;

use crate::cluster::PodKey;

/// The answer to an eviction that was not granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvictionError {
    /// The HTTP status; 0 when there was no answer.
    pub code: u16,
    /// `message`, or the transport's error.
    pub message: String,
    /// `details.causes[]`: reason and message.
    pub causes: Vec<(String, String)>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// A `Status` with reason `NotFound` whose details name this pod.
    pub not_found: bool,
}

/// Result of an eviction. Shown as the clause that ends "pod shop/web-1 ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// A PodDisruptionBudget refuses, for now.
    Budget {
        /// `namespace/name`, where the answer names it.
        budget: Option<String>,
        /// The budget's reason, as "needs 2 healthy pods and has 2 currently".
        needs: String,
    },
    /// Accepted: the pod is terminating.
    Evicted,
    /// The API server answered that the pod is gone, or that its name has another UID. The next list shows whether that is true.
    Gone {
        /// The answer, for a person.
        answer: String,
    },
    /// A webhook refuses with 429, "try again": often because it moves the workload itself, as KubeVirt does.
    Postponed {
        /// Reason, for people.
        why: String,
    },
    /// The API server limits the rate of requests, for any pod.
    RateLimited {
        /// Time to wait.
        after: Duration,
    },
    /// Refused until a person acts: missing right, webhook, two budgets.
    Refused {
        /// Reason, for people.
        why: String,
    },
    /// No clear answer: the eviction may or may not have happened, and is tried again.
    Unclear {
        /// Reason, for people.
        why: String,
    },
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { budget: Some(budget), needs } => write!(f, "is protected by the PodDisruptionBudget {budget} ({needs})"),
            Self::Budget { budget: None, needs } => write!(f, "is protected by a PodDisruptionBudget ({needs})"),
            Self::Evicted => f.write_str("is evicted"),
            Self::Gone { answer } => write!(f, "is not evicted: the API server answered {answer}, but still lists the pod"),
            Self::Postponed { why } => write!(f, "is not evicted yet: {why}"),
            Self::RateLimited { .. } => f.write_str("is not evicted yet: the API server limits the rate of requests"),
            Self::Refused { why } | Self::Unclear { why } => write!(f, "is not evicted: {why}"),
        }
    }
}

/// Classifies the answer to the eviction of `pod`.
pub fn classify(pod: &PodKey, error: &EvictionError) -> Eviction {
    let cause = |reason: &str| error.causes.iter().find(|(known, _)| known == reason).map(|(_, message)| message.as_str());
    let budget = cause("DisruptionBudget");
    match error.code {
        429 if budget.is_some() => by_budget(pod, budget.unwrap_or_default()),
        // A webhook may choose any code, so its 404 does not mean that the pod is gone.
        code if is_of_webhook(&error.message) => by_webhook(code, &error.message),
        404 if error.not_found => Eviction::Gone { answer: in_words(error) },
        409 if is_about_uid(&error.message) => Eviction::Gone { answer: in_words(error) },
        429 if error.message.contains("disruption budget") => by_budget(pod, &error.message),
        429 => Eviction::RateLimited { after: error.retry_after.unwrap_or(Duration::from_secs(1)) },
        500 if error.message.contains("more than one PodDisruptionBudget") => Eviction::Refused {
            why: "more than one PodDisruptionBudget selects it, which Kubernetes does not allow; remove all but one".to_owned(),
        },
        403 if cause("NamespaceTerminating").is_some() => Eviction::Unclear { why: "its namespace is being deleted".to_owned() },
        // Any other 404 may come from a proxy in between, and any other 409 means that another client has changed the pod meanwhile.
        0 | 404 | 408 | 409 | 500..=599 => Eviction::Unclear { why: format!("the eviction has no clear answer ({})", in_words(error)) },
        403 => Eviction::Refused { why: format!("the eviction is forbidden ({})", brief(&error.message)) },
        code => Eviction::Refused { why: format!("the eviction was refused with {code} ({})", brief(&error.message)) },
    }
}

fn is_of_webhook(message: &str) -> bool {
    // The API server puts these words before the message of a webhook, with any status.
    message.contains("admission webhook")
}

fn by_webhook(code: u16, message: &str) -> Eviction {
    match code {
        429 => Eviction::Postponed { why: format!("a webhook refuses it for now ({})", brief(message)) },
        _ => Eviction::Refused { why: format!("a webhook refuses it ({})", brief(message)) },
    }
}

fn is_about_uid(message: &str) -> bool {
    // Two places of the API server check the precondition, each in its own words.
    message.contains("UID in precondition") || message.contains("UID in the precondition")
}

fn in_words(error: &EvictionError) -> String {
    match (error.code, error.message.as_str()) {
        (0, message) => brief(message),
        (code, "") => code.to_string(),
        (code, message) => format!("{code}, {}", brief(message)),
    }
}

fn by_budget(pod: &PodKey, text: &str) -> Eviction {
    // As in "The disruption budget NAME needs N healthy pods and has M currently".
    let named = text.strip_prefix("The disruption budget ").and_then(|rest| rest.split_once(' '));
    match named {
        Some((name, needs)) => Eviction::Budget { budget: Some(format!("{}/{name}", pod.namespace)), needs: needs.to_owned() },
        None => Eviction::Budget { budget: None, needs: brief(text) },
    }
}

fn brief(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str, causes: &[(&str, &str)]) -> EvictionError {
        let causes = causes.iter().map(|(reason, message)| ((*reason).to_owned(), (*message).to_owned())).collect();
        EvictionError { code, message: message.to_owned(), causes, retry_after: Some(Duration::from_secs(7)), not_found: false }
    }

    #[track_caller]
    fn check(error: &EvictionError, want: &str) {
        let pod = PodKey { namespace: "shop".to_owned(), name: "db-0".to_owned() };
        let got = format!("{:?}", classify(&pod, error));
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn each_answer_is_classified() {
        let budget = [("DisruptionBudget", "The disruption budget db needs 2 healthy pods and has 2 currently")];
        check(&error(429, "Cannot evict pod as it would violate the pod's disruption budget.", &budget), "Some(\"shop/db\")");
        check(&error(429, "Cannot evict pod …", &budget), "needs 2 healthy pods and has 2 currently");
        check(&error(429, "The disruption budget db is still being processed by the server.", &[]), "Some(\"shop/db\")");
        check(&error(429, "too many requests, please try again later", &[]), "RateLimited { after: 7s }");
        check(&error(500, "This pod has more than one PodDisruptionBudget, which …", &[]), "Refused");
        check(&error(500, "etcdserver: request timed out", &[]), "Unclear { why: \"the eviction has no clear answer (500, etcdserver");
        check(&error(504, "", &[]), "Unclear { why: \"the eviction has no clear answer (504)");
        check(&error(0, "connection refused", &[]), "Unclear { why: \"the eviction has no clear answer (connection refused)");
        check(&error(403, "namespace shop is being terminated", &[("NamespaceTerminating", "…")]), "Unclear");
        check(&error(403, "pods/eviction is forbidden", &[]), "forbidden (pods/eviction is forbidden)");
        check(&error(418, "no coffee", &[]), "refused with 418 (no coffee)");
    }

    #[test]
    fn a_pod_is_gone_only_by_an_answer_about_this_pod() {
        let not_found = |message: &str| EvictionError { not_found: true, ..error(404, message, &[]) };
        check(&not_found("pods \"db-0\" not found"), "Gone { answer: \"404, pods");
        check(&error(404, "pods \"db-0\" not found", &[]), "Unclear { why: \"the eviction has no clear answer (404, pods");
        check(&error(404, "default backend - 404", &[]), "Unclear { why: \"the eviction has no clear answer (404, default backend - 404)");
        check(&error(409, "… the UID in the precondition (a) does not match the UID in record (b). …", &[]), "Gone { answer: \"409, …");
        check(&error(409, "Precondition failed: UID in precondition: a, UID in object meta: b", &[]), "Gone { answer: \"409, Pre");
        check(&error(409, "the object has been modified", &[]), "Unclear { why: \"the eviction has no clear answer (409, the object");
    }

    #[test]
    fn a_webhook_refuses_with_any_code_and_postpones_with_429() {
        let by_webhook = |code| error(code, "admission webhook \"vm\" denied the request: migrating", &[]);
        let why = "Postponed { why: \"a webhook refuses it for now (admission webhook \\\"vm\\\" denied the request: migrating)";
        check(&by_webhook(429), why);
        for code in [400, 403, 404, 409, 418, 428, 430, 500, 503] {
            let denied = by_webhook(code);
            check(&denied, "Refused { why: \"a webhook refuses it (admission webhook \\\"vm\\\" denied the request: migrating)");
            check(&EvictionError { not_found: true, ..denied }, "Refused");
        }
    }
}
