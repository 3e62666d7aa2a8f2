//! Source of a request: the check that the peer of a connection is the node that the request names.
//!
//! Some networks keep the address of a process on its way to a pod. Others replace it by the gateway or tunnel address of the pod
//! network, or hide it behind another node. So administrators can try the check (`log`) before they rely on it (`enforce`).
//! docs/security.md says which networks do what.

use core::net::IpAddr;

use clap::ValueEnum;

use crate::cluster::{Node, join_names};
use crate::fleetlock::{Kind, Refusal};

/// Treatment of a request that does not come from the node it names. The docs of the variants are help texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifySource {
    /// Refuse the request
    Enforce,
    /// Answer the request and log a warning
    Log,
    /// Do not check
    Off,
}

/// Returns a refusal unless `peer` is an address of `node`, the gateway of one of its pod networks, or an address that the agent of its
/// network recorded.
pub fn verify(node: &Node, peer: IpAddr) -> Option<Refusal> {
    // An IPv4 address may arrive as IPv4-mapped IPv6, and be written so in a Node.
    let peer = peer.to_canonical();
    if node.addresses.iter().chain(&node.gateways).chain(&node.recorded).any(|known| known.to_canonical() == peer) {
        return None;
    }
    let recorded = match &node.recorded[..] {
        [] => String::new(),
        recorded => format!(", the addresses in its annotations {}", join_names(recorded)),
    };
    let message = format!(
        "a request for node {} came from {peer}; the addresses of the node are {}, the gateways of its pod networks {}{recorded}",
        node.name(),
        join_names(&node.addresses),
        join_names(&node.gateways)
    );
    Some(Refusal::new(Kind::ForbiddenSource, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::ADDRESS_ANNOTATIONS;

    #[test]
    fn only_addresses_and_gateways_of_the_node_pass() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24", "fd00:3::/64"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.0.2.7"}, {"type": "InternalIP", "address": "2001:db8::7"},
                {"type": "ExternalIP", "address": "203.0.113.7"}, {"type": "Hostname", "address": "198.51.100.1"},
            ]},
        }))
        .unwrap();
        let good =
            ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7", "203.0.113.7", "10.244.3.0", "10.244.3.1", "::ffff:10.244.3.1", "fd00:3::1"];
        for peer in good {
            assert_eq!(verify(&node, peer.parse().unwrap()), None, "{peer}");
        }
        for peer in ["192.0.2.8", "::192.0.2.7", "198.51.100.1", "10.244.3.2", "10.244.2.1", "fd00:3::2", "127.0.0.1", "::1"] {
            let refused = verify(&node, peer.parse().unwrap()).unwrap();
            assert_eq!(refused.kind, Kind::ForbiddenSource);
            assert!(refused.message.contains("n1") && refused.message.contains("192.0.2.7"), "{refused:?}");
        }
    }

    #[test]
    fn an_address_counts_that_the_agent_of_the_network_recorded() {
        let node = |annotation: &str, value: &str| -> Node {
            let annotations = json!({annotation: value, "example.org/address": "10.9.9.9", "rebootmanager/status": "Ready"});
            let status = json!({"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]});
            serde_json::from_value(json!({"metadata": {"name": "n1", "annotations": annotations}, "status": status})).unwrap()
        };
        for annotation in ADDRESS_ANNOTATIONS {
            for (value, peer) in [("10.0.1.7", "10.0.1.7"), ("10.0.1.7/32", "::ffff:10.0.1.7"), ("fd00::7/64", "fd00::7")] {
                let node = node(annotation, value);
                assert_eq!(verify(&node, peer.parse().unwrap()), None, "{annotation}: {value}");
                assert_eq!(verify(&node, "192.0.2.7".parse().unwrap()), None);
                let refused = verify(&node, "10.9.9.9".parse().unwrap()).unwrap();
                let address = value.split('/').next().unwrap();
                assert!(refused.message.ends_with(&format!("the addresses in its annotations {address}")), "{refused:?}");
            }
        }
        let without = node("projectcalico.org/IPv4BGPASNumber", "10.0.1.7");
        let refused = verify(&without, "10.0.1.7".parse().unwrap()).unwrap();
        assert!(!refused.message.contains("annotations"), "{refused:?}");
    }
}
