//! The permission of a caller: groups and nodes that a credential covers, and the refusal beyond them.

use core::fmt::Display;
use core::net::IpAddr;
use std::sync::Arc;

use crate::cluster::NodeName;
use crate::fleetlock::{GroupName, Kind, Refusal};

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Groups and nodes that the sender may act for.
    pub permit: Permit,
    /// Address of the sender; `None`: the connection has none.
    pub peer: Option<IpAddr>,
}

/// Groups and nodes that a caller may act for.
#[derive(Debug, Clone)]
pub enum Permit {
    /// All: no credentials are configured.
    Anyone,
    /// Those of this credential.
    Holder(Arc<Credential>),
}

/// One pair of user and password, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name; it may be shown.
    pub user: String,
    /// The groups it covers; `None`: all, `["*"]` in the file.
    pub groups: Option<Vec<GroupName>>,
    /// The nodes it covers; `None`: all.
    pub nodes: Option<Vec<NodeName>>,
}

impl Permit {
    /// The user name, for the log.
    pub fn user(&self) -> Option<&str> {
        self.credential().map(|credential| credential.user.as_str())
    }

    /// The refusal of a caller for `group`, unless it is covered.
    pub fn refuses_group(&self, group: &GroupName) -> Option<Refusal> {
        self.credential()?.refuses(|it| it.groups.as_deref(), group, (Kind::ForbiddenGroup, "group"))
    }

    /// The refusal of a caller for `node`, unless it is covered.
    pub fn refuses_node(&self, node: &NodeName) -> Option<Refusal> {
        self.credential()?.refuses(|it| it.nodes.as_deref(), node, (Kind::ForbiddenNode, "node"))
    }

    fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Anyone => None,
            Self::Holder(credential) => Some(credential),
        }
    }
}

impl Credential {
    fn refuses<T: PartialEq + Display>(&self, covered: fn(&Self) -> Option<&[T]>, one: &T, (kind, what): (Kind, &str)) -> Option<Refusal> {
        let is_covered = covered(self).is_none_or(|covered| covered.contains(one));
        (!is_covered).then(|| Refusal::new(kind, format!("the credential of user {} does not cover {what} {one}", self.user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_names_its_user_and_covers_the_groups_and_nodes_of_its_credential() {
        let group = |name: &str| GroupName::parse(name).unwrap();
        let node = |name: &str| NodeName(name.to_owned());
        let holder = |groups, nodes| Permit::Holder(Arc::new(Credential { user: "workers".to_owned(), groups, nodes }));
        assert_eq!(Permit::Anyone.user(), None);
        let any = (group("any"), node("any"));
        for all in [Permit::Anyone, holder(None, None)] {
            assert_eq!((all.refuses_group(&any.0), all.refuses_node(&any.1)), (None, None), "{all:?}");
        }
        let permit = holder(Some(vec![group("default")]), Some(vec![node("n1")]));
        assert_eq!(permit.user(), Some("workers"));
        assert_eq!((permit.refuses_group(&group("default")), permit.refuses_node(&node("n1"))), (None, None));
        let refused = |kind, what: &str| Some(Refusal::new(kind, format!("the credential of user workers does not cover {what}")));
        assert_eq!(permit.refuses_group(&group("other")), refused(Kind::ForbiddenGroup, "group other"));
        assert_eq!(permit.refuses_node(&node("n2")), refused(Kind::ForbiddenNode, "node n2"));
    }
}
