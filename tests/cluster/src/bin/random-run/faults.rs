//! Faults of calls, chosen before a round begins.

use test_cluster::http::Response;
use test_cluster::proxy::{Fault, Rule};

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
pub(crate) fn lone_404() -> Fault {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    Fault::Status(Response { status: 404, headers, body: b"404 page not found".to_vec(), chunked: false })
}
