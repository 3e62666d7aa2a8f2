//! Answers to the agents, and their times.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use test_cluster::zincati::Answer;

/// Times by endpoint and answer.
#[derive(Default)]
pub(super) struct Answers(Mutex<BTreeMap<(String, String), Vec<Duration>>>);

impl Answers {
    /// Adds an answer; `None` is a connection that ended without one.
    pub(super) fn add(&self, endpoint: &str, answer: Option<&Answer>) {
        let (name, took) = match answer {
            Some(answer) => (format!("{} `{}`", answer.status, answer.kind), answer.took),
            None => ("none".to_owned(), Duration::ZERO),
        };
        self.0.lock().expect("answers").entry((endpoint.to_owned(), name)).or_default().push(took);
    }

    /// Counts the answers of an endpoint with this status and kind.
    pub(super) fn count(&self, endpoint: &str, name: &str) -> usize {
        self.0.lock().expect("answers").get(&(endpoint.to_owned(), name.to_owned())).map_or(0, Vec::len)
    }

    pub(super) fn print(&self) {
        println!("| request | answer | times | ms, median | ms, 99 of 100 | ms, worst |\n|---|---|--:|--:|--:|--:|");
        for ((endpoint, name), times) in self.0.lock().expect("answers").iter_mut() {
            times.sort();
            let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
            println!("| {endpoint} | {name} | {} | {:.1} | {:.1} | {:.1} |", times.len(), at(50), at(99), at(100));
        }
        println!();
    }
}
