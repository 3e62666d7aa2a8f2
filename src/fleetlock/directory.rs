//! Which node an id stands for: an index made from the list of nodes, small enough for thousands of them.

use crate::cluster::{HexId, NodeIdentity, NodeName, Uid};

use super::zincati_id;

/// A node as the directory knows it. It may have gone since: whoever uses it compares the UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: Uid,
}

/// What the directory knows of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// More than one node has it: cloned machines. Their names, sorted.
    Many(Vec<NodeName>),
    /// No node has it.
    Nobody,
    /// This one.
    Node(NodeRef),
}

/// From id to node.
#[derive(Debug, Default)]
pub struct Directory {
    nodes: Vec<NodeRef>,
    /// Sorted; each node has two.
    ids: Vec<(HexId, u32)>,
    /// Nodes whose machine-id cannot be used: no client of theirs is ever found.
    odd: Vec<NodeName>,
}

impl Directory {
    /// Takes in one node. [`Directory::finish`] must follow the last.
    pub fn add(&mut self, node: NodeIdentity) {
        let Some(machine) = node.machine_id else {
            self.odd.push(node.name);
            return;
        };
        let Ok(position) = u32::try_from(self.nodes.len()) else { return };
        self.ids.push((machine.0, position));
        self.ids.push((zincati_id(machine), position));
        self.nodes.push(NodeRef { name: node.name, uid: node.uid });
    }

    /// Makes it searchable.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.ids.sort_unstable();
        self.ids.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self
    }

    /// Looks an id up.
    pub fn find(&self, id: HexId) -> Found {
        let start = self.ids.partition_point(|(known, _)| *known < id);
        let matches = self.ids[start..].iter().take_while(|(known, _)| *known == id);
        let mut nodes: Vec<&NodeRef> = matches.filter_map(|(_, position)| self.nodes.get(*position as usize)).collect();
        nodes.sort_unstable_by_key(|node| &node.name);
        match nodes.as_slice() {
            [] => Found::Nobody,
            [one] => Found::Node((*one).clone()),
            many => Found::Many(many.iter().map(|node| node.name.clone()).collect()),
        }
    }

    /// How many nodes can be found.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nobody can be found.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Nodes that were left out because of their machine-id.
    pub fn odd(&self) -> &[NodeName] {
        &self.odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::MachineId;

    fn node(name: &str, machine: &str) -> NodeIdentity {
        NodeIdentity { name: NodeName(name.to_owned()), uid: Uid(format!("uid-{name}")), machine_id: MachineId::parse(machine) }
    }

    #[test]
    fn nodes_are_found_by_either_id_and_clones_are_named() {
        let shared = "dfd7882acda64c34aca76193c46f5d4e";
        let mut directory = Directory::default();
        for node in [node("b", shared), node("a", shared), node("c", "1c09ca98649c4c7abc779cd04c96812e"), node("odd", "xyz")] {
            directory.add(node);
        }
        let directory = directory.finish();
        let find = |id: &str| directory.find(HexId::parse(id).unwrap());
        let c = Found::Node(NodeRef { name: NodeName("c".to_owned()), uid: Uid("uid-c".to_owned()) });
        assert_eq!(find("978a225b3d7b40e9acd7ce9b62f68444"), c);
        assert_eq!(find("1c09ca98649c4c7abc779cd04c96812e"), c);
        let clones = Found::Many(vec![NodeName("a".to_owned()), NodeName("b".to_owned())]);
        assert_eq!(find(shared), clones);
        assert_eq!(find("35ba2101ae3f4d45b96e9c51f461bbff"), clones);
        assert_eq!(find(&"1".repeat(32)), Found::Nobody);
        assert_eq!((directory.len(), directory.odd()), (3, &[NodeName("odd".to_owned())][..]));
    }
}
