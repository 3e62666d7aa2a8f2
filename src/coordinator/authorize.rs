//! Check that a request may act for the node that its id names, before anything else is read or changed.

use super::Error;
use super::request::Requests;
use crate::access::{Origin, VerifySource, verify};
use crate::reboot::{Caller, Fact, Observed, Outcome};
use crate::system::clock;

/// Returns the refusal; `None`: the request may act for its node. The credential is checked first, which costs nothing. Then, with
/// `--verify-source`, the Node is read and recorded in `observed`.
pub(super) fn refusal(requests: &Requests, caller: &Caller, origin: &Origin, observed: &mut Observed) -> Result<Option<Outcome>, Error> {
    if let Some(refusal) = origin.permit.node_refusal(&caller.node) {
        return Ok(Some(Outcome::Refused(refusal)));
    }
    let Requests { kube, verify_source, performer, .. } = requests;
    if *verify_source == VerifySource::Off {
        return Ok(None);
    }
    let at = clock::now().instant;
    // Addresses are read each time, because those in the view of the fleet may be old.
    let Some(node) = kube.node(&caller.node)?.filter(|node| caller.is(node)) else {
        return Ok(Some(Outcome::UnknownNode(caller.id)));
    };
    match verify(&node, origin.peer) {
        Some(refusal) if *verify_source == VerifySource::Enforce => return Ok(Some(Outcome::Refused(refusal))),
        Some(refusal) if performer.repeats.lock().due(&refusal.message, at).is_some() => {
            let message = format!("{} (--verify-source=log, so it is answered)", refusal.message);
            log::warn!(node:% = caller.node, group:% = caller.group, remote:% = origin.peer; "{message}");
        }
        _ => {}
    }
    observed.record(Fact::Meta(Some(node.meta.clone())), at);
    observed.record(Fact::Node(Some(node), None), at);
    Ok(None)
}
