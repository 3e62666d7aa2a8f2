//! Tolerations: may a pod be placed on a cordoned node?
//!
//! Specification: `ToleratesTaint` of k8s.io/component-helpers, which the scheduler's plugin `NodeUnschedulable` calls with the taint of a
//! cordon: key `node.kubernetes.io/unschedulable`, effect `NoSchedule`, no value.

use serde::Deserialize;

/// The taint of a cordon.
const KEY: &str = "node.kubernetes.io/unschedulable";
const EFFECT: &str = "NoSchedule";

/// An entry of `spec.tolerations`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Toleration {
    effect: String,
    key: String,
    operator: String,
    value: String,
}

impl Toleration {
    /// True when the scheduler may place a pod with this toleration on a cordoned node.
    pub(super) fn tolerates_cordon(&self) -> bool {
        let matches = |given: &str, taint: &str| given.is_empty() || given == taint;
        matches(&self.effect, EFFECT)
            && matches(&self.key, KEY)
            && match self.operator.as_str() {
                "" | "Equal" => self.value.is_empty(),
                "Exists" => true,
                // `Lt` and `Gt` compare numbers, and a cordon has none.
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_toleration_matches_the_cordon_as_the_scheduler_matches_it() {
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": KEY, "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": KEY, "operator": "Exists"}), true),
            (json!({"key": KEY, "operator": "Equal", "value": ""}), true),
            (json!({"key": KEY}), true),
            (json!({"key": KEY, "value": "x"}), false),
            (json!({"key": KEY, "operator": "Exists", "value": "x"}), true),
            (json!({"key": KEY, "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": KEY, "operator": "Exists", "effect": "PreferNoSchedule"}), false),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}), false),
            (json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}), false),
            (json!({"key": KEY, "operator": "Lt", "value": ""}), false),
            (json!({"key": KEY, "operator": "exists"}), false),
            (json!({}), true),
        ];
        for (toleration, tolerates) in cases {
            let read: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(read.tolerates_cordon(), tolerates, "{toleration}");
        }
    }
}
