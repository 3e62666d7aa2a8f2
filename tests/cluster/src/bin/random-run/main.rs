//! A long random run of the program from one seed: agents of all kinds, faults and outsiders against two replicas on the simulated cluster,
//! in rounds. The promises are checked after every write. At the end of a round all faults end, and every node must reboot.
//!
//! Usage: `random-run PROGRAM MANIFEST SECONDS|quick [SEED]`. The exit code is an error if a promise is broken, a node is stuck, something
//! is left behind, or a rare event was not reached. scripts/random-run does all set-up.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "the run plays the outside world, which has a clock, and ends at a wrong answer"
)]

mod administrator;
mod agent;
mod events;
mod faults;
mod furnish;
mod machine;
mod observer;
mod outsiders;
mod random;
mod replicas;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use events::{Counts, EVENTS, Event};
use faults::plan_faults;
use furnish::NODES;
use machine::Agent;
use outsiders::Outsiders;
use random::Random;
use world::{Settings, World};

/// Limit of the quiet end of a round: every node has rebooted, and nothing is left behind. It takes a quarter of a minute on an idle machine.
/// Also the limit of the wait for what a quick run must reach.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(480);

/// Limit of the wait for the events that a round of a long run aims at. Later rounds aim at those that were not reached.
const AIM_MAX: Duration = Duration::from_secs(120);

/// Events that each quick run must reach, by round: its agents and outsiders do what leads to them until they are reached.
const QUICK: [&[Event]; 2] =
    [&[Event::EarlyCheckIn, Event::EvictedTwice, Event::HungUpBeforeApproval, Event::Lone404, Event::SlotToOtherReplica], &[]];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, manifest, time, seed @ ..] = arguments.as_slice() else {
        panic!("usage: random-run PROGRAM MANIFEST SECONDS|quick [SEED]")
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let seed = seed.first().map_or(now.as_millis() as u64, |seed| seed.parse().expect("a seed"));
    let (program, manifest) = (PathBuf::from(program), std::fs::read_to_string(manifest).expect("the manifest"));
    let counts = Arc::<Counts>::default();
    println!("random-run: seed {seed}\n");
    let limit = (time != "quick").then(|| Duration::from_secs(time.parse().expect("a number of seconds, or quick")));
    let (begun, mut rounds, mut is_good) = (Instant::now(), 0, true);
    while is_good && limit.map_or(rounds < QUICK.len(), |limit| begun.elapsed() < limit) {
        let aims = match limit {
            None => QUICK[rounds].to_vec(),
            Some(_) => aims(&counts),
        };
        is_good = play(seed, rounds, limit.is_none(), &aims, &counts, &program, &manifest);
        rounds += 1;
    }
    counts.print();
    let wanted: Vec<Event> = if limit.is_none() { QUICK.concat() } else { EVENTS.iter().map(|(event, _)| *event).collect() };
    let missing = wanted.into_iter().filter(|event| is_good && counts.of(*event) == 0);
    let missing: Vec<&str> = missing.map(events::name).collect();
    missing.iter().for_each(|name| eprintln!("random-run: FAILED, seed {seed}: never reached: {name}"));
    println!("\n{rounds} rounds in {} s, seed {seed}", begun.elapsed().as_secs());
    if is_good && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Chooses what the next round of a long run aims at: the events that were reached least.
fn aims(counts: &Counts) -> Vec<Event> {
    let mut events: Vec<Event> = EVENTS.iter().map(|(event, _)| *event).collect();
    events.sort_by_key(|event| counts.of(*event));
    events.truncate(3);
    events
}

/// Plays one round, and reports whether it was good. Prints everything about a bad one.
fn play(seed: u64, round: usize, is_quick: bool, aims: &[Event], counts: &Arc<Counts>, program: &Path, manifest: &str) -> bool {
    let round_seed = Random::new(seed, &format!("round {round}")).next();
    let mut random = Random::new(round_seed, "settings");
    // Two slots in the first quick round, whose agents serve several events, and one in the other.
    let slots = if is_quick { 2 - round % 2 } else { 1 + random.below(2) as usize };
    let settings = Settings { seed: round_seed, slots, freezes: random.chance(50) && !aims.contains(&Event::Withdrawn) };
    let (freezes, percent) = (settings.freezes, random.pick(&[0, 2, 6]));
    let chaos = if is_quick { Duration::from_secs(10) } else { random.time(20_000, 40_000) };
    let begun = Instant::now();
    let world = World::new(settings, counts, program, manifest);
    [0, 1].iter().for_each(|at| plan_faults(&world, *at, percent));
    let panics = run(&world, aims, chaos, if is_quick { SETTLE_MAX } else { AIM_MAX });
    world.count_events();
    let failures = [world.failures(), panics].concat();
    let settled = world.settled_for().as_secs();
    println!(
        "round {round}: {slots} slots, faults {percent} %, freezes {freezes}; {} s and {settled} s until all was quiet",
        begun.elapsed().as_secs() - settled
    );
    if failures.is_empty() {
        return true;
    }
    for at in [0, 1] {
        eprintln!("\n--- log of replica {at}\n{}", world.log(at).join("\n"));
    }
    eprintln!("\n--- actions\n{}", world.acts().join("\n"));
    eprintln!("\n--- Lease\n{:#}", world.cluster.lock());
    failures.iter().for_each(|failure| eprintln!("random-run: FAILED, seed {seed}, round {round}: {failure}"));
    false
}

/// Runs the threads of a round, and returns a line for each that panicked.
fn run(world: &World, aims: &[Event], chaos: Duration, limit: Duration) -> Vec<String> {
    thread::scope(|scope| {
        scope.spawn(|| {
            while !world.is_over() {
                world.tick();
                thread::sleep(Duration::from_millis(80));
            }
        });
        scope.spawn(|| {
            while !world.is_over() {
                world.report_kubelets();
                thread::sleep(Duration::from_secs(2));
            }
        });
        let outsiders = scope.spawn(|| Outsiders::new(world).run(aims));
        let agent = |number| move || Agent::new(world, number).run(aims);
        let mut threads: Vec<_> = (1..=NODES).map(|number| scope.spawn(agent(number))).collect();
        threads.push(outsiders);
        let begun = Instant::now();
        while !world.is_late() && begun.elapsed() < limit && (begun.elapsed() < chaos || !world.not_reached(aims).is_empty()) {
            thread::sleep(Duration::from_millis(300));
            world.count_events();
        }
        world.settle();
        let panics = threads.into_iter().filter_map(|thread| thread.join().err()).map(|why| format!("a thread panicked: {why:?}"));
        let panics: Vec<String> = panics.collect();
        if panics.is_empty() && world.failures().is_empty() {
            world.check_quiet();
        }
        world.finish();
        panics
    })
}
