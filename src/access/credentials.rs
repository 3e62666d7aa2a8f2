//! The credentials in force: which pair of user and password is known, and what it may speak for.
//!
//! A pair is kept and compared as its HMAC under a key that is made anew for each process and known to nobody else. So
//! no password stays in memory, and neither its length nor how much of it was right can be told from the time it takes.

use std::fmt;
use std::sync::Arc;

use ring::hmac;

use crate::access::file::{self, Mistake};
use crate::cluster::NodeName;
use crate::fleetlock::GroupName;

/// Random bytes that never leave the process.
pub struct Secret(pub [u8; 32]);

/// All of them.
pub struct Credentials {
    key: hmac::Key,
    known: Vec<(hmac::Tag, Arc<Credential>)>,
}

/// What one pair of user and password stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name; it may be shown.
    pub user: String,
    /// The groups it may speak for.
    pub groups: Groups,
    /// The nodes it may speak for; `None`: any.
    pub nodes: Option<Vec<NodeName>>,
}

/// The groups a credential may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Every group: `["*"]`.
    All,
    /// These.
    These(Vec<GroupName>),
}

impl Credentials {
    /// Reads the text of a file.
    pub fn parse(text: &str, secret: &Secret) -> Result<Self, Mistake> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        let entries = file::read(text)?;
        let mut known: Vec<(hmac::Tag, Arc<Credential>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let tag = hmac::sign(&key, format!("{}:{}", entry.credential.user, entry.password).as_bytes());
            if known.iter().any(|(other, _)| other.as_ref() == tag.as_ref()) {
                return Err(Mistake::at(entry.line, "this user is listed twice with the same password".to_owned()));
            }
            known.push((tag, Arc::new(entry.credential)));
        }
        Ok(Self { key, known })
    }

    /// The credential of `pair`, which is `user:password`. It always takes as long.
    pub fn find(&self, pair: &[u8]) -> Option<Arc<Credential>> {
        let tag = hmac::sign(&self.key, pair);
        let mut found = None;
        for (known, credential) in &self.known {
            if is_same(known.as_ref(), tag.as_ref()) {
                found = Some(credential);
            }
        }
        found.cloned()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

/// Compares every byte, whatever the first ones say.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

impl Credential {
    pub(super) fn covers_group(&self, group: &GroupName) -> bool {
        match &self.groups {
            Groups::All => true,
            Groups::These(groups) => groups.contains(group),
        }
    }

    pub(super) fn covers_node(&self, node: &NodeName) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(_, credential)| credential)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "credentials:\n\
        - {user: a, password: old-password, groups: [default]}\n\
        - {user: a, password: new-password, groups: [default, Workers.EU]}\n\
        - {user: b, password: new-password, groups: ['*'], nodes: [n1, n2]}\n";

    fn parse(text: &str) -> Result<Credentials, Mistake> {
        Credentials::parse(text, &Secret([1; 32]))
    }

    #[test]
    fn a_pair_stands_for_what_the_file_says() {
        let credentials = parse(FILE).unwrap();
        let cases = [
            ("a:old-password", "default", "n9", (true, true)),
            ("a:old-password", "Workers.EU", "n9", (false, true)),
            ("a:new-password", "Workers.EU", "n9", (true, true)),
            ("a:new-password", "workers.eu", "n9", (false, true)),
            ("b:new-password", "anything", "n1", (true, true)),
            ("b:new-password", "anything", "n10", (true, false)),
        ];
        for (pair, group, node, want) in cases {
            let found = credentials.find(pair.as_bytes()).unwrap();
            let is = (found.covers_group(&GroupName::parse(group).unwrap()), found.covers_node(&NodeName(node.to_owned())));
            assert_eq!(is, want, "{pair} {group} {node}");
        }
        for pair in ["b:old-password", "a:", "a", "", "a:old-passwor", "a:old-password\0"] {
            assert!(credentials.find(pair.as_bytes()).is_none(), "{pair}");
        }
        assert_eq!(credentials.count(), 3);
    }

    #[test]
    fn every_byte_counts() {
        assert!(is_same(&[1, 2], &[1, 2]));
        for (one, other) in [(&[1, 2][..], &[2, 1][..]), (&[1, 2], &[1, 3]), (&[1, 2], &[1]), (&[1, 1], &[2, 2]), (&[0, 0], &[4, 4])] {
            assert!(!is_same(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn nothing_shows_a_password() {
        let shown = format!("{:?}", parse(FILE).unwrap());
        assert!(shown.contains("\"a\"") && !shown.contains("password"), "{shown}");
    }

    #[test]
    fn the_same_pair_twice_is_a_mistake() {
        let error = parse(&format!("{FILE}- {{user: a, password: new-password, groups: [other]}}\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 5: this user is listed twice with the same password");
    }
}
