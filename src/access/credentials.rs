//! The credentials in force: known pairs of user and password, each with its permission.
//!
//! A pair is kept and compared as an HMAC under a key that is generated at the start of the process. No password stays in
//! memory, and the time of a comparison shows neither the length of a password nor how much of a guess is right.

use std::fmt;
use std::sync::Arc;

use ring::hmac;

use super::Credential;
use super::file::{self, FileError};

/// Credentials in force.
pub struct Credentials {
    key: hmac::Key,
    known: Vec<(hmac::Tag, Arc<Credential>)>,
}

impl Credentials {
    /// Parses the text of a file. `secret` is random, and the same for each file of this process.
    pub fn parse(text: &str, secret: &[u8; 32]) -> Result<Self, FileError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let entries = file::read(text)?;
        let mut known: Vec<(hmac::Tag, Arc<Credential>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let tag = hmac::sign(&key, format!("{}:{}", entry.credential.user, entry.password).as_bytes());
            if known.iter().any(|(other, _)| other.as_ref() == tag.as_ref()) {
                return Err(FileError::at(entry.line, "this user is listed twice with the same password".to_owned()));
            }
            known.push((tag, Arc::new(entry.credential)));
        }
        Ok(Self { key, known })
    }

    /// Finds the credential of `pair`, which is `user:password`, in a time that does not depend on the pair.
    pub fn find(&self, pair: &[u8]) -> Option<Arc<Credential>> {
        let tag = hmac::sign(&self.key, pair);
        let mut found = None;
        // No early exit, because its time shows the position of the pair.
        for (known, credential) in &self.known {
            if is_same(known.as_ref(), tag.as_ref()) {
                found = Some(credential);
            }
        }
        found.cloned()
    }

    /// Returns the number of pairs.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Every byte is compared, so the time does not show how many are equal.
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
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

    fn parse(text: &str) -> Result<Credentials, FileError> {
        Credentials::parse(text, &[1; 32])
    }

    #[test]
    fn a_pair_has_the_permissions_of_its_entry() {
        let credentials = parse(FILE).unwrap();
        let permissions = |pair: &str| {
            let Credential { user, groups, nodes } = Arc::unwrap_or_clone(credentials.find(pair.as_bytes())?);
            Some((user, groups.map(|groups| groups.len()), nodes.map(|nodes| nodes.len())))
        };
        assert_eq!(permissions("a:old-password"), Some(("a".to_owned(), Some(1), None)));
        assert_eq!(permissions("a:new-password"), Some(("a".to_owned(), Some(2), None)));
        assert_eq!(permissions("b:new-password"), Some(("b".to_owned(), None, Some(2))));
        for pair in ["b:old-password", "a:", "a", "", "a:old-passwor", "a:old-password\0"] {
            assert_eq!(permissions(pair), None, "{pair}");
        }
        assert_eq!(credentials.count(), 3);
    }

    #[test]
    fn every_byte_is_compared() {
        assert!(is_same(&[1, 2], &[1, 2]));
        for (one, other) in [(&[1, 2][..], &[2, 1][..]), (&[1, 2], &[1, 3]), (&[1, 2], &[1]), (&[1, 1], &[2, 2]), (&[0, 0], &[4, 4])] {
            assert!(!is_same(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn debug_output_shows_no_password() {
        let shown = format!("{:?}", parse(FILE).unwrap());
        assert!(shown.contains("\"a\"") && !shown.contains("password"), "{shown}");
    }

    #[test]
    fn a_pair_listed_twice_is_refused() {
        let error = parse(&format!("{FILE}- {{user: a, password: new-password, groups: [other]}}\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 5: this user is listed twice with the same password");
    }
}
