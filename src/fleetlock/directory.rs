//! Which node an id stands for: an index made from the list of nodes, small enough for thousands of them.

use crate::cluster::{HexId, MachineId, NodeIdentity, NodeName, Uid};

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
    /// Where a node stands does not change as long as it is known. `None`: free.
    places: Vec<Option<Known>>,
    /// The places that are taken, in the order of the names in them.
    by_name: Vec<u32>,
    /// Sorted; each node that is not odd has two.
    ids: Vec<(HexId, u32)>,
}

/// A node in as little memory as it takes: there are thousands.
#[derive(Debug)]
struct Known {
    /// Its name, and right behind it its UID.
    name_and_uid: Box<str>,
    name_bytes: u32,
    /// Its machine-id cannot be used: no client of its is ever found.
    odd: bool,
}

impl Directory {
    /// Takes in one node. [`Directory::finish`] must follow the last.
    pub fn add(&mut self, node: NodeIdentity) {
        let Ok(place) = u32::try_from(self.places.len()) else { return };
        if let Some(machine) = node.machine_id {
            self.ids.extend(ids(machine, place));
        }
        self.by_name.push(place);
        self.places.push(Some(Known::from(node)));
    }

    /// Makes it searchable.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.ids.sort_unstable();
        let places = &self.places;
        self.by_name.sort_unstable_by_key(|place| name_at(places, *place));
        self.ids.shrink_to_fit();
        self.by_name.shrink_to_fit();
        self.places.shrink_to_fit();
        self
    }

    /// Puts one node in, in the place of whatever had its name, and keeps the rest searchable.
    pub fn insert(&mut self, node: NodeIdentity) {
        self.remove(&node.mark.name);
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        let Ok(place) = u32::try_from(free) else { return };
        for id in node.machine_id.into_iter().flat_map(|machine| ids(machine, place)) {
            let at = self.ids.partition_point(|known| *known < id);
            self.ids.insert(at, id);
        }
        let (Ok(at) | Err(at)) = self.position(&node.mark.name);
        self.by_name.insert(at, place);
        match self.places.get_mut(free) {
            Some(slot) => *slot = Some(Known::from(node)),
            None => self.places.push(Some(Known::from(node))),
        }
    }

    /// Takes the node of this name out.
    pub fn remove(&mut self, name: &NodeName) {
        let Ok(at) = self.position(name) else { return };
        let place = self.by_name.remove(at);
        self.ids.retain(|(_, of)| *of != place);
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = None;
        }
    }

    /// Whether this very node is known, findable or not.
    pub fn knows(&self, name: &NodeName, uid: &Uid) -> bool {
        let known = self.position(name).ok().and_then(|at| self.at(self.by_name[at]));
        known.is_some_and(|known| known.uid() == uid.0)
    }

    /// Looks an id up.
    pub fn find(&self, id: HexId) -> Found {
        let start = self.ids.partition_point(|(known, _)| *known < id);
        let matches = self.ids[start..].iter().take_while(|(known, _)| *known == id);
        let mut nodes: Vec<&Known> = matches.filter_map(|(_, place)| self.at(*place)).collect();
        nodes.sort_unstable_by_key(|node| node.name());
        match nodes.as_slice() {
            [] => Found::Nobody,
            [one] => Found::Node(NodeRef { name: NodeName(one.name().to_owned()), uid: Uid(one.uid().to_owned()) }),
            many => Found::Many(many.iter().map(|node| NodeName(node.name().to_owned())).collect()),
        }
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Nodes that cannot be found because of their machine-id, by name.
    pub fn odd(&self) -> Vec<NodeName> {
        let known = self.by_name.iter().filter_map(|place| self.at(*place));
        known.filter(|known| known.odd).map(|known| NodeName(known.name().to_owned())).collect()
    }

    fn at(&self, place: u32) -> Option<&Known> {
        self.places.get(place as usize)?.as_ref()
    }

    fn position(&self, name: &NodeName) -> Result<usize, usize> {
        self.by_name.binary_search_by_key(&Some(name.as_str()), |place| name_at(&self.places, *place))
    }
}

impl From<NodeIdentity> for Known {
    fn from(node: NodeIdentity) -> Self {
        let (NodeName(name), Uid(uid)) = (node.mark.name, node.mark.uid);
        let name_bytes = u32::try_from(name.len()).unwrap_or(u32::MAX);
        Self { name_and_uid: (name + &uid).into_boxed_str(), name_bytes, odd: node.machine_id.is_none() }
    }
}

impl Known {
    fn name(&self) -> &str {
        self.name_and_uid.get(..self.name_bytes as usize).unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.name_and_uid.get(self.name_bytes as usize..).unwrap_or_default()
    }
}

fn name_at(places: &[Option<Known>], place: u32) -> Option<&str> {
    places.get(place as usize)?.as_ref().map(Known::name)
}

/// The ids of the node with this machine-id, which is in this place.
fn ids(machine: MachineId, place: u32) -> [(HexId, u32); 2] {
    [(machine.0, place), (zincati_id(machine), place)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn node(name: &str, machine: &str) -> NodeIdentity {
        node_of(name, &format!("uid-{name}"), machine)
    }

    fn node_of(name: &str, uid: &str, machine: &str) -> NodeIdentity {
        let wire = json!({"metadata": {"name": name, "uid": uid}, "status": {"nodeInfo": {"machineID": machine}}});
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn nodes_are_found_by_either_id_and_clones_are_named() {
        let shared = "dfd7882acda64c34aca76193c46f5d4e";
        let mut directory = Directory::default();
        assert!(directory.is_empty());
        for node in [node("b", shared), node("a", shared), node("c", "1c09ca98649c4c7abc779cd04c96812e"), node("odd", "xyz")] {
            directory.add(node);
        }
        let directory = directory.finish();
        assert!(!directory.is_empty());
        let find = |id: &str| directory.find(HexId::parse(id).unwrap());
        let c = Found::Node(NodeRef { name: NodeName("c".to_owned()), uid: Uid("uid-c".to_owned()) });
        assert_eq!(find("978a225b3d7b40e9acd7ce9b62f68444"), c);
        assert_eq!(find("1c09ca98649c4c7abc779cd04c96812e"), c);
        let clones = Found::Many(vec![NodeName("a".to_owned()), NodeName("b".to_owned())]);
        assert_eq!(find(shared), clones);
        assert_eq!(find("35ba2101ae3f4d45b96e9c51f461bbff"), clones);
        assert_eq!(find(&"1".repeat(32)), Found::Nobody);
        assert_eq!((directory.len(), directory.odd()), (4, vec![NodeName("odd".to_owned())]));
    }

    proptest! {
        /// Nodes that come and go one by one leave what reading them all would have made.
        #[test]
        fn a_directory_kept_is_as_one_read(steps in proptest::collection::vec((0u8..6, 0u8..5, any::<bool>()), 0..40), read in 0usize..40) {
            let mut nodes = std::collections::BTreeMap::new();
            let read_anew = |nodes: &std::collections::BTreeMap<String, (String, String)>| {
                let mut directory = Directory::default();
                nodes.iter().for_each(|(name, (uid, machine))| directory.add(node_of(name, uid, machine)));
                directory.finish()
            };
            let mut kept = Directory::default();
            for (position, (name, machine, goes)) in steps.into_iter().enumerate() {
                let (name, uid) = (format!("n{name}"), format!("uid-{position}"));
                // Machine 0 is an odd one.
                let machine = if machine == 0 { "odd".to_owned() } else { format!("{machine:032x}") };
                if goes {
                    nodes.remove(&name);
                    kept.remove(&NodeName(name));
                } else {
                    kept.insert(node_of(&name, &uid, &machine));
                    nodes.insert(name, (uid, machine));
                }
                if position == read {
                    kept = read_anew(&nodes);
                }
                let anew = read_anew(&nodes);
                prop_assert_eq!((kept.len(), kept.odd(), kept.ids.len()), (anew.len(), anew.odd(), anew.ids.len()));
                for machine in 0..5u8 {
                    let machine = MachineId::parse(&format!("{machine:032x}"));
                    for id in machine.into_iter().flat_map(|machine| [machine.0, zincati_id(machine)]) {
                        prop_assert_eq!(kept.find(id), anew.find(id));
                    }
                }
                for (name, (uid, _)) in &nodes {
                    prop_assert!(kept.knows(&NodeName(name.clone()), &Uid(uid.clone())));
                    prop_assert!(!kept.knows(&NodeName(name.clone()), &Uid("another".to_owned())));
                }
            }
        }
    }
}
