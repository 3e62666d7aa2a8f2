//! Who may call: credentials and what each may speak for, and where a node's calls come from.
//!
//! Pure: the file is read by `http`, Nodes by `coordinator`. A password is never kept, and nothing here can show one.
//!
//! Specification: HTTP Basic, RFC 7617, which is all that Zincati can send (from the user information of its `base_url`).

mod basic;
mod credentials;
mod file;
mod source;

use core::net::IpAddr;
use std::sync::Arc;

use crate::cluster::NodeName;
use crate::fleetlock::{GroupName, Kind, Reply};

pub use basic::{CHALLENGE, presented};
pub use credentials::{Credential, Credentials, Secret};
pub use file::Mistake;
pub use source::{Mismatch, VerifySource, verify};

/// Who sent a request, as far as the door can tell.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What the caller may speak for.
    pub permit: Permit,
    /// The address it came from; `None`: the connection has none.
    pub peer: Option<IpAddr>,
}

/// What a caller may speak for.
#[derive(Debug, Clone)]
pub enum Permit {
    /// There are no credentials here: every caller may speak for every node.
    Anyone,
    /// As far as this credential goes.
    Holder(Arc<Credential>),
}

/// A caller is turned away, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// For machines.
    pub kind: Kind,
    /// For a person. It holds nothing that the caller sent as a secret.
    pub sentence: String,
}

impl Permit {
    /// The user name, for the log.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::Holder(credential) => Some(&credential.user),
        }
    }

    /// Whether it covers `group`.
    pub fn covers_group(&self, group: &GroupName) -> Result<(), Denied> {
        match self {
            Self::Holder(credential) if !credential.covers_group(group) => {
                let sentence = format!("the credential of user {} does not cover group {group}", credential.user);
                Err(Denied { kind: Kind::ForbiddenGroup, sentence })
            }
            Self::Anyone | Self::Holder(_) => Ok(()),
        }
    }

    /// Whether it covers `node`.
    pub fn covers_node(&self, node: &NodeName) -> Result<(), Denied> {
        match self {
            Self::Holder(credential) if !credential.covers_node(node) => {
                let sentence = format!("the credential of user {} does not cover node {node}", credential.user);
                Err(Denied { kind: Kind::ForbiddenNode, sentence })
            }
            Self::Anyone | Self::Holder(_) => Ok(()),
        }
    }
}

impl Denied {
    /// The caller is not known.
    fn unauthorized(sentence: &str) -> Self {
        Self { kind: Kind::Unauthorized, sentence: sentence.to_owned() }
    }
}

impl From<Denied> for Reply {
    fn from(denied: Denied) -> Self {
        Self::refusal(denied.kind, denied.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_names_its_user_and_covers_what_its_credential_does() {
        let group = |name: &str| GroupName::parse(name).unwrap();
        let node = |name: &str| NodeName(name.to_owned());
        assert_eq!(Permit::Anyone.user(), None);
        assert!(Permit::Anyone.covers_group(&group("any")).is_ok() && Permit::Anyone.covers_node(&node("any")).is_ok());

        let text = "credentials: [{user: workers, password: long-enough, groups: [default], nodes: [n1]}]";
        let credentials = Credentials::parse(text, &Secret([1; 32])).unwrap();
        let permit = Permit::Holder(credentials.find(b"workers:long-enough").unwrap());
        assert_eq!(permit.user(), Some("workers"));
        assert!(permit.covers_group(&group("default")).is_ok() && permit.covers_node(&node("n1")).is_ok());
        let denied = [permit.covers_group(&group("other")), permit.covers_node(&node("n2"))].map(Result::unwrap_err);
        assert_eq!([denied[0].kind, denied[1].kind], [Kind::ForbiddenGroup, Kind::ForbiddenNode]);
        for (denied, says) in denied.into_iter().zip(["user workers does not cover group other", "user workers does not cover node n2"]) {
            assert!(Reply::from(denied.clone()).value().contains(says), "{denied:?}");
        }
    }
}
