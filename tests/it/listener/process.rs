//! Limits of the process, and its end after a defect.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use test_cluster::wait::wait_for;

use super::{REQUEST, Siege, Way};
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

/// Too few descriptors for tiny_http are never allowed from the start, so the limit is lowered later. One way suffices: the defect comes
/// after the handshake and needs no client.
#[test]
fn a_defect_is_logged_and_ends_the_process_with_its_exit_code() {
    let siege = Siege::alone(Way::Plain, |start| start);
    let (pid, mut more) = (siege.server.pid(), 0);
    wait_for("the process ends", SOON, || {
        // Enough for the connection, and for some of those on the way to tiny_http; other threads open files, too.
        more = more % 6 + 1;
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(()) };
        let limit = format!("--nofile={}:", open.count() + more);
        Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().expect("prlimit is installed");
        for _ in 0..5 {
            let Ok(mut client) = siege.port.try_connect() else { return Ok(()) };
            client.give_up_after(Duration::from_millis(100));
            let _ = client.write_all(REQUEST).and_then(|()| client.read(&mut [0]));
        }
        Err(more)
    });
    assert_eq!(siege.server.exit_code(SOON), Some(70));
    siege.server.wait_for_log("this process exits, to be restarted", SOON);
}
