//! The annotations of a Node: whether it is rebooting, and the record of the cordon that was made for it.

use core::fmt;
use core::net::IpAddr;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::address::{ADDRESS_ANNOTATIONS, recorded_address};
use super::node::Labels;
use super::{NodeName, ResourceVersion, Term, Uid};

/// The annotation that says whether a node is in service: `Ready` or `Rebooting`.
pub const STATUS: &str = "rebootmanager/status";

/// The annotation in which the cordon's owner is recorded: a [`CordonRecord`] as JSON.
pub const CORDON: &str = "rebootmanager/cordon";

/// The annotation of a node that was refused a slot: a [`Waiting`] as JSON.
pub const WAITING: &str = "rebootmanager/waiting";

/// Value of the annotation [`STATUS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A word this program does not write.
    Other,
    /// In service.
    Ready,
    /// Being drained, or rebooting.
    Rebooting,
    /// The annotation is absent.
    Unset,
}

/// State of a node before it was cordoned for its reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// Schedulable: the cordon is ours and is removed after the reboot.
    Schedulable,
    /// Cordoned by an administrator or another program: the cordon is kept.
    Unschedulable,
}

/// The record of a cordon: written by the patch that cordons, removed by the patch that restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct CordonRecord {
    /// The state to restore.
    pub before: Before,
    /// Term of the slot for which the node was cordoned.
    #[serde(flatten)]
    pub term: Term,
    /// Time when the node was last seen empty; written before its reboot is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Timestamp>,
}

/// The record of a wait for a slot: written at the first refusal, removed when the node takes a slot or is back in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Waiting {
    /// Time of the first refusal.
    pub since: Timestamp,
    /// Reason of the last refusal: the `kind` of the answer.
    pub reason: String,
}

/// Metadata of a Node, with the annotations of this program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireMeta")]
#[serde(expecting = "an object")]
pub struct NodeMeta {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: ResourceVersion,
    /// The annotation [`STATUS`].
    pub status: Status,
    /// The annotation [`CORDON`]; `None` also when it cannot be read.
    pub record: Option<CordonRecord>,
    /// The annotation [`WAITING`]; `None` also when it cannot be read.
    pub waiting: Option<Waiting>,
}

impl NodeMeta {
    /// Reports whether the node is marked `Rebooting` for `term`.
    pub fn is_marked_for(&self, term: &Term) -> bool {
        self.status == Status::Rebooting && self.record.as_ref().is_some_and(|record| record.term == *term)
    }

    /// Reports whether the node is `Ready` and has no cordon record, so that nothing must be restored.
    pub fn is_in_service(&self) -> bool {
        self.status == Status::Ready && self.record.is_none()
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Metadata {
    pub(super) name: NodeName,
    pub(super) labels: Option<Labels>,
    #[serde(default)]
    uid: Uid,
    #[serde(default, rename = "resourceVersion")]
    version: ResourceVersion,
    pub(super) annotations: Option<Annotations>,
}

// Only our own annotations, and those with addresses: a node may have many kilobytes of others.
#[derive(Default)]
pub(super) struct Annotations {
    status: Option<String>,
    cordon: Option<String>,
    waiting: Option<String>,
    /// The addresses in [`ADDRESS_ANNOTATIONS`].
    pub(super) addresses: Vec<IpAddr>,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
        let mut annotations = Annotations::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Status => annotations.status = map.next_value()?,
                Key::Cordon => annotations.cordon = map.next_value()?,
                Key::Waiting => annotations.waiting = map.next_value()?,
                Key::Address => annotations.addresses.extend(map.next_value::<Option<String>>()?.as_deref().and_then(recorded_address)),
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(annotations)
    }
}

/// Name of an annotation.
enum Key {
    /// Name in [`ADDRESS_ANNOTATIONS`].
    Address,
    Cordon,
    Other,
    Status,
    Waiting,
}

// By hand, so that no name is copied: a list has the annotations of all nodes.
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of an annotation")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(match name {
            STATUS => Key::Status,
            CORDON => Key::Cordon,
            WAITING => Key::Waiting,
            name if ADDRESS_ANNOTATIONS.contains(&name) => Key::Address,
            _ => Key::Other,
        })
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireMeta {
    metadata: Metadata,
}

impl From<Metadata> for NodeMeta {
    fn from(wire: Metadata) -> Self {
        let Annotations { status, cordon, waiting, addresses: _ } = wire.annotations.unwrap_or_default();
        let status = match status.as_deref() {
            None => Status::Unset,
            Some("Ready") => Status::Ready,
            Some("Rebooting") => Status::Rebooting,
            Some(_) => Status::Other,
        };
        let record = cordon.and_then(|text| serde_json::from_str(&text).ok());
        let waiting = waiting.and_then(|text| serde_json::from_str(&text).ok());
        Self { name: wire.name, uid: wire.uid, version: wire.version, status, record, waiting }
    }
}

impl From<WireMeta> for NodeMeta {
    fn from(wire: WireMeta) -> Self {
        wire.metadata.into()
    }
}
