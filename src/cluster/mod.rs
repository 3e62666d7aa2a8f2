//! Kubernetes objects as plain values: the fields this program uses and nothing more.
//!
//! Pure: no I/O, no clock. `kube` decodes into these types, the rules read them.
//! Field names and meanings: the Kubernetes API reference, v1.

mod address;
mod ca;
mod host;
mod lease;
mod machine_id;
mod member;
mod names;
mod node;
mod node_event;
mod node_meta;
mod node_patch;
mod packed_id;
mod pod;
mod service;
mod tls_secret;
mod toleration;

use std::fmt;

pub use address::ADDRESS_ANNOTATIONS;
pub use ca::{CaBundle, CaMap, CaSecret, NEXT_CA_FROM, SIGNS_SINCE, without_nulls};
pub use host::{Host, Hosts};
pub use lease::Lease;
pub use machine_id::{HexId, MachineId};
pub use member::{Member, Unavailable};
pub use names::{LeaseVersion, NodeName, PodKey, ResourceVersion, Term, Uid};
pub use node::{CONTROL_PLANE, Node, ReadyCondition};
pub use node_event::{NodeEvent, WatchStatus};
pub use node_meta::{Before, CORDON, CordonRecord, NodeMeta, STATUS, Status, WAITING, Waiting};
pub use node_patch::NodePatch;
pub use packed_id::PackedId;
pub use pod::{Owner, Pod};
pub use service::Service;
pub use tls_secret::{KeyPem, Pair, TlsSecret};

/// A list with no page missing. Only code that has read every page may make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete<T>(T);

impl<T> Complete<T> {
    /// Vouches that `items` is the whole of a list: every page was read and none failed.
    pub fn of_all_pages(items: T) -> Self {
        Self(items)
    }

    /// Returns the items.
    pub fn items(&self) -> &T {
        &self.0
    }

    /// Returns the items by value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Joins names for a message: `a`, `a and b`, `a, b and 3 more`. At most three are shown.
pub fn join_names<T: fmt::Display>(names: &[T]) -> String {
    let all: Vec<String> = names.iter().map(T::to_string).collect();
    match all.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, third] => format!("{first}, {second} and {third}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_and_at_most_three_are_shown() {
        let all = ["a", "b", "c", "d", "e"];
        let cases = [(0, "none"), (1, "a"), (2, "a and b"), (3, "a, b and c"), (5, "a, b and 3 more")];
        for (count, want) in cases {
            assert_eq!(join_names(&all[..count]), want);
        }
    }
}
