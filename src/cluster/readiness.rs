//! The condition `Ready` of a Node.

use jiff::Timestamp;
use serde::Deserialize;

/// The condition `Ready` of a Node, which the kubelet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `False` or `Unknown`.
    NotReady,
    /// `True`.
    Ready,
    /// The condition is absent.
    Unknown,
}

/// `status.conditions`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Conditions(Option<Vec<Condition>>);

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default, rename = "lastTransitionTime")]
    since: Option<Timestamp>,
}

impl Conditions {
    /// Returns the condition `Ready` and the time of its last transition.
    pub(super) fn readiness(&self) -> (Readiness, Option<Timestamp>) {
        match self.0.iter().flatten().find(|condition| condition.kind == "Ready") {
            None => (Readiness::Unknown, None),
            Some(condition) if condition.status == "True" => (Readiness::Ready, condition.since),
            Some(condition) => (Readiness::NotReady, condition.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_that_of_the_condition_ready() {
        let read = |text: &str| serde_json::from_str::<Conditions>(text).unwrap().readiness();
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let cases = [
            ("null", (Readiness::Unknown, None)),
            ("[]", (Readiness::Unknown, None)),
            (r#"[{"type": "DiskPressure", "status": "True"}]"#, (Readiness::Unknown, None)),
            (r#"[{"type": "Ready", "status": "True"}]"#, (Readiness::Ready, None)),
            (
                r#"[{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}]"#,
                (Readiness::NotReady, Some(since)),
            ),
            (
                r#"[{"type": "PIDPressure", "status": "True"}, {"type": "Ready", "status": "False", "lastTransitionTime": null}]"#,
                (Readiness::NotReady, None),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
