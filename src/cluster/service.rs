//! The Service in front of the replicas: the addresses at which nodes call it.

use core::net::IpAddr;

use serde::Deserialize;

/// A v1 Service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireService")]
#[serde(expecting = "an object")]
pub struct Service {
    /// `spec.clusterIPs`, of both families; none when the Service is headless or has none yet.
    pub addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireService {
    #[serde(default)]
    spec: WireSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
struct WireSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
}

impl From<WireService> for Service {
    fn from(wire: WireService) -> Self {
        // `clusterIP` is the first of `clusterIPs`; servers older than both families have only it.
        let addresses = wire.spec.cluster_ips.unwrap_or_else(|| wire.spec.cluster_ip.into_iter().collect());
        // `None` and an empty text are none, and neither is anything else that a certificate could not hold for.
        Self { addresses: addresses.into_iter().filter(|address| address.parse::<IpAddr>().is_ok()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_those_of_both_families_and_never_none() {
        let cases = [
            (json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}), vec!["10.0.0.1", "fd00::1"]),
            (json!({"clusterIP": "10.0.0.1"}), vec!["10.0.0.1"]),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
            (json!({"clusterIP": ""}), vec![]),
            (json!({"clusterIPs": ["10.0.0.1\\", "fd00::1"]}), vec!["fd00::1"]),
            (json!({}), vec![]),
        ];
        for (spec, want) in cases {
            let service: Service = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(service.addresses, want, "{spec}");
        }
    }
}
