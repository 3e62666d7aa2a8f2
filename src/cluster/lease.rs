//! The Lease that holds the lock: where it is, and the text kept in it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{LeaseVersion, ResourceVersion, Uid};

/// A `coordination.k8s.io/v1` Lease.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireLease")]
#[serde(expecting = "an object")]
pub struct Lease {
    /// The object and its version.
    pub version: LeaseVersion,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireLease {
    metadata: WireMetadata,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireMetadata {
    uid: Uid,
    #[serde(rename = "resourceVersion")]
    version: ResourceVersion,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<WireLease> for Lease {
    fn from(wire: WireLease) -> Self {
        let meta = wire.metadata;
        Self { version: LeaseVersion { uid: meta.uid, version: meta.version }, annotations: meta.annotations.unwrap_or_default() }
    }
}
