//! Permission of a caller: the groups and nodes that a credential covers.

use core::fmt::Display;
use core::net::IpAddr;
use std::sync::Arc;

use crate::cluster::NodeName;
use crate::fleetlock::{GroupName, Kind, Refusal};

/// Sender of a request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Permission of the sender.
    pub permit: Permit,
    /// Address of the sender.
    pub peer: IpAddr,
}

/// Groups and nodes that a caller may act for.
#[derive(Debug, Clone)]
pub enum Permit {
    /// All groups and nodes, because no credentials are configured.
    Anyone,
    /// Groups and nodes of a credential.
    Credential(Arc<Credential>),
}

/// Entry of the credentials file, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// User name, which is not secret.
    pub user: String,
    /// Covered groups; `None`: all, `["*"]` in the file.
    pub groups: Option<Vec<GroupName>>,
    /// Covered nodes; `None`: all.
    pub nodes: Option<Vec<NodeName>>,
}

impl Permit {
    /// Returns the user name, for the log.
    pub fn user(&self) -> Option<&str> {
        self.credential().map(|credential| credential.user.as_str())
    }

    /// Returns a refusal if `group` is not covered.
    pub fn group_refusal(&self, group: &GroupName) -> Option<Refusal> {
        let credential = self.credential()?;
        refusal(credential, credential.groups.as_deref(), group, Kind::ForbiddenGroup, "group")
    }

    /// Returns a refusal if `node` is not covered.
    pub fn node_refusal(&self, node: &NodeName) -> Option<Refusal> {
        let credential = self.credential()?;
        refusal(credential, credential.nodes.as_deref(), node, Kind::ForbiddenNode, "node")
    }

    fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Anyone => None,
            Self::Credential(credential) => Some(credential),
        }
    }
}

fn refusal<T: PartialEq + Display>(credential: &Credential, covered: Option<&[T]>, one: &T, kind: Kind, noun: &str) -> Option<Refusal> {
    let is_covered = covered.is_none_or(|covered| covered.contains(one));
    (!is_covered).then(|| Refusal::new(kind, format!("the credential of user {} does not cover {noun} {one}", credential.user)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_covers_the_groups_and_nodes_of_its_credential() {
        let group = |name: &str| GroupName::parse(name).unwrap();
        let node = |name: &str| NodeName(name.to_owned());
        let holder = |groups, nodes| Permit::Credential(Arc::new(Credential { user: "workers".to_owned(), groups, nodes }));
        assert_eq!(Permit::Anyone.user(), None);
        let any = (group("any"), node("any"));
        for all in [Permit::Anyone, holder(None, None)] {
            assert_eq!((all.group_refusal(&any.0), all.node_refusal(&any.1)), (None, None), "{all:?}");
        }
        let permit = holder(Some(vec![group("default")]), Some(vec![node("n1")]));
        assert_eq!(permit.user(), Some("workers"));
        assert_eq!((permit.group_refusal(&group("default")), permit.node_refusal(&node("n1"))), (None, None));
        let refused = |kind, what: &str| Some(Refusal::new(kind, format!("the credential of user workers does not cover {what}")));
        for other in ["other", "Default", "default2"] {
            assert_eq!(permit.group_refusal(&group(other)), refused(Kind::ForbiddenGroup, &format!("group {other}")));
        }
        for other in ["n2", "n10"] {
            assert_eq!(permit.node_refusal(&node(other)), refused(Kind::ForbiddenNode, &format!("node {other}")));
        }
    }
}
