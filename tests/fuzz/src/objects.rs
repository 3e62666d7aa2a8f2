//! The smaller objects: Pod, Service, the Secret with a certificate, the ConfigMap of a CA.

use std::net::IpAddr;

use jiff::Timestamp;
use reboot_manager::cluster::{CaMap, Phase, Pod, Service, TlsSecret};
use reboot_manager::drain::{DrainPlan, Ours};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) fn run(input: &[u8]) {
    if let Some(pod) = check::<Pod>(input) {
        let plan = DrainPlan::of(std::slice::from_ref(&pod), &Ours::default(), Timestamp::UNIX_EPOCH, None);
        assert_eq!(plan.left() + plan.skipped.len(), 1, "a pod is evicted or skipped");
        assert!(plan.is_empty() || !pod.mirror && pod.phase == Phase::Live, "{pod:?}");
        assert_eq!(plan.terminating.len(), usize::from(!plan.is_empty() && pod.ends.is_some()));
    }
    if let Some(service) = check::<Service>(input) {
        assert!(service.addresses.iter().all(|address| address.parse::<IpAddr>().is_ok()), "{service:?}");
    }
    if let Some(secret) = check::<TlsSecret>(input) {
        let (certificate, key) = (&secret.pair.certificate, secret.pair.key.reveal());
        let data = secret.pair.data();
        let again = serde_json::json!({"metadata": {"resourceVersion": secret.version}, "data": data});
        let again: TlsSecret = serde_json::from_value(again).expect("a Secret");
        assert_eq!((&again.pair.certificate, again.pair.key.reveal()), (certificate, key));
        assert!(key.len() < 8 || certificate.contains(key) || secret.version.0.contains(key) || !format!("{secret:?}").contains(key));
    }
    if let Some(map) = check::<CaMap>(input) {
        let again = serde_json::json!({"metadata": {"resourceVersion": map.version}, "data": CaMap::data(&map.certificate)});
        assert_eq!(serde_json::from_value::<CaMap>(again).ok(), Some(map));
    }
}

/// Reads from bytes; what a value of the same bytes is read as must be the same.
fn check<T: DeserializeOwned + PartialEq + std::fmt::Debug>(input: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(input).ok()?;
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        assert_eq!(serde_json::from_value::<T>(value).expect("the same object"), read);
    }
    Some(read)
}
