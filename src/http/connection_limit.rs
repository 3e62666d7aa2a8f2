//! Number of connections that the limit of open files allows.

use rustix::process::{Resource, getrlimit};

use super::places::ending_max;

// Descriptors of a connection whose request is being answered: one to the client, and three on the way to tiny_http.
const EACH: usize = 4;

// Descriptors for everything else: log, signals, ports, and connections to Kubernetes.
const OTHERS: usize = 32;

// Connections of the ops port, for probes and Prometheus. Many, so that a probe is read before newer connections can take its place.
const OPS: usize = 256;

// The ops port gets at most an eighth of the connections.
const OPS_PART: usize = 8;

// With one connection, one held request would block all other nodes.
const CONNECTIONS_MIN: usize = 2;

/// Returns the number of connections of the FleetLock port, at most `wanted`, and of the ops port.
pub(crate) fn connection_limits(wanted: usize) -> (usize, usize) {
    // tiny_http stops accepting if descriptors run out, so the limit must never be reached.
    let (connections, ops) = shares(getrlimit(Resource::Nofile).current, wanted);
    if connections < wanted {
        log::warn!("the limit of open files (ulimit -n) allows {connections} connections at once, not {wanted}");
    }
    (connections, ops)
}

fn shares(open_files: Option<u64>, wanted: usize) -> (usize, usize) {
    let open_files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let all = open_files.saturating_sub(OTHERS) / EACH;
    // A connection that was closed for another one keeps a descriptor until it ends.
    let all = all - ending_max(all).div_ceil(EACH);
    let ops = (all / OPS_PART).clamp(CONNECTIONS_MIN, OPS);
    (wanted.min(all.saturating_sub(ops).max(CONNECTIONS_MIN)), ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_bounds_the_connections() {
        let cases = [
            (Some(1_048_576), 512, (512, 256)),
            (None, 512, (512, 256)),
            (Some(2448), 512, (512, 73)),
            (Some(2447), 512, (511, 73)),
            (Some(1024), 512, (210, 30)),
            (Some(1024), 3, (3, 30)),
            (Some(64), 512, (5, 2)),
            (Some(16), 512, (2, 2)),
        ];
        for (files, wanted, want) in cases {
            assert_eq!(shares(files, wanted), want, "{files:?}");
        }
    }
}
