//! Roll-outs of whole fleets in simulated time: the shipped rules, and clients that behave as Zincati does.
//!
//! `scripts/rollout` prints the time of each roll-out beside the ideal, which is the sum of all drains and reboots over the slots, and
//! beside a server that holds no request. Nothing waits here: an hour of a fleet takes milliseconds. `scripts/rollout --real` plays a
//! shortened roll-out on a real control plane, and prints its time beside that of the simulation.
#![expect(clippy::unwrap_used, reason = "a simulation ends when a value is not the expected one")]

mod real;
mod world;

use std::process::ExitCode;

use world::{Case, Obstacle, World};

/// Times as the manifest sets them, and as machines take.
const USUAL: Case = Case { nodes: 0, slots: 1, obstacle: Obstacle::None, drain: 20_000, reboot: 60_000, hold: 25 * 60_000 };

/// Roll-out on a real control plane: a minute and a quarter.
const SHORT: Case = Case { nodes: 10, drain: 3_000, reboot: 4_000, ..USUAL };

/// Maximum difference between the real roll-out and the simulation.
const DIFFERENCE_MAX: f64 = 0.2;

/// Number of runs of each case, whose median counts.
const SEEDS: u64 = 5;

fn main() -> ExitCode {
    let is_met = if std::env::args().any(|argument| argument == "--real") { compare() } else { table() };
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one roll-out on a real control plane and in the simulation, and reports whether both agree.
fn compare() -> bool {
    let (ideal, (simulated, _)) = (SHORT.ideal(), median(SHORT));
    let measured = real::play(SHORT);
    measured.broken.iter().for_each(|broken| eprintln!("rollout: BROKEN: {broken}"));
    let difference = measured.time / simulated - 1.0;
    println!("| nodes | slots | ideal, s | simulated, s | of the ideal | real, s | of the ideal | real to simulated | requests refused |");
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    println!(
        "| {} | {} | {ideal:.0} | {simulated:.1} | {:.2} | {:.1} | {:.2} | {:+.1} % | {} |",
        SHORT.nodes,
        SHORT.slots,
        simulated / ideal,
        measured.time,
        measured.time / ideal,
        difference * 100.0,
        measured.refused
    );
    measured.broken.is_empty() && difference.abs() <= DIFFERENCE_MAX
}

/// Prints all roll-outs, and reports whether those without an obstacle meet their goals.
fn table() -> bool {
    println!("| nodes | slots | obstacle | ideal, s | roll-out, s | of the ideal | answered at once, s | of the ideal | goal |");
    println!("|--:|--:|---|--:|--:|--:|--:|--:|--:|");
    let mut is_met = true;
    for obstacle in [Obstacle::None, Obstacle::Blocked, Obstacle::Lost] {
        for nodes in [3usize, 10, 50, 500] {
            for slots in [1, 5] {
                let case = Case { nodes, slots, obstacle, ..USUAL };
                let (others, ideal) = (case.others(), case.ideal());
                let held = median(case);
                let at_once = median(Case { hold: 0, ..case });
                let factor = if nodes <= 10 { 1.10 } else { 1.05 };
                let goal = match obstacle {
                    Obstacle::None => Some(ideal * factor),
                    Obstacle::Blocked => Some(ideal + 1_800.0),
                    Obstacle::Lost => None,
                };
                let is_missed = goal.is_some_and(|goal| held.0 > goal || held.1 < others);
                is_met &= !is_missed || obstacle != Obstacle::None;
                let show = |(time, done): (f64, usize)| {
                    if done < others { format!("{done} of {others} nodes |") } else { format!("{time:.0} | {:.2}", time / ideal) }
                };
                let goal = goal.map_or(String::new(), |goal| format!("{goal:.0}{}", if is_missed { " MISSED" } else { "" }));
                println!("| {nodes} | {slots} | {obstacle:?} | {ideal:.0} | {} | {} | {goal} |", show(held), show(at_once));
            }
        }
    }
    is_met
}

/// Median of some seeds, in seconds.
fn median(case: Case) -> (f64, usize) {
    let mut runs: Vec<(i64, usize)> = (1..=SEEDS).map(|seed| World::new(case, seed * 0x9e37_79b9).run()).collect();
    runs.sort_unstable();
    let (time, done) = runs[runs.len() / 2];
    (time as f64 / 1000.0, done)
}
