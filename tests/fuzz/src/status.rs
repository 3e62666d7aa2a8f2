//! The body of an answer that is no success, and what it means for an eviction. The first line is the code.

use std::time::Duration;

use reboot_manager::cluster::PodKey;
use reboot_manager::drain::{Eviction, EvictionError, classify};
use reboot_manager::kube::ApiStatus;
use serde_json::Value;

pub(crate) fn run(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let code = parts.next().and_then(|line| str::from_utf8(line).ok()).and_then(|line| line.parse().ok()).unwrap_or(429);
    let body = parts.next().unwrap_or_default();
    let status = ApiStatus::of_body(code, None, body);
    assert_eq!(status.code, code);
    assert!(status.to_string().starts_with(&code.to_string()));
    if let Ok(value) = serde_json::from_slice::<Value>(body)
        && !status.reason.is_empty()
    {
        assert_eq!(value["reason"], status.reason.as_str());
    }
    // A page of a proxy is not kept whole.
    assert!(body.trim_ascii_start().starts_with(b"{") || status.message.chars().count() <= 200, "{status:?}");

    let causes = status.causes.iter().map(|cause| (cause.reason.clone(), cause.message.clone())).collect();
    let retry_after = status.retry_after_seconds.map(Duration::from_secs);
    let not_found = status.is_not_found("pods", "db-0");
    let error = EvictionError { code, message: status.message.clone(), causes, retry_after, not_found };
    let pod = PodKey { namespace: "shop".to_owned(), name: "db-0".to_owned() };
    let eviction = classify(&pod, &error);
    assert_ne!(eviction, Eviction::Evicted, "a refusal was taken for a yes");
    if code == 429 && status.names_a_budget() {
        assert!(matches!(eviction, Eviction::Budget { .. }), "{eviction:?}");
    }
    // Only an answer about this very pod says that it is gone.
    assert!(!matches!(eviction, Eviction::Gone { .. }) || not_found || code == 409 && status.message.contains("UID in "), "{eviction:?}");
}
