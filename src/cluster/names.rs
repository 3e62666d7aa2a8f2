//! Names and versions as types of their own, so that none is taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `metadata.name` of a Node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `metadata.uid`: tells an object from a later one of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub String);

/// `metadata.resourceVersion`: opaque; a write that names it fails with 409 when the object has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceVersion(pub String);

/// Which Lease object, and which version of it, a lock was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseVersion {
    /// The Lease's `metadata.uid`: another one after somebody deleted it.
    pub uid: Uid,
    /// The version it was read at.
    pub version: ResourceVersion,
}

/// One tenure of a slot: taking a slot begins a new one, so what was written for an older tenure is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The Lease object that counted it.
    pub lease: Uid,
    /// Counted up by one each time a slot is taken.
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

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
