//! Samples of the resources of the process, and a check that they do not grow.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use test_cluster::Server;

/// Interval between two samples.
const EVERY: Duration = Duration::from_millis(250);

/// Limits of the growth from the second quarter's maximum to the last quarter's. A leak of one for each reboot, or for each hundred
/// requests, is many times that.
const RSS_KIB_MORE_MAX: u64 = 1024;
const THREADS_MORE_MAX: u64 = 16;
const DESCRIPTORS_MORE_MAX: u64 = 32;

/// Samples in order of time.
pub(super) struct Samples {
    begun: Instant,
    seen: Mutex<Vec<Sample>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    cpu: Duration,
    /// KiB resident, threads, descriptors.
    values: [u64; 3],
}

impl Samples {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), seen: Mutex::default() }
    }

    /// Does some work, and takes a sample and a look at intervals meanwhile.
    pub(super) fn take(&self, server: &Server, look: impl Fn() + Sync, work: impl FnOnce()) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    self.add(server);
                    look();
                    thread::sleep(EVERY);
                }
            });
            work();
            over.store(true, Ordering::Release);
        });
    }

    fn add(&self, server: &Server) {
        let values = [server.memory_kib("VmRSS:"), server.threads() as u64, server.descriptors() as u64];
        self.seen.lock().expect("samples").push(Sample { at: self.begun.elapsed(), cpu: server.cpu_time(), values });
    }

    /// Prints the maximum of each quarter as a table.
    pub(super) fn print(&self) {
        println!("| quarter of {:.0} s | RSS, KiB | threads | descriptors | CPU, % of one core |", self.length().as_secs_f64());
        println!("|---|--:|--:|--:|--:|");
        for quarter in 0..4 {
            let [rss, threads, descriptors] = self.highest(quarter);
            println!("| {} | {rss} | {threads} | {descriptors} | {:.1} |", quarter + 1, self.cpu_share(quarter));
        }
        println!();
    }

    /// Returns messages about resources that grew from the second quarter to the last.
    pub(super) fn grown(&self) -> Vec<String> {
        let (second, last) = (self.highest(1), self.highest(3));
        let limits = [("KiB resident", RSS_KIB_MORE_MAX), ("threads", THREADS_MORE_MAX), ("descriptors", DESCRIPTORS_MORE_MAX)];
        let grew = |index: &usize| last[*index] > second[*index] + limits[*index].1;
        let message = |index: usize| format!("{} {} in the second quarter, {} in the last", limits[index].0, second[index], last[index]);
        (0..limits.len()).filter(grew).map(message).collect()
    }

    fn length(&self) -> Duration {
        self.seen.lock().expect("samples").last().map_or(Duration::ZERO, |sample| sample.at)
    }

    fn quarter(&self, number: u32) -> Vec<Sample> {
        let length = self.length();
        let (from, to) = (length * number / 4, length * (number + 1) / 4);
        self.seen.lock().expect("samples").iter().filter(|sample| sample.at >= from && sample.at <= to).copied().collect()
    }

    fn highest(&self, quarter: u32) -> [u64; 3] {
        let samples = self.quarter(quarter);
        [0, 1, 2].map(|index| samples.iter().map(|sample| sample.values[index]).max().unwrap_or_default())
    }

    fn cpu_share(&self, quarter: u32) -> f64 {
        let samples = self.quarter(quarter);
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0.0 };
        let (used, passed) = (last.cpu - first.cpu, last.at - first.at);
        100.0 * used.as_secs_f64() / passed.as_secs_f64().max(f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes one sample in each quarter.
    fn grown(quarters: [[u64; 3]; 4]) -> Vec<String> {
        let samples = [0, 300, 500, 800].into_iter().zip(quarters);
        let samples = samples.map(|(at, values)| Sample { at: Duration::from_millis(at), cpu: Duration::ZERO, values });
        Samples { begun: Instant::now(), seen: Mutex::new(samples.collect()) }.grown()
    }

    #[test]
    fn growth_from_the_second_quarter_to_the_last_is_reported() {
        let flat = [5000, 60, 120];
        assert_eq!(grown([[9000, 90, 200], flat, flat, [5000 + RSS_KIB_MORE_MAX, 60 + THREADS_MORE_MAX, 120]]), Vec::<String>::new());
        let message = grown([flat, flat, flat, [5001 + RSS_KIB_MORE_MAX, 60, 121 + DESCRIPTORS_MORE_MAX]]);
        assert_eq!(
            message,
            ["KiB resident 5000 in the second quarter, 6025 in the last", "descriptors 120 in the second quarter, 153 in the last"]
        );
        assert_eq!(grown([flat, flat, flat, [5000, 61 + THREADS_MORE_MAX, 120]]).len(), 1);
    }
}
