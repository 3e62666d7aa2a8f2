//! Body of an answer that is not a success.
//!
//! Any body becomes an [`ApiStatus`]. No content of the body may make reading the answer fail.
//!
//! Specification: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.

use std::fmt;

use serde::Deserialize;

/// Answer that is not a success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiStatus {
    /// The HTTP status code.
    pub code: u16,
    /// A word for programs, such as `TooManyRequests`; empty where there was none.
    pub reason: String,
    /// A message for people, or the beginning of a body that was no `Status`.
    pub message: String,
    /// `details.causes`.
    pub causes: Vec<Cause>,
    /// `details.name` and `details.kind` (of most refusals the resource, as `nodes`) of the object that the answer is about.
    pub(super) object: (String, String),
    /// The pause for which the server asks, from the header `Retry-After`, else from the body.
    pub retry_after_seconds: Option<u64>,
}

impl ApiStatus {
    /// Reads the body of an answer that is not a success.
    pub fn of_body(code: u16, retry_after_seconds: Option<u64>, body: &[u8]) -> Self {
        let Ok(status) = serde_json::from_slice::<StatusBody>(body) else {
            let message = String::from_utf8_lossy(body).trim().chars().take(MESSAGE_CHARACTERS_MAX).collect();
            return Self { code, message, retry_after_seconds, ..Self::default() };
        };
        let details = status.details.unwrap_or_default();
        Self {
            code,
            reason: status.reason.unwrap_or_default(),
            message: status.message.unwrap_or_default(),
            causes: details.causes.unwrap_or_default(),
            object: (details.name.unwrap_or_default(), details.kind.unwrap_or_default()),
            retry_after_seconds: retry_after_seconds.or_else(|| details.retry_after_seconds.filter(|&seconds| seconds > 0)),
        }
    }

    /// Reports whether the API server itself says that an object does not exist. Any other 404 may come from a proxy.
    #[must_use]
    pub fn says_not_found(&self) -> bool {
        self.code == 404 && self.reason == "NotFound"
    }

    /// Reports whether the API server itself says that the object `name` of `resource` (`nodes`) does not exist.
    #[must_use]
    pub fn is_not_found(&self, resource: &str, name: &str) -> bool {
        self.says_not_found() && self.object == (name.to_owned(), resource.to_owned())
    }

    /// Reports whether a disruption budget refused an eviction.
    #[must_use]
    pub fn names_a_budget(&self) -> bool {
        self.causes.iter().any(|cause| cause.reason == "DisruptionBudget")
    }
}

impl fmt::Display for ApiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if !self.message.is_empty() {
            write!(f, ", \u{201c}{}\u{201d}", self.message)?;
        }
        for cause in self.causes.iter().filter(|cause| !cause.message.is_empty()) {
            write!(f, "; {}", cause.message)?;
        }
        Ok(())
    }
}

/// A cause of a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// A word for programs, such as `DisruptionBudget`.
    pub reason: String,
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody {
    reason: Option<String>,
    message: Option<String>,
    details: Option<StatusDetails>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    name: Option<String>,
    kind: Option<String>,
    causes: Option<Vec<Cause>>,
    retry_after_seconds: Option<u64>,
}

/// Length kept of a body that is no `Status`, for example a proxy's error page.
const MESSAGE_CHARACTERS_MAX: usize = 200;
