//! What a process uses, from `/proc`.

use std::time::Duration;

/// Returns the processor time so far, including ended threads, in steps of 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc");
    // The second field is the name, in brackets, and may hold spaces; of what follows the 12th and 13th are wanted.
    let (_, fields) = stat.rsplit_once(')').expect("the name");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// A row of `/proc/PID/status` that is in KiB, as `VmRSS:` or `VmHWM:`.
pub fn memory_kib(pid: u32, row: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find(|line| line.starts_with(row)).expect("the row");
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number")
}

/// Counts the entries of `task` or `fd`.
pub fn count(pid: u32, folder: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{folder}")).expect("/proc").count()
}
