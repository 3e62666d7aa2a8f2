//! Faults of calls, chosen before a round begins.

use std::sync::Arc;

use serde_json::Value;
use test_cluster::cluster::lock;
use test_cluster::http::Response;
use test_cluster::proxy::{Fault, Rule};

use crate::events::Event;
use crate::observer::holders;
use crate::random::Random;
use crate::world::World;

/// Calls of each replica that may meet a fault, counted from the start of the round: more than a round has.
const CALLS: usize = 6000;

/// Plans the faults of the calls of replica `at`. Each call meets a fault in `percent` of all cases.
pub(crate) fn plan_faults(world: &World, at: usize, percent: u64) {
    let mut random = Random::new(world.settings.seed, ["faults left", "faults right"][at]);
    for call in 1..=CALLS {
        if random.chance(percent) {
            world.replica(at).proxy.plan(Rule::any().nth(call).inject(fault(&mut random)));
        }
    }
}

fn fault(random: &mut Random) -> Fault {
    match random.below(9) {
        0 => Fault::CutBefore,
        1 | 2 => Fault::CutAfter,
        3 => Fault::conflict409(),
        4 => Fault::toomany429(1),
        5 => Fault::internal500(),
        6 => Fault::status_after(504),
        7 => Fault::Slow(random.time(100, 3000)),
        _ => lone_404(),
    }
}

/// A 404 of a proxy, in plain text.
fn lone_404() -> Fault {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    Fault::Status(Response { status: 404, headers, body: b"404 page not found".to_vec(), chunked: false })
}

/// Lets the next read of this Node meet a 404 that is not of Kubernetes, at each replica. Counted if the node is approved then.
pub(crate) fn plan_404(world: &World, node: &str) {
    for at in [0, 1] {
        let (observer, name) = (Arc::clone(&world.observer), node.to_owned());
        let count = Fault::before(move |_| {
            if holders(&lock(&observer.admin)).any(|holder| holder["node"] == name && is_approved(holder)) {
                observer.counts.add(Event::Lone404);
            }
        });
        let reads = || Rule::on("get", "nodes").with_path(&format!("/nodes/{node}")).nth(1);
        let proxy = &world.replica(at).proxy;
        proxy.plan(reads().inject(count));
        proxy.plan(reads().inject(lone_404()));
    }
}

/// Reports whether a holder is approved, and not back.
pub(crate) fn is_approved(holder: &Value) -> bool {
    holder["approved"].is_object() && holder["checked_in"].is_null()
}
