//! Puts the load of a fleet on the program, compressed in time. Agents with the requests of Zincati check in, ask for reboots all at once
//! on a day of an update, and go through roll-outs for hours. Meanwhile the load checks the promises ([`test_cluster::promises`]), and
//! that no memory, thread or descriptor is lost.
//!
//! Usage: `load PROGRAM MANIFEST quick|long`, on the cluster that `CLUSTER` names. The output is Markdown, and the exit code is an error
//! if a promise is broken. scripts/soak does all set-up.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the load plays the outside world, which has a clock, and ends at a wrong answer"
)]

mod answers;
mod check_ins;
mod roll_out;
mod samples;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use roll_out::Roll;

/// Interval of a refused agent: five minutes, and up to a tenth more.
const INTERVAL: Duration = Duration::from_secs(300);

/// Parts of a run, each with the factor by which time is compressed.
struct Play {
    /// Nodes that check in twice, evenly over five minutes, and the factor.
    check_ins: (usize, u32),
    update_day: Roll,
    hours: Roll,
}

/// Run of one or two minutes.
const QUICK: Play = Play {
    check_ins: (500, 60),
    update_day: Roll { nodes: 60, pods: 60, slots: 5, speed: 100, time: Duration::ZERO },
    hours: Roll { nodes: 30, pods: 60, slots: 3, speed: 150, time: Duration::from_secs(40) },
};

/// Run of half an hour: ten hours of roll-outs in fifteen minutes, a large fleet and a long day.
const LONG: Play = Play {
    check_ins: (5000, 10),
    update_day: Roll { nodes: 500, pods: 250, slots: 5, speed: 30, time: Duration::ZERO },
    hours: Roll { nodes: 60, pods: 120, slots: 5, speed: 40, time: Duration::from_secs(900) },
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, which] = arguments.as_slice() else { panic!("usage: load PROGRAM MANIFEST quick|long") };
    let play = match which.as_str() {
        "quick" => QUICK,
        "long" => LONG,
        other => panic!("{other:?} is neither quick nor long"),
    };
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let broken = run(&play, &program, &manifest);
    broken.iter().for_each(|broken| eprintln!("load: BROKEN: {broken}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all parts, and returns the broken promises.
fn run(play: &Play, program: &Path, manifest: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let (nodes, speed) = play.check_ins;
    println!("### {nodes} nodes check in over five minutes, {speed} times as fast\n");
    broken.extend(check_ins::play(program, manifest, nodes, INTERVAL / speed));
    let Roll { nodes, pods, slots, speed, .. } = play.update_day;
    println!("### A day of an update: {nodes} nodes with {pods} pods ask at once, {slots} slots, {speed} times as fast\n");
    broken.extend(play.update_day.play(program, manifest));
    let Roll { nodes, pods, slots, speed, time } = play.hours;
    let hours = time.as_secs_f64() * f64::from(speed) / 3600.0;
    println!("### {hours:.1} hours of roll-outs: {nodes} nodes with {pods} pods, {slots} slots, {speed} times as fast\n");
    broken.extend(play.hours.play(program, manifest));
    broken
}
