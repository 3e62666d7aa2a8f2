//! Answers to an eviction.

use std::time::Duration;

use reboot_manager::cluster::PodKey;
use reboot_manager::drain::{Eviction, EvictionError, classify};
use reboot_manager::kube::ApiStatus;
use serde_json::Value;

use crate::text;

/// Returns what the answer to the eviction of `pod` means: `status`, `body` (an object or a text) and `retry-after` of it.
pub(crate) fn eviction(input: &Value) -> String {
    let (namespace, name) = text(input, "pod").split_once('/').unwrap();
    let pod = PodKey { namespace: namespace.to_owned(), name: name.to_owned() };
    let body = input["body"].as_str().map_or_else(|| input["body"].to_string(), str::to_owned);
    let code = input["status"].as_u64().and_then(|code| u16::try_from(code).ok()).expect("an HTTP status");
    let status = ApiStatus::of_body(code, input["retry-after"].as_u64(), body.as_bytes());
    let not_found = status.is_not_found("pods", name);
    let error = EvictionError {
        code,
        message: status.message,
        causes: status.causes.into_iter().map(|cause| (cause.reason, cause.message)).collect(),
        retry_after: status.retry_after_seconds.map(Duration::from_secs),
        not_found,
    };
    let eviction = classify(&pod, &error);
    let class = match &eviction {
        Eviction::Budget { .. } => "budget".to_owned(),
        Eviction::Evicted => "evicted".to_owned(),
        Eviction::Gone { .. } => "gone".to_owned(),
        Eviction::Postponed { .. } => "postponed".to_owned(),
        Eviction::RateLimited { after } => format!("again after {after:?}"),
        Eviction::Refused { .. } => "refused".to_owned(),
        Eviction::Unclear { .. } => "unclear".to_owned(),
    };
    format!("{class}: the pod {eviction}")
}
