//! Limits of the process, and its end after a defect.

use std::io::Write;
use std::process::Command;

use super::{REQUEST, REQUEST_MAX, Siege, Way};
use crate::scenarios::{SOON, binary, cluster_of};

/// Returns the soft and the hard limit of a process.
fn limits(pid: u32, name: &str) -> (String, String) {
    let all = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let row = all.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut values = row.split_whitespace().map(str::to_owned);
    (values.next().unwrap(), values.next().unwrap())
}

#[test]
fn open_files_are_raised_to_the_hard_limit_and_no_core_is_dumped() {
    let (cluster, [_node]) = cluster_of();
    let server = cluster.server(&binary()).soft_open_files(256).start();
    let files = limits(server.pid(), "Max open files");
    assert!(files.0 == files.1 && files.0 != "256", "{files:?}");
    assert!(!server.log().join("\n").contains("the limit of open files"), "all connections are possible");
    // The kernel writes no core of at most one byte, and gives none to a program that collects them.
    let core = limits(server.pid(), "Max core file size");
    assert!(["0", "1"].contains(&core.0.as_str()) && core.0 == core.1, "{core:?}");
    // A process that must not be dumped would belong to root.
    assert!(server.descriptors() > 0);
}

/// Too few descriptors for tiny_http are never allowed from the start, so the limit is lowered later.
#[test]
fn a_defect_is_logged_and_ends_the_process_with_its_exit_code() {
    let siege = Siege::alone(Way::Plain, REQUEST_MAX, |start| start);
    let mut is_running = true;
    // Enough for the connection, and for some of those on the way to tiny_http.
    for more in [3, 2, 3, 4, 3, 2, 3, 4] {
        let (pid, files) = (siege.server.pid().to_string(), siege.server.descriptors() + more);
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status().expect("prlimit is installed");
        is_running = set.success();
        if !is_running {
            break;
        }
        for _ in 0..20 {
            let Ok(mut client) = siege.port.try_connect() else { break };
            let _ = client.write_all(REQUEST);
            client.rest();
        }
    }
    assert_eq!(siege.server.exit_code(SOON), Some(70), "{is_running}");
    siege.server.wait_for_log("this process exits, to be restarted", SOON);
}
