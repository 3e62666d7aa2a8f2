//! Inputs of every decision: the caller, the rules, the time.

use std::time::Instant;

use jiff::Timestamp;

use crate::cluster::{HexId, Node, NodeName, Uid};
use crate::drain::Ours;
use crate::fleetlock::{GroupName, answers_to};
use crate::lock::{Capacity, Times};

/// Node that a request is for, and the contents of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The node's name.
    pub node: NodeName,
    /// The node's UID in the view of the fleet.
    pub uid: Uid,
    /// The id in the request.
    pub id: HexId,
    /// The group in the request.
    pub group: GroupName,
    /// Time at which the request arrived.
    pub arrived: Timestamp,
}

/// Settings that all decisions share.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Maximum number of nodes unavailable at once.
    pub capacity: Capacity,
    /// At most one control-plane node may be unavailable, for any reason.
    pub protect_control_plane: bool,
    /// Times after which a slot is given back.
    pub times: Times,
    /// Name of this replica, which no other has.
    pub replica: String,
    /// Description of this program's own pods.
    pub ours: Ours,
}

/// Current time, in both forms.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For times that are written and shown.
    pub clock: Timestamp,
    /// For deadlines and ages.
    pub instant: Instant,
}

impl Caller {
    /// Reports whether `node`, as just read, is the node that the view of the fleet found.
    pub fn is(&self, node: &Node) -> bool {
        node.meta.uid == self.uid && node.machine_id.is_some_and(|machine| answers_to(machine, self.id))
    }
}
