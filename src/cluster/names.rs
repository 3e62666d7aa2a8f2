//! Names and versions as types of their own, so that none is taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `metadata.name` of a Node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl NodeName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `metadata.uid`: distinguishes an object from a later one of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub String);

/// `metadata.resourceVersion`; a write that names it fails with 409 when the object has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceVersion(pub String);

impl ResourceVersion {
    /// Returns the version as a number; the later a write, the greater the number, over all objects of one resource (Kubernetes, "API
    /// Concepts", resource versions; KEP-5504, whose conformance test allows 128 bits). `None`: this server numbers versions in another
    /// way, and no two can be compared.
    pub fn number(&self) -> Option<u128> {
        let plain = self.0.bytes().all(|byte| byte.is_ascii_digit()) && !self.0.starts_with('0');
        plain.then(|| self.0.parse().ok())?
    }
}

/// The metadata of an object of which only the version is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "an object")]
pub(crate) struct Versioned {
    #[serde(rename = "resourceVersion")]
    pub(crate) version: ResourceVersion,
}

/// The Lease object, and its version, from which a lock was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseVersion {
    /// `metadata.uid` of the Lease; another one after the Lease was deleted and created again.
    pub uid: Uid,
    /// Version of the Lease as read.
    pub version: ResourceVersion,
}

/// A term of a slot. Taking a slot begins a new term, which distinguishes its writes from older ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Term {
    /// UID of the Lease that issued the term.
    pub lease: Uid,
    /// Number of the term, one more than that of the term before.
    pub term: u64,
}

/// A pod's namespace and name; shown as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_or_cannot_be_compared() {
        let largest = u128::MAX.to_string();
        let cases =
            [("7", Some(7)), (largest.as_str(), Some(u128::MAX)), ("", None), ("0", None), ("07", None), ("+7", None), ("7a", None)];
        for (text, number) in cases {
            assert_eq!(ResourceVersion(text.to_owned()).number(), number, "{text}");
        }
        assert_eq!(ResourceVersion(format!("{largest}0")).number(), None);
    }
}
