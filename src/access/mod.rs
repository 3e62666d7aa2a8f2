//! Who may call: credentials and what each may speak for, and where a node's calls come from.
//!
//! Pure: the file is read by `http`, Nodes by `coordinator`. A password is never kept, and nothing here can show one.
//!
//! Specification: HTTP Basic, RFC 7617, which is all that Zincati can send (from the user information of its `base_url`).

mod basic;
mod credentials;
mod file;
mod source;

use core::fmt::Arguments;
use core::net::IpAddr;
use std::sync::Arc;

use crate::cluster::NodeName;
use crate::fleetlock::{GroupName, Kind, Refusal};

pub use basic::{CHALLENGE, presented};
pub use credentials::{Credential, Credentials, Secret};
pub use file::Mistake;
pub use source::{VerifySource, verify};

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

impl Permit {
    /// The user name, for the log.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::Holder(credential) => Some(&credential.user),
        }
    }

    /// The refusal of a caller for `group`, unless it is covered.
    pub fn refuses_group(&self, group: &GroupName) -> Option<Refusal> {
        self.refuses(Kind::ForbiddenGroup, |credential| credential.covers_group(group), format_args!("group {group}"))
    }

    /// The refusal of a caller for `node`, unless it is covered.
    pub fn refuses_node(&self, node: &NodeName) -> Option<Refusal> {
        self.refuses(Kind::ForbiddenNode, |credential| credential.covers_node(node), format_args!("node {node}"))
    }

    fn refuses(&self, kind: Kind, covers: impl FnOnce(&Credential) -> bool, target: Arguments<'_>) -> Option<Refusal> {
        match self {
            Self::Holder(credential) if !covers(credential) => {
                Some(Refusal::new(kind, format!("the credential of user {} does not cover {target}", credential.user)))
            }
            Self::Anyone | Self::Holder(_) => None,
        }
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
        assert!(Permit::Anyone.refuses_group(&group("any")).is_none() && Permit::Anyone.refuses_node(&node("any")).is_none());

        let text = "credentials: [{user: workers, password: long-enough, groups: [default], nodes: [n1]}]";
        let credentials = Credentials::parse(text, &Secret([1; 32])).unwrap();
        let permit = Permit::Holder(credentials.find(b"workers:long-enough").unwrap());
        assert_eq!(permit.user(), Some("workers"));
        assert!(permit.refuses_group(&group("default")).is_none() && permit.refuses_node(&node("n1")).is_none());
        let refused = [permit.refuses_group(&group("other")), permit.refuses_node(&node("n2"))].map(Option::unwrap);
        assert_eq!([refused[0].kind, refused[1].kind], [Kind::ForbiddenGroup, Kind::ForbiddenNode]);
        for (refused, says) in refused.iter().zip(["user workers does not cover group other", "user workers does not cover node n2"]) {
            assert!(refused.message.contains(says), "{refused:?}");
        }
    }
}
