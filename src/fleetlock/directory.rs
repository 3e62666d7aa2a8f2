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

/// From id to node, in as little memory as it takes: there are thousands of nodes.
#[derive(Debug, Default)]
pub struct Directory {
    /// Sorted by name.
    nodes: Vec<Known>,
    /// What [`Known`] points into. Texts of nodes that have gone may be among it.
    texts: String,
    /// Each id, in short, and whose it is; sorted. Each node that is not odd has two.
    ids: Vec<(u32, u32)>,
}

/// A node. Its name is in the directory's texts, and right behind it the UID if that is no UUID.
#[derive(Debug)]
struct Known {
    at: u32,
    name_bytes: u8,
    uid: KnownUid,
    /// `None`: odd; no client of its is ever found.
    machine: Option<MachineId>,
}

/// Kubernetes makes UUIDs, but promises no more than a text.
#[derive(Debug)]
enum KnownUid {
    Uuid(HexId),
    Text { bytes: u8 },
}

impl Directory {
    /// Takes in one node. [`Directory::finish`] must follow the last.
    pub fn add(&mut self, node: &NodeIdentity) {
        let known = self.take_texts(node);
        self.nodes.extend(known);
    }

    /// Makes it searchable.
    #[must_use]
    pub fn finish(mut self) -> Self {
        let texts = &self.texts;
        self.nodes.sort_unstable_by_key(|known| known.name(texts));
        self.nodes.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.ids = Vec::with_capacity(self.nodes.len() * 2);
        for (place, known) in self.nodes.iter().enumerate() {
            self.ids.extend(known.ids(place));
        }
        self.ids.sort_unstable();
        self
    }

    /// Puts one node in, in the place of whatever had its name, and keeps the rest searchable.
    pub fn insert(&mut self, node: &NodeIdentity) {
        self.remove(&node.mark.name);
        let (Ok(place) | Err(place)) = self.position(&node.mark.name);
        self.drop_texts();
        let Some(known) = self.take_texts(node) else { return };
        self.ids.iter_mut().filter(|(_, of)| *of as usize >= place).for_each(|(_, of)| *of += 1);
        for id in known.ids(place) {
            let at = self.ids.partition_point(|known| *known < id);
            self.ids.insert(at, id);
        }
        self.nodes.insert(place, known);
    }

    /// Takes the node of this name out.
    pub fn remove(&mut self, name: &NodeName) {
        let Ok(place) = self.position(name) else { return };
        self.nodes.remove(place);
        self.ids.retain(|(_, of)| *of as usize != place);
        self.ids.iter_mut().filter(|(_, of)| *of as usize > place).for_each(|(_, of)| *of -= 1);
    }

    /// Whether this very node is known, findable or not.
    pub fn knows(&self, name: &NodeName, uid: &Uid) -> bool {
        self.position(name).is_ok_and(|place| self.nodes[place].is(uid, &self.texts))
    }

    /// Looks an id up.
    pub fn find(&self, id: HexId) -> Found {
        let start = self.ids.partition_point(|(known, _)| *known < short(id));
        let alike = self.ids[start..].iter().take_while(|(known, _)| *known == short(id));
        let mut places: Vec<u32> = alike.map(|(_, place)| *place).collect();
        places.dedup();
        let known = places.into_iter().filter_map(|place| self.nodes.get(place as usize));
        let nodes: Vec<NodeRef> = known.filter(|known| known.has(id)).map(|known| self.told(known)).collect();
        match <[NodeRef; 1]>::try_from(nodes) {
            Ok([one]) => Found::Node(one),
            Err(none) if none.is_empty() => Found::Nobody,
            Err(many) => Found::Many(many.into_iter().map(|node| node.name).collect()),
        }
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Nodes that cannot be found because of their machine-id, by name.
    pub fn odd(&self) -> Vec<NodeName> {
        self.nodes.iter().filter(|known| known.machine.is_none()).map(|known| self.told(known).name).collect()
    }

    fn told(&self, known: &Known) -> NodeRef {
        NodeRef { name: NodeName(known.name(&self.texts).to_owned()), uid: known.uid(&self.texts) }
    }

    fn position(&self, name: &NodeName) -> Result<usize, usize> {
        self.nodes.binary_search_by_key(&name.as_str(), |known| known.name(&self.texts))
    }

    /// Keeps the texts of a node; `None`: they are longer than those of any node there can be.
    fn take_texts(&mut self, node: &NodeIdentity) -> Option<Known> {
        let (name, Uid(uid)) = (node.mark.name.as_str(), &node.mark.uid);
        let (at, name_bytes) = (u32::try_from(self.texts.len()).ok()?, u8::try_from(name.len()).ok()?);
        let known_uid = match parse_uuid(uid) {
            Some(id) => KnownUid::Uuid(id),
            None => KnownUid::Text { bytes: u8::try_from(uid.len()).ok()? },
        };
        self.texts.push_str(name);
        if let KnownUid::Text { .. } = known_uid {
            self.texts.push_str(uid);
        }
        Some(Known { at, name_bytes, uid: known_uid, machine: node.machine_id })
    }

    /// Forgets the texts of nodes that have gone once they are the most of all.
    fn drop_texts(&mut self) {
        let used: usize = self.nodes.iter().map(|known| known.texts(&self.texts).len()).sum();
        if self.texts.len() / 2 <= used {
            return;
        }
        let mut texts = String::with_capacity(used);
        for known in &mut self.nodes {
            let at = u32::try_from(texts.len()).unwrap_or_default();
            texts.push_str(known.texts(&self.texts));
            known.at = at;
        }
        self.texts = texts;
    }
}

impl Known {
    fn texts<'a>(&self, texts: &'a str) -> &'a str {
        let uid_bytes = match self.uid {
            KnownUid::Uuid(_) => 0,
            KnownUid::Text { bytes } => usize::from(bytes),
        };
        texts.get(self.at as usize..).and_then(|from| from.get(..usize::from(self.name_bytes) + uid_bytes)).unwrap_or_default()
    }

    fn name<'a>(&self, texts: &'a str) -> &'a str {
        self.texts(texts).get(..usize::from(self.name_bytes)).unwrap_or_default()
    }

    fn uid(&self, texts: &str) -> Uid {
        Uid(match self.uid {
            KnownUid::Uuid(id) => uuid(id),
            KnownUid::Text { .. } => self.uid_text(texts).to_owned(),
        })
    }

    /// The UID, if it is no UUID.
    fn uid_text<'a>(&self, texts: &'a str) -> &'a str {
        self.texts(texts).get(usize::from(self.name_bytes)..).unwrap_or_default()
    }

    fn is(&self, uid: &Uid, texts: &str) -> bool {
        match self.uid {
            KnownUid::Uuid(id) => parse_uuid(&uid.0) == Some(id),
            KnownUid::Text { .. } => self.uid_text(texts) == uid.0,
        }
    }

    fn has(&self, id: HexId) -> bool {
        self.machine.is_some_and(|machine| machine.0 == id || zincati_id(machine) == id)
    }

    /// What stands in the ids for the node in this place.
    fn ids(&self, place: usize) -> impl Iterator<Item = (u32, u32)> + use<> {
        let ids = self.machine.into_iter().flat_map(|machine| [machine.0, zincati_id(machine)]);
        ids.filter_map(move |id| Some((short(id), u32::try_from(place).ok()?)))
    }
}

/// Few ids have the same. Machine-ids need not be random: those of one maker of machines may begin alike.
fn short(id: HexId) -> u32 {
    let (words, _none) = id.0.as_chunks();
    words.iter().fold(0, |all, word| all ^ u32::from_be_bytes(*word))
}

/// Where a UUID has its dashes.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// As Kubernetes writes it.
fn uuid(id: HexId) -> String {
    let mut text = id.to_string();
    DASHES.into_iter().for_each(|at| text.insert(at, '-'));
    text
}

/// Reads what [`uuid`] has written, and nothing else.
fn parse_uuid(text: &str) -> Option<HexId> {
    let is_right = |(at, byte): (usize, u8)| if DASHES.contains(&at) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') };
    HexId::parse(text).filter(|_id| text.bytes().enumerate().all(is_right))
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
            directory.add(&node);
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

    #[test]
    fn a_node_takes_little_memory_and_none_once_it_has_gone() {
        assert_eq!(size_of::<Known>(), 40);
        let mut directory = Directory::default();
        for round in 0..1000 {
            directory.insert(&node_of(&format!("n{round}"), "8e5c2b1e-1c1d-4b57-8d36-0b7c6d1f0a11", &format!("{:032x}", round + 1)));
            directory.remove(&NodeName(format!("n{}", round - 1)));
        }
        assert_eq!((directory.len(), directory.ids.len()), (1, 2));
        assert!(directory.texts.len() < 20, "{}", directory.texts);
    }

    #[test]
    fn texts_are_dropped_by_the_half_and_not_for_each_node() {
        let name = |number: u32| format!("n{number:02}");
        let mut directory = Directory::default();
        let put_in = |directory: &mut Directory, number| {
            directory.insert(&node_of(&name(number), "8e5c2b1e-1c1d-4b57-8d36-0b7c6d1f0a11", &format!("{:032x}", number + 1)));
        };
        (0..50).for_each(|number| put_in(&mut directory, number));
        directory.remove(&NodeName(name(7)));
        put_in(&mut directory, 50);
        assert_eq!(directory.texts.len(), 51 * 3);
        (8..50).for_each(|number| directory.remove(&NodeName(name(number))));
        put_in(&mut directory, 51);
        assert_eq!(directory.texts.len(), directory.len() * 3);
        assert_eq!(directory.len(), 9);
    }

    #[test]
    fn ids_alike_in_short_are_told_apart() {
        let (one, other, nobody) =
            ("0000000b0000000a0000000000000000", "0000000a0000000b0000000000000000", "00000000000000000000000a0000000b");
        let mut directory = Directory::default();
        [node("one", one), node("other", other)].iter().for_each(|node| directory.add(node));
        let directory = directory.finish();
        let [one, other, nobody] = [one, other, nobody].map(|id| HexId::parse(id).unwrap());
        assert!(short(one) == short(other) && short(one) == short(nobody));
        let found = |name: &str| Found::Node(NodeRef { name: NodeName(name.to_owned()), uid: Uid(format!("uid-{name}")) });
        assert_eq!((directory.find(one), directory.find(other), directory.find(nobody)), (found("one"), found("other"), Found::Nobody));
    }

    #[test]
    fn ids_that_begin_or_end_alike_are_not_searched_one_by_one() {
        for form in
            [|number| format!("{number:032x}"), |number| format!("{number:08x}{:024x}", 7), |number| format!("ec2{number:05x}{:024x}", 7)]
        {
            let mut directory = Directory::default();
            (1..2000u32).for_each(|number| directory.add(&node(&format!("n{number}"), &form(number))));
            let directory = directory.finish();
            let alike = directory.ids.chunk_by(|(one, _), (other, _)| one == other).map(<[_]>::len).max();
            assert!(alike <= Some(2), "{alike:?}");
        }
    }

    #[test]
    fn only_what_is_written_as_a_uuid_is_kept_as_one() {
        let mut directory = Directory::default();
        let uids = [
            "8e5c2b1e-1c1d-4b57-8d36-0b7c6d1f0a11",
            "8E5C2B1E-1c1d-4b57-8d36-0b7c6d1f0a11",
            "8e5c2b1e1c1d4b578d360b7c6d1f0a11",
            "8e5c2b1e1c1d-4b57-8d36-0b7c6d1f0-a11",
            "1",
            "",
        ];
        for (number, uid) in uids.into_iter().enumerate() {
            directory.insert(&node_of(&format!("n{number}"), uid, &format!("{:032x}", number + 1)));
        }
        for (number, uid) in uids.into_iter().enumerate() {
            let node = NodeRef { name: NodeName(format!("n{number}")), uid: Uid(uid.to_owned()) };
            assert!(directory.knows(&node.name, &node.uid));
            assert_eq!(directory.find(HexId::parse(&format!("{:032x}", number + 1)).unwrap()), Found::Node(node));
        }
        directory.insert(&node_of("endless", &"u".repeat(300), "1c09ca98649c4c7abc779cd04c96812e"));
        assert_eq!(directory.len(), uids.len());
    }

    proptest! {
        #[test]
        fn a_uuid_is_read_as_it_is_written(bytes: [u8; 16], text in "[0-9a-fA-F-]{30,40}") {
            prop_assert_eq!(parse_uuid(&uuid(HexId(bytes))), Some(HexId(bytes)));
            prop_assert!(parse_uuid(&text).is_none_or(|id| uuid(id) == text));
        }

        /// Nodes that come and go one by one leave what reading them all would have made.
        #[test]
        fn a_directory_kept_is_as_one_read(steps in proptest::collection::vec((0u8..6, 0u8..5, any::<bool>()), 0..40), read in 0usize..40) {
            let mut nodes = std::collections::BTreeMap::new();
            let read_anew = |nodes: &std::collections::BTreeMap<String, (String, String)>| {
                let mut directory = Directory::default();
                nodes.iter().for_each(|(name, (uid, machine))| directory.add(&node_of(name, uid, machine)));
                directory.finish()
            };
            let mut kept = Directory::default();
            for (position, (name, machine, goes)) in steps.into_iter().enumerate() {
                let uid = if position % 2 == 0 { format!("uid-{position}") } else { uuid(HexId([u8::try_from(position).unwrap(); 16])) };
                let name = format!("n{name}");
                // Machine 0 is an odd one.
                let machine = if machine == 0 { "odd".to_owned() } else { format!("{machine:032x}") };
                if goes {
                    nodes.remove(&name);
                    kept.remove(&NodeName(name));
                } else {
                    kept.insert(&node_of(&name, &uid, &machine));
                    nodes.insert(name, (uid, machine));
                }
                if position == read {
                    kept = read_anew(&nodes);
                }
                let anew = read_anew(&nodes);
                prop_assert_eq!((kept.len(), kept.odd(), &kept.ids), (anew.len(), anew.odd(), &anew.ids));
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
