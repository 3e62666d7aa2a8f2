//! Output of the demo: one line for each event, with its time and node.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pause after each line, so that people can follow.
const PAUSE: Duration = Duration::from_millis(60);

const BOLD: &str = "1";
const DIM: &str = "2";

/// Colours of events: a broken promise.
pub(crate) const BAD: &str = "1;31";
/// An approval.
pub(crate) const GOOD: &str = "32";
/// A detail.
pub(crate) const LOW: &str = DIM;
pub(crate) const PLAIN: &str = "";
/// A refusal for now.
pub(crate) const WAIT: &str = "33";

pub(crate) struct Output {
    begun: Instant,
    colours: bool,
    /// Keeps a line and its pause together.
    line: Mutex<()>,
}

impl Output {
    /// Uses colours on a terminal unless `NO_COLOR` is set.
    pub(crate) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { begun: Instant::now(), colours, line: Mutex::default() }
    }

    /// Prints an event of a node; an empty name means the whole cluster.
    pub(crate) fn print(&self, node: &str, colour: &str, text: &str) {
        let _line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let time = self.painted(DIM, &format!("{:>5.1} s", self.begun.elapsed().as_secs_f64()));
        write_line(&format!("{time}  {}{}", self.painted(BOLD, &format!("{node:<4}")), self.painted(colour, text)));
        thread::sleep(PAUSE);
    }

    /// Prints a headline and lines of text below.
    pub(crate) fn title(&self, headline: &str, text: &str) {
        write_line(&format!("{}\n{text}", self.painted(BOLD, headline)));
    }

    /// Prints a line of the summary.
    pub(crate) fn verdict(&self, holds: bool, text: &str) {
        let (code, sign) = if holds { (GOOD, "✓") } else { (BAD, "✗ NOT TRUE:") };
        write_line(&self.painted(code, &format!("  {sign} {text}")));
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn write_line(text: &str) {
    // A reader that has closed the pipe does not matter: the exit code still reports the result.
    let _ = writeln!(io::stdout(), "{text}");
}
