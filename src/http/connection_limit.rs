//! How many connections the process's limit of open files allows. tiny_http ends for good when it runs out of descriptors.

/// Descriptors of a connection whose request is being answered: the client's, and three of the way to tiny_http.
const EACH: usize = 4;

/// Descriptors for everything else: log, signals, ports, and connections to Kubernetes.
const OTHERS: usize = 32;

/// Connections of the ops port: probes and Prometheus.
const OPS: usize = 16;

/// A port with fewer connections is of no use.
const CONNECTIONS_MIN: usize = 2;

/// Connections of the FleetLock port and of the ops port, by the text of /proc/self/limits.
fn shares(limits: &str, wanted: usize) -> (usize, usize) {
    let Some(files) = open_files(limits) else { return (wanted, OPS) };
    let all = files.saturating_sub(OTHERS) / EACH;
    let ops = (all / 4).clamp(CONNECTIONS_MIN, OPS);
    (wanted.min(all.saturating_sub(ops).max(CONNECTIONS_MIN)), ops)
}

/// Connections of the FleetLock port, at most `wanted`, and of the ops port.
pub fn connection_limits(wanted: usize) -> (usize, usize) {
    let (connections, ops) = shares(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default(), wanted);
    if connections < wanted {
        log::warn!("the limit of open files (ulimit -n) allows {connections} connections at once, not {wanted}");
    }
    (connections, ops)
}

/// The soft limit; `None` when there is none.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_bounds_the_connections() {
        let limits = |files: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax processes 9 9 processes\nMax open files            {files}  4096  files\n")
        };
        let cases =
            [("1048576", (512, 16)), ("unlimited", (512, 16)), ("2144", (512, 16)), ("1024", (232, 16)), ("64", (6, 2)), ("16", (2, 2))];
        for (files, want) in cases {
            assert_eq!(shares(&limits(files), 512), want, "{files}");
        }
        assert_eq!(shares("", 512), (512, 16));
        assert_eq!(shares(&limits("1024"), 3), (3, 16));
    }
}
