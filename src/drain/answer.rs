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
    /// The pod is gone, or another pod has its name.
    Gone,
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
        404 | 409 => Eviction::Gone,
        429 => match (budget, said.retry_after) {
            (Some(text), _) => by_budget(pod, text),
            (None, _) if said.message.contains("disruption budget") => by_budget(pod, &said.message),
            (None, _) if said.message.contains("admission webhook") => {
                Eviction::Refused { why: format!("a webhook keeps it ({})", brief(&said.message)) }
            }
            (None, after) => Eviction::RateLimited { after: after.unwrap_or(Duration::from_secs(1)) },
        },
        500 if said.message.contains("more than one PodDisruptionBudget") => Eviction::Refused {
            why: "more than one PodDisruptionBudget selects it, and Kubernetes evicts no such pod; remove all but one".to_owned(),
        },
        403 if cause("NamespaceTerminating").is_some() => Eviction::Unclear { why: "its namespace is being deleted".to_owned() },
        0 | 408 | 500..=599 => Eviction::Unclear { why: format!("the eviction has no clear answer ({})", brief(&said.message)) },
        403 => Eviction::Refused { why: format!("the eviction is forbidden ({})", brief(&said.message)) },
        code => Eviction::Refused { why: format!("the eviction was refused with {code} ({})", brief(&said.message)) },
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
        Said { code, message: message.to_owned(), causes, retry_after: Some(Duration::from_secs(7)) }
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
        check(&said(429, "admission webhook \"kubevirt\" denied the request: migrating", &[]), "Refused { why: \"a webhook keeps it");
        check(&said(404, "pods \"db-0\" not found", &[]), "Gone");
        check(&said(409, "the UID in the precondition (a) does not match the UID in record (b)", &[]), "Gone");
        check(&said(500, "This pod has more than one PodDisruptionBudget, which …", &[]), "Refused");
        check(&said(500, "etcdserver: request timed out", &[]), "Unclear");
        check(&said(504, "", &[]), "Unclear");
        check(&said(0, "connection refused", &[]), "Unclear");
        check(&said(403, "namespace shop is being terminated", &[("NamespaceTerminating", "…")]), "Unclear");
        check(&said(403, "pods/eviction is forbidden", &[]), "forbidden (pods/eviction is forbidden)");
        check(&said(418, "admission webhook \"x\" denied the request", &[]), "refused with 418 (admission webhook");
    }
}
