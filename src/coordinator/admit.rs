//! Whether a request may speak for the node that its id names: judged before anything else is read, or anything changed.

use std::time::Instant;

use super::{Coordinator, Trouble};
use crate::access::{Denied, Origin, VerifySource, verify};
use crate::cluster::Node;
use crate::reboot::{Caller, Outcome, Refusal};
use crate::system::clock;

/// The verdict.
pub(super) enum Admitted {
    /// It may not, or there is no such node any more.
    No(Outcome),
    /// It may. When the Node had to be read to know it, here it is.
    Yes(Option<Box<Looked>>),
}

/// A Node, and when its reading began.
pub(super) struct Looked {
    pub(super) node: Node,
    pub(super) at: Instant,
}

impl Coordinator {
    /// Asks the credential first, which costs nothing; then, if it is asked for, compares the peer's address with those
    /// of the Node. They are read each time: kept in the directory they would be old when a node gets a new address.
    pub(super) fn admit(&self, caller: &Caller, origin: &Origin) -> Result<Admitted, Trouble> {
        if let Err(denied) = origin.permit.covers_node(&caller.node) {
            return Ok(Admitted::No(refused(denied)));
        }
        if self.limits.verify_source == VerifySource::Off {
            return Ok(Admitted::Yes(None));
        }
        let at = clock::now().instant;
        let Some(node) = self.kube.node(&caller.node)?.filter(|node| caller.is(node)) else {
            return Ok(Admitted::No(Refusal::unknown(caller.id)));
        };
        match verify(&node, origin.peer) {
            Err(mismatch) if self.limits.verify_source == VerifySource::Enforce => return Ok(Admitted::No(refused(mismatch.into()))),
            Err(mismatch) => log::warn!("{} (--verify-source=log, so it is answered)", mismatch.sentence()),
            Ok(()) => {}
        }
        Ok(Admitted::Yes(Some(Box::new(Looked { node, at }))))
    }
}

fn refused(denied: Denied) -> Outcome {
    Refusal::outcome(denied.kind, denied.sentence)
}
