//! The permission of a caller: groups and nodes that a credential covers, and the refusal beyond them.

use core::net::IpAddr;
use std::sync::Arc;

use crate::cluster::NodeName;
use crate::fleetlock::{GroupName, Kind, Reply};

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

/// The refusal of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// For machines.
    pub kind: Kind,
    /// For a person. It holds nothing that the caller sent as a secret.
    pub message: String,
}

impl Permit {
    /// The user name, for the log.
    pub fn user(&self) -> Option<&str> {
        self.credential().map(|credential| credential.user.as_str())
    }

    /// Whether `group` is covered.
    pub fn covers_group(&self, group: &GroupName) -> Result<(), Denied> {
        self.credential().map_or(Ok(()), |it| it.covers(it.groups.as_deref(), group, Kind::ForbiddenGroup, "group"))
    }

    /// Whether `node` is covered.
    pub fn covers_node(&self, node: &NodeName) -> Result<(), Denied> {
        self.credential().map_or(Ok(()), |it| it.covers(it.nodes.as_deref(), node, Kind::ForbiddenNode, "node"))
    }

    fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Anyone => None,
            Self::Holder(credential) => Some(credential),
        }
    }
}

impl Credential {
    fn covers<T: PartialEq + std::fmt::Display>(&self, covered: Option<&[T]>, one: &T, kind: Kind, what: &str) -> Result<(), Denied> {
        if covered.is_none_or(|covered| covered.contains(one)) {
            return Ok(());
        }
        Err(Denied { kind, message: format!("the credential of user {} does not cover {what} {one}", self.user) })
    }
}

impl Denied {
    /// The refusal of a caller that is not known.
    pub(super) fn unauthorized(message: &str) -> Self {
        Self { kind: Kind::Unauthorized, message: message.to_owned() }
    }
}

impl From<Denied> for Reply {
    fn from(denied: Denied) -> Self {
        Self::refusal(denied.kind, denied.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_names_its_user_and_covers_the_groups_and_nodes_of_its_credential() {
        let group = |name: &str| GroupName::parse(name).unwrap();
        let node = |name: &str| NodeName(name.to_owned());
        assert_eq!(Permit::Anyone.user(), None);
        assert!(Permit::Anyone.covers_group(&group("any")).is_ok() && Permit::Anyone.covers_node(&node("any")).is_ok());

        let holder = |groups, nodes| Permit::Holder(Arc::new(Credential { user: "workers".to_owned(), groups, nodes }));
        let all = holder(None, None);
        assert!(all.covers_group(&group("any")).is_ok() && all.covers_node(&node("any")).is_ok());
        let permit = holder(Some(vec![group("default")]), Some(vec![node("n1")]));
        assert_eq!(permit.user(), Some("workers"));
        assert!(permit.covers_group(&group("default")).is_ok() && permit.covers_node(&node("n1")).is_ok());
        let denied = [permit.covers_group(&group("other")), permit.covers_node(&node("n2"))].map(Result::unwrap_err);
        assert_eq!([denied[0].kind, denied[1].kind], [Kind::ForbiddenGroup, Kind::ForbiddenNode]);
        for (denied, says) in denied.into_iter().zip(["user workers does not cover group other", "user workers does not cover node n2"]) {
            assert!(Reply::from(denied.clone()).value().contains(says), "{denied:?}");
        }
    }
}
