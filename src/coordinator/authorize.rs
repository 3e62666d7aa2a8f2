//! Whether a request may act for the node that its id names: judged before anything else is read, or anything changed.

use super::{Error, clock};
use crate::access::{Denied, Origin, VerifySource, verify};
use crate::kube::Kube;
use crate::reboot::{Caller, Fact, Observed, Outcome, Refusal};

/// The refusal; `None`: the request may act for its node. Checks the credential first, which costs nothing; then, if configured,
/// reads the Node, which is recorded in `seen`. Its addresses are read each time: kept in the directory they would be old
/// when a node gets a new address.
pub(super) fn refuses(
    kube: &Kube,
    verify_source: VerifySource,
    caller: &Caller,
    origin: &Origin,
    seen: &mut Observed,
) -> Result<Option<Outcome>, Error> {
    if let Err(denied) = origin.permit.covers_node(&caller.node) {
        return Ok(Some(refused(denied)));
    }
    if verify_source == VerifySource::Off {
        return Ok(None);
    }
    let at = clock::now().instant;
    let Some(node) = kube.node(&caller.node)?.filter(|node| caller.is(node)) else {
        return Ok(Some(Refusal::unknown(caller.id)));
    };
    match verify(&node, origin.peer) {
        Err(mismatch) if verify_source == VerifySource::Enforce => return Ok(Some(refused(mismatch.into()))),
        Err(mismatch) => log::warn!("{} (--verify-source=log, so it is answered)", mismatch.sentence()),
        Ok(()) => {}
    }
    seen.fold(Fact::Mark(Some(node.mark.clone())), at);
    seen.fold(Fact::Node(Some(node), None), at);
    Ok(None)
}

fn refused(denied: Denied) -> Outcome {
    Refusal::outcome(denied.kind, denied.sentence)
}
