//! Addresses of nodes and of their pod networks. `core::net` has addresses only, no sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Annotations of a Node in which the agent of a network writes addresses of the node, as `10.0.0.7` or `10.0.0.7/24`. The address of
/// a tunnel or of `cilium_host` is the source of what the node's own processes send into the pod network.
pub const ADDRESS_ANNOTATIONS: [&str; 13] = [
    "flannel.alpha.coreos.com/public-ip",
    "flannel.alpha.coreos.com/public-ipv6",
    "io.cilium.network.ipv4-cilium-host",
    "io.cilium.network.ipv6-cilium-host",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv6WireguardInterfaceAddr",
];

/// Returns the address in the value of one of [`ADDRESS_ANNOTATIONS`].
pub(super) fn recorded_address(value: &str) -> Option<IpAddr> {
    value.split_once('/').map_or(value, |(address, _length)| address).parse().ok()
}

/// Returns the addresses that a node uses itself in its pod network `cidr`, such as `10.244.1.0/24`: the first two.
pub(super) fn gateways(cidr: &str) -> Vec<IpAddr> {
    // No pod gets either. The second (`10.244.1.1`) is the gateway of the node's pods on a bridge. The first (`10.244.1.0`) is
    // the node's end of a flannel tunnel, and so the source of what its processes send to pods of other nodes.
    let Some((network, length)) = cidr.split_once('/') else { return Vec::new() };
    let Ok(length) = length.parse::<u32>() else { return Vec::new() };
    match network.parse() {
        Ok(IpAddr::V4(network)) if length < Ipv4Addr::BITS => {
            let first = network.to_bits() & u32::MAX.checked_shl(Ipv4Addr::BITS - length).unwrap_or(0);
            [first, first | 1].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))).to_vec()
        }
        Ok(IpAddr::V6(network)) if length < Ipv6Addr::BITS => {
            let first = network.to_bits() & u128::MAX.checked_shl(Ipv6Addr::BITS - length).unwrap_or(0);
            [first, first | 1].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))).to_vec()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_network_has_two_addresses_of_its_node() {
        let cases: [(&str, &[&str]); 13] = [
            ("10.244.1.0/24", &["10.244.1.0", "10.244.1.1"]),
            ("10.244.1.77/24", &["10.244.1.0", "10.244.1.1"]),
            ("10.0.0.4/31", &["10.0.0.4", "10.0.0.5"]),
            ("10.0.0.4/32", &[]),
            ("0.0.0.0/0", &["0.0.0.0", "0.0.0.1"]),
            ("10.244.1.1/24", &["10.244.1.0", "10.244.1.1"]),
            ("10.0.0.5/31", &["10.0.0.4", "10.0.0.5"]),
            ("fd00:10::/64", &["fd00:10::", "fd00:10::1"]),
            ("fd00:10::7:1/64", &["fd00:10::", "fd00:10::1"]),
            ("fd00:10::5/128", &[]),
            ("10.0.0.0/33", &[]),
            ("10.0.0.0", &[]),
            ("x/24", &[]),
        ];
        for (cidr, want) in cases {
            let want: Vec<IpAddr> = want.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(gateways(cidr), want, "{cidr}");
        }
    }

    #[test]
    fn an_annotation_holds_an_address_with_or_without_a_length() {
        let cases = [
            ("10.0.0.7", Some("10.0.0.7")),
            ("10.0.0.7/24", Some("10.0.0.7")),
            ("fd00::7/64", Some("fd00::7")),
            ("", None),
            ("/24", None),
            ("node-7", None),
            ("10.0.0.7,10.0.0.8", None),
        ];
        for (value, want) in cases {
            assert_eq!(recorded_address(value), want.map(|text| text.parse().unwrap()), "{value:?}");
        }
    }
}
