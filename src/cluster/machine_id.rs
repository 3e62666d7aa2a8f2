//! Ids of machines: 128 bits written as 32 hexadecimal digits (machine-id(5)), dashes and case ignored.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 128-bit id as clients write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexId(pub [u8; 16]);

/// A node's `status.nodeInfo.machineID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub HexId);

impl HexId {
    /// Reads 32 hexadecimal digits; dashes between them are skipped. Anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 16];
        let mut digits = 0;
        for character in text.chars().filter(|character| *character != '-') {
            let value = u8::try_from(character.to_digit(16)?).ok()?;
            let byte = bytes.get_mut(digits / 2)?;
            *byte = *byte << 4 | value;
            digits += 1;
        }
        (digits == 32).then_some(Self(bytes))
    }
}

impl MachineId {
    /// Parses a machine-id. An invalid one (empty, short, all zeros) is `None`: it does not identify a node.
    pub fn parse(text: &str) -> Option<Self> {
        HexId::parse(text).filter(|id| id.0 != [0; 16]).map(Self)
    }
}

impl fmt::Display for HexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for HexId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an id has 32 hexadecimal digits"))
    }
}

impl fmt::Debug for HexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HexId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_thirty_two_digits_are_an_id() {
        let good = "dfd7882acda64c34aca76193c46f5d4e";
        let cases = [
            (good, true),
            ("DFD7882ACDA64C34ACA76193C46F5D4E", true),
            ("dfd7882a-cda6-4c34-aca7-6193c46f5d4e", true),
            ("", false),
            ("dfd7882acda64c34aca76193c46f5d4", false),
            ("dfd7882acda64c34aca76193c46f5d4e0", false),
            ("gfd7882acda64c34aca76193c46f5d4e", false),
            ("dfd7882acda64c34aca76193c46f5d4é", false),
        ];
        for (text, readable) in cases {
            assert_eq!(HexId::parse(text).is_some(), readable, "{text}");
        }
        assert_eq!(MachineId::parse(&"0".repeat(32)), None);
        assert_eq!(format!("{:?}", HexId::parse(good).unwrap()), format!("HexId({good})"));
    }

    proptest! {
        #[test]
        fn an_id_reads_back_as_it_is_written(bytes: [u8; 16]) {
            prop_assert_eq!(HexId::parse(&HexId(bytes).to_string()), Some(HexId(bytes)));
        }
    }
}
