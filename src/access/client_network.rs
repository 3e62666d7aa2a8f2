//! The part of a client's address that counts wherever clients share something: places, turns, lines of the log.

use core::net::{IpAddr, Ipv6Addr};

/// Network that one machine may use in full: an IPv4 address, or 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// Returns the network of an address. An IPv4-mapped address is an IPv4 address, because one socket may listen for both.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_counts_alone_and_an_ipv6_address_with_its_network() {
        let same = [("10.0.0.7", "::ffff:10.0.0.7"), ("fd00::1", "fd00::ffff:1:2:3")];
        let other = [("10.0.0.7", "10.0.0.8"), ("::ffff:10.0.0.7", "::ffff:10.0.0.8"), ("fd00::1", "fd00:0:0:1::1"), ("::1", "127.0.0.1")];
        let network = |text: &str| ClientNetwork::of(text.parse().unwrap());
        assert!(same.iter().all(|(one, two)| network(one) == network(two)));
        assert!(other.iter().all(|(one, two)| network(one) != network(two)));
    }
}
