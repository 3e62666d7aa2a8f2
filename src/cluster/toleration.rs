//! Taints and tolerations: whether a pod may be placed on a node.
//!
//! Specification: `ToleratesTaint` of k8s.io/component-helpers, as the scheduler's plugins `TaintToleration` and `NodeUnschedulable` call it.

use serde::Deserialize;

/// An entry of a Node's `spec.taints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
// A Node is read even if one of its taints is incomplete.
#[serde(default)]
pub(super) struct Taint {
    key: String,
    effect: String,
    value: String,
}

/// An entry of a Pod's `spec.tolerations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[serde(expecting = "an object")]
pub struct Toleration {
    effect: String,
    key: String,
    operator: String,
    value: String,
}

impl Taint {
    /// Returns the taint of a cordon.
    pub(super) fn of_cordon() -> Self {
        Self { key: "node.kubernetes.io/unschedulable".to_owned(), effect: "NoSchedule".to_owned(), value: String::new() }
    }

    /// Reports whether the scheduler places no pod against this taint; `PreferNoSchedule` is only avoided.
    pub(super) fn is_strict(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
    }
}

impl Toleration {
    pub(super) fn tolerates(&self, taint: &Taint) -> bool {
        let matches = |given: &str, of_taint: &str| given.is_empty() || given == of_taint;
        matches(&self.effect, &taint.effect)
            && matches(&self.key, &taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                // `Lt` and `Gt`, which compare numbers, are off by default in Kubernetes.
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(taint: &Taint, cases: impl IntoIterator<Item = (Value, bool)>) {
        for (toleration, tolerates) in cases {
            let read: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(read.tolerates(taint), tolerates, "{toleration} {taint:?}");
        }
    }

    #[test]
    fn the_cordon_is_tolerated_as_by_the_scheduler() {
        let cordon = Taint::of_cordon();
        let key = &cordon.key;
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": key, "operator": "Exists"}), true),
            (json!({"key": key, "operator": "Equal", "value": ""}), true),
            (json!({"key": key}), true),
            (json!({"key": key, "value": "x"}), false),
            (json!({"key": key, "operator": "Exists", "value": "x"}), true),
            (json!({"key": key, "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": key, "operator": "Exists", "effect": "PreferNoSchedule"}), false),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}), false),
            (json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}), false),
            (json!({"key": key, "operator": "Lt", "value": ""}), false),
            (json!({"key": key, "operator": "exists"}), false),
            (json!({}), true),
        ];
        check(&cordon, cases);
    }

    #[test]
    fn a_taint_with_a_value_is_tolerated_as_by_the_scheduler() {
        let taint: Taint = serde_json::from_value(json!({"key": "pool", "value": "web", "effect": "NoExecute"})).unwrap();
        let cases = [
            (json!({"key": "pool", "operator": "Equal", "value": "web", "effect": "NoExecute"}), true),
            (json!({"key": "pool", "value": "web"}), true),
            (json!({"key": "pool", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), true),
            (json!({"key": "pool", "operator": "Equal", "value": "db"}), false),
            (json!({"key": "pool"}), false),
            (json!({"key": "pools", "operator": "Exists"}), false),
            (json!({"key": "pool", "value": "web", "effect": "NoSchedule"}), false),
            (json!({"key": "pool", "operator": "Gt", "value": "web"}), false),
        ];
        check(&taint, cases);
    }
}
