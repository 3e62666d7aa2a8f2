//! What an eviction's answer means. Source: the Eviction API of Kubernetes, and what API servers were seen to answer.

use std::time::Duration;

use crate::cluster::PodKey;

/// What the API server said to an eviction that it did not grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
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

/// What became of an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// A PodDisruptionBudget says no, for now.
    Budget {
        /// `namespace/name`, where the answer names it.
        budget: Option<String>,
        /// What it says, as "needs 2 healthy pods and has 2 currently".
        needs: String,
    },
    /// Accepted: the pod is terminating.
    Evicted,
    /// The pod is said to be gone, or another pod to have its name. Only the next list shows whether that is so.
    Gone {
        /// The answer, for a person.
        answer: String,
    },
    /// Too many requests; nothing about this pod.
    RateLimited {
        /// How long to wait.
        after: Duration,
    },
    /// Refused in a way that somebody has to look at: missing right, webhook, two budgets.
    Refused {
        /// Why, for a person.
        why: String,
    },
    /// No clear answer: it may or may not have happened; ask again.
    Unclear {
        /// Why, for a person.
        why: String,
    },
}

/// Reads a refusal of the eviction of `pod`.
pub fn meaning(pod: &PodKey, said: &Said) -> Eviction {
    let cause = |reason: &str| said.causes.iter().find(|(known, _)| known == reason).map(|(_, message)| message.as_str());
    let budget = cause("DisruptionBudget");
    match said.code {
        429 if budget.is_some() => by_budget(pod, budget.unwrap_or_default()),
        // A webhook chooses its code freely; with 404 it does not say that the pod is gone.
        _ if is_of_webhook(&said.message) => Eviction::Refused { why: format!("a webhook keeps it ({})", brief(&said.message)) },
        404 if said.not_found => Eviction::Gone { answer: in_words(said) },
        409 if is_about_uid(&said.message) => Eviction::Gone { answer: in_words(said) },
        429 if said.message.contains("disruption budget") => by_budget(pod, &said.message),
        429 => Eviction::RateLimited { after: said.retry_after.unwrap_or(Duration::from_secs(1)) },
        500 if said.message.contains("more than one PodDisruptionBudget") => Eviction::Refused {
            why: "more than one PodDisruptionBudget selects it, and Kubernetes evicts no such pod; remove all but one".to_owned(),
        },
        403 if cause("NamespaceTerminating").is_some() => Eviction::Unclear { why: "its namespace is being deleted".to_owned() },
        // Any other 404 may come from a proxy in between, and any other 409 means that another client has changed the pod meanwhile.
        0 | 404 | 408 | 409 | 500..=599 => Eviction::Unclear { why: format!("the eviction has no clear answer ({})", in_words(said)) },
        403 => Eviction::Refused { why: format!("the eviction is forbidden ({})", brief(&said.message)) },
        code => Eviction::Refused { why: format!("the eviction was refused with {code} ({})", brief(&said.message)) },
    }
}

/// The API server puts these words before the message of a webhook, whatever the webhook answers.
fn is_of_webhook(message: &str) -> bool {
    message.contains("admission webhook")
}

/// Two places of the API server check the precondition, each in its own words.
fn is_about_uid(message: &str) -> bool {
    message.contains("UID in precondition") || message.contains("UID in the precondition")
}

fn in_words(said: &Said) -> String {
    match (said.code, said.message.as_str()) {
        (0, message) => brief(message),
        (code, "") => code.to_string(),
        (code, message) => format!("{code}, {}", brief(message)),
    }
}

/// The message reads "The disruption budget NAME needs N healthy pods and has M currently".
fn by_budget(pod: &PodKey, text: &str) -> Eviction {
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

    fn said(code: u16, message: &str, causes: &[(&str, &str)]) -> Said {
        let causes = causes.iter().map(|(reason, message)| ((*reason).to_owned(), (*message).to_owned())).collect();
        Said { code, message: message.to_owned(), causes, retry_after: Some(Duration::from_secs(7)), not_found: false }
    }

    #[track_caller]
    fn check(said: &Said, want: &str) {
        let pod = PodKey { namespace: "shop".to_owned(), name: "db-0".to_owned() };
        let got = format!("{:?}", meaning(&pod, said));
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let budget = [("DisruptionBudget", "The disruption budget db needs 2 healthy pods and has 2 currently")];
        check(&said(429, "Cannot evict pod as it would violate the pod's disruption budget.", &budget), "Some(\"shop/db\")");
        check(&said(429, "Cannot evict pod …", &budget), "needs 2 healthy pods and has 2 currently");
        check(&said(429, "The disruption budget db is still being processed by the server.", &[]), "Some(\"shop/db\")");
        check(&said(429, "too many requests, please try again later", &[]), "RateLimited { after: 7s }");
        check(&said(500, "This pod has more than one PodDisruptionBudget, which …", &[]), "Refused");
        check(&said(500, "etcdserver: request timed out", &[]), "Unclear { why: \"the eviction has no clear answer (500, etcdserver");
        check(&said(504, "", &[]), "Unclear { why: \"the eviction has no clear answer (504)");
        check(&said(0, "connection refused", &[]), "Unclear { why: \"the eviction has no clear answer (connection refused)");
        check(&said(403, "namespace shop is being terminated", &[("NamespaceTerminating", "…")]), "Unclear");
        check(&said(403, "pods/eviction is forbidden", &[]), "forbidden (pods/eviction is forbidden)");
        check(&said(418, "no coffee", &[]), "refused with 418 (no coffee)");
    }

    #[test]
    fn a_pod_is_gone_only_by_an_answer_about_this_pod() {
        let not_found = |message: &str| Said { not_found: true, ..said(404, message, &[]) };
        check(&not_found("pods \"db-0\" not found"), "Gone { answer: \"404, pods");
        check(&said(404, "pods \"db-0\" not found", &[]), "Unclear { why: \"the eviction has no clear answer (404, pods");
        check(&said(404, "default backend - 404", &[]), "Unclear { why: \"the eviction has no clear answer (404, default backend - 404)");
        check(&said(409, "… the UID in the precondition (a) does not match the UID in record (b). …", &[]), "Gone { answer: \"409, …");
        check(&said(409, "Precondition failed: UID in precondition: a, UID in object meta: b", &[]), "Gone { answer: \"409, Pre");
        check(&said(409, "the object has been modified", &[]), "Unclear { why: \"the eviction has no clear answer (409, the object");
    }

    #[test]
    fn a_webhook_refuses_with_whatever_code_it_chooses() {
        for code in [400, 403, 404, 409, 418, 429, 500, 503] {
            let denied = said(code, "admission webhook \"vm\" denied the request: migrating", &[]);
            check(&denied, "Refused { why: \"a webhook keeps it (admission webhook \\\"vm\\\" denied the request: migrating)");
            check(&Said { not_found: true, ..denied }, "Refused");
        }
    }
}
