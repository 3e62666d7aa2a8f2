//! Whether a request may act for the node that its id names: judged before anything else is read, or anything changed.

use super::Error;
use crate::access::{Origin, VerifySource, verify};
use crate::kube::Kube;
use crate::reboot::{Caller, Fact, Observed, Outcome};
use crate::system::clock;

/// The refusal; `None`: the request may act for its node. Checks the credential first, which costs nothing; then, if configured,
/// reads the Node, which is recorded in `observed`. Its addresses are read each time: kept in the view of the fleet they could be old
/// when a node gets a new address.
pub(super) fn refuses(
    kube: &Kube,
    verify_source: VerifySource,
    caller: &Caller,
    origin: &Origin,
    observed: &mut Observed,
) -> Result<Option<Outcome>, Error> {
    if let Some(refusal) = origin.permit.refuses_node(&caller.node) {
        return Ok(Some(Outcome::Refused(refusal)));
    }
    if verify_source == VerifySource::Off {
        return Ok(None);
    }
    let at = clock::now().instant;
    let Some(node) = kube.node(&caller.node)?.filter(|node| caller.is(node)) else {
        return Ok(Some(Outcome::UnknownNode(caller.id)));
    };
    match verify(&node, origin.peer) {
        Some(refusal) if verify_source == VerifySource::Enforce => return Ok(Some(Outcome::Refused(refusal))),
        Some(refusal) => log::warn!("{} (--verify-source=log, so it is answered)", refusal.message),
        None => {}
    }
    observed.record(Fact::Meta(Some(node.meta.clone())), at);
    observed.record(Fact::Node(Some(node), None), at);
    Ok(None)
}
