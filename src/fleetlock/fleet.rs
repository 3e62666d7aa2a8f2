//! The fleet: all Nodes as of one version, kept up to date by the events of a watch, and found by the ids of their clients.
//!
//! A list holds all Nodes at one version; a watch from that version brings every later change in the order of versions. So
//! **a [`Fleet`] at a version holds every change that was written up to that version**, and may be any time behind.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::sync::Arc;

use thiserror::Error;

use super::{answers_to, zincati_id};
use crate::cluster::{HexId, Member, NodeEvent, NodeMeta, NodeName, ResourceVersion, Uid, WatchStatus};

/// All Nodes as of one version.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Sorted by name.
    members: Vec<Member>,
    // Short ids save 0.1 MiB at 5,000 nodes (scripts/measure-memory).
    /// Each id of a member, shortened, and the member's position; sorted. A member with a valid machine-id has two.
    ids: Vec<(u32, u32)>,
    // Sharing saves 0.25 MiB at 5,000 nodes (scripts/measure-memory).
    /// Texts that many members share: zones and OS images.
    texts: Vec<Arc<str>>,
    /// `None`: this server's versions cannot be compared.
    version: Option<u128>,
    /// The version of the last event of the watch, or from which it begins. Less than `version` while the watch brings what a
    /// later list has shown already.
    watched: Option<u128>,
}

/// A node as the fleet knows it. The Node may be gone since: the caller compares the UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: Uid,
}

/// The result of a search by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Several nodes have the id, as cloned machines do. Their names, sorted.
    Many(Vec<NodeName>),
    /// Exactly one node has the id.
    Node(NodeRef),
    /// No node has it.
    NoNode,
}

/// The events of a watch do not continue what was read. Only a new list helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WatchError {
    /// A version is less than an earlier one, or no number.
    #[error("a version came after {after} that is less, or not a number")]
    Backwards {
        /// Version of the previous event.
        after: u128,
    },
    /// The server ended the watch. Status 410: the next events are not kept any more.
    #[error("the server ended it: {code} \u{201c}{message}\u{201d}")]
    Ended {
        /// HTTP status.
        code: u16,
        /// Message for people.
        message: String,
    },
}

impl Fleet {
    /// Adds one Node of a list. [`Fleet::finish`] must follow the last.
    pub fn add(&mut self, mut member: Member) {
        self.share_texts(&mut member);
        self.members.push(member);
    }

    /// Completes a list that was read at `version`.
    #[must_use]
    pub fn finish(mut self, version: &ResourceVersion) -> Self {
        self.version = version.number();
        self.watched = self.version;
        self.members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        self.members.shrink_to_fit();
        self.ids = Vec::with_capacity(self.members.len() * 2);
        for (position, member) in self.members.iter().enumerate() {
            self.ids.extend(short_ids(member, position));
        }
        self.ids.sort_unstable();
        self
    }

    /// Lets this list, read beside the watch, replace `old`, which the watch keeps. `false`: this list is older.
    pub fn continue_watch_of(&mut self, old: &Self) -> bool {
        self.watched = old.watched;
        // An older list may belong to another history, as after etcd was restored from a backup.
        self.version >= old.version
    }

    /// Begins to apply the events of a watch from `version` on. `false`: events are missing between that and this list.
    pub fn watch_from(&mut self, version: u128) -> bool {
        self.watched = Some(version);
        self.version >= self.watched
    }

    /// Applies the next event of the watch.
    pub fn apply(&mut self, event: NodeEvent) -> Result<(), WatchError> {
        match event {
            NodeEvent::Added(member) | NodeEvent::Modified(member) => {
                if self.advance(member.version)? {
                    self.put(member);
                }
            }
            NodeEvent::Bookmark(bookmark) => _ = self.advance(bookmark.metadata.version.number())?,
            NodeEvent::Deleted(member) => {
                if self.advance(member.version)? {
                    self.remove(&member.name);
                }
            }
            NodeEvent::Error(WatchStatus { code, message }) => return Err(WatchError::Ended { code, message }),
        }
        Ok(())
    }

    /// Returns the version up to which every change is known; `None`: versions cannot be compared, so no watch can continue the list.
    pub fn version(&self) -> Option<u128> {
        self.version
    }

    /// Returns all members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the member with this name.
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        self.position(name).ok().map(|position| &self.members[position])
    }

    /// Reports whether the write of `own` has arrived. The fleet then holds every change that was written before `own`.
    pub fn shows(&self, own: &NodeMeta) -> bool {
        // An equally high version of the fleet is no evidence: after a restored backup it may belong to another history.
        own.version.number().is_some() && self.member(&own.name).is_some_and(|member| member.shows(own))
    }

    /// Searches by a client's id.
    pub fn find(&self, id: HexId) -> Found {
        let start = self.ids.partition_point(|(known, _)| *known < short(id));
        let alike = self.ids[start..].iter().take_while(|(known, _)| *known == short(id));
        let mut positions: Vec<u32> = alike.map(|(_, position)| *position).collect();
        positions.dedup();
        let members = positions.into_iter().filter_map(|position| self.members.get(position as usize));
        let has = |member: &&Member| member.machine_id.is_some_and(|machine| answers_to(machine, id));
        let node = |member: &Member| NodeRef { name: member.name.clone(), uid: Uid(member.uid.to_string()) };
        let nodes: Vec<NodeRef> = members.filter(has).map(node).collect();
        match nodes.as_slice() {
            [] => Found::NoNode,
            [one] => Found::Node(one.clone()),
            many => Found::Many(many.iter().map(|node| node.name.clone()).collect()),
        }
    }

    /// Returns the nodes whose machine-id is invalid, so that no id of a client finds them.
    pub fn without_machine_id(&self) -> Vec<NodeName> {
        self.members.iter().filter(|member| member.machine_id.is_none()).map(|member| member.name.clone()).collect()
    }

    /// Records the version of an event, and reports whether the event is new.
    fn advance(&mut self, version: Option<u128>) -> Result<bool, WatchError> {
        if version.is_none() || version < self.watched {
            return Err(WatchError::Backwards { after: self.watched.unwrap_or_default() });
        }
        self.watched = version;
        let is_new = version >= self.version;
        self.version = self.version.max(version);
        Ok(is_new)
    }

    fn put(&mut self, mut member: Member) {
        self.share_texts(&mut member);
        let found = self.position(&member.name);
        if let Ok(position) = found {
            // Most events: the ids are the same.
            if self.members[position].machine_id == member.machine_id {
                self.members[position] = member;
                return;
            }
            self.remove(&member.name);
        }
        let (Ok(position) | Err(position)) = found;
        self.ids.iter_mut().filter(|(_, of)| *of as usize >= position).for_each(|(_, of)| *of += 1);
        for id in short_ids(&member, position) {
            let at = self.ids.partition_point(|known| *known < id);
            self.ids.insert(at, id);
        }
        self.members.insert(position, member);
    }

    fn remove(&mut self, name: &NodeName) {
        let Ok(position) = self.position(name) else { return };
        self.members.remove(position);
        self.ids.retain(|(_, of)| *of as usize != position);
        self.ids.iter_mut().filter(|(_, of)| *of as usize > position).for_each(|(_, of)| *of -= 1);
    }

    fn position(&self, name: &NodeName) -> Result<usize, usize> {
        self.members.binary_search_by(|member| member.name.cmp(name))
    }

    fn share_texts(&mut self, member: &mut Member) {
        for text in [&mut member.zone, &mut member.os_image].into_iter().flatten() {
            match self.texts.iter().find(|known| *known == text) {
                Some(known) => *text = Arc::clone(known),
                None => {
                    // Texts of members that are gone are dropped here, so that their number stays small.
                    self.texts.retain(|known| Arc::strong_count(known) > 1);
                    self.texts.push(Arc::clone(text));
                }
            }
        }
    }
}

fn short_ids(member: &Member, position: usize) -> impl Iterator<Item = (u32, u32)> + use<> {
    let ids = member.machine_id.into_iter().flat_map(|machine| [machine.0, zincati_id(machine)]);
    ids.filter_map(move |id| Some((short(id), u32::try_from(position).ok()?)))
}

/// Shortens an id to 32 bits.
fn short(id: HexId) -> u32 {
    // All bits count: machine-ids need not be random, and those of one manufacturer may begin alike.
    let (words, _none) = id.0.as_chunks();
    words.iter().fold(0, |all, word| all ^ u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests;
