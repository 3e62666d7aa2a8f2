//! Output of the demo: one line for each event, with its time and node.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pause after each line, so that people can follow.
const PAUSE: Duration = Duration::from_millis(60);

/// Width of the time and the node before the text of a line.
const INDENT: usize = 13;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "1;31";

pub(crate) struct Output {
    begun: Instant,
    width: usize,
    colours: bool,
    /// Keeps the lines of one event together.
    lines: Mutex<()>,
}

/// Meaning of an event, shown as its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A broken promise.
    Bad,
    /// An approval.
    Good,
    /// A detail.
    Low,
    Plain,
    /// A refusal for now.
    Wait,
}

impl Output {
    /// Uses colours on a terminal unless `NO_COLOR` is set, and the width in `COLUMNS` within reason.
    pub(crate) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(110);
        Self { begun: Instant::now(), width: usize::clamp(columns, 60, 120), colours, lines: Mutex::default() }
    }

    /// Prints an event of a node; an empty name means the whole cluster.
    pub(crate) fn print(&self, node: &str, tone: Tone, text: &str) {
        let colour = match tone {
            Tone::Bad => RED,
            Tone::Good => GREEN,
            Tone::Low => DIM,
            Tone::Plain => "",
            Tone::Wait => "33",
        };
        let _lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = self.painted(DIM, &format!("{:>5.1} s  ", self.begun.elapsed().as_secs_f64()));
        start += &self.painted(BOLD, &format!("{node:<4}"));
        for line in wrap(text, self.width - INDENT) {
            write_line(&format!("{start}{}", self.painted(colour, &line)));
            start = " ".repeat(INDENT);
        }
        thread::sleep(PAUSE);
    }

    /// Prints lines without a time, the first in bold.
    pub(crate) fn title(&self, lines: &[String]) {
        for (number, line) in lines.iter().enumerate() {
            write_line(&self.painted(if number == 0 { BOLD } else { "" }, line));
        }
        write_line("");
    }

    /// Prints a line of the summary.
    pub(crate) fn verdict(&self, holds: bool, text: &str) {
        let (code, sign) = if holds { (GREEN, "✓") } else { (RED, "✗ NOT TRUE:") };
        write_line(&self.painted(code, &format!("  {sign} {text}")));
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn write_line(text: &str) {
    // A reader that has closed the pipe does not matter: the exit code still reports the result.
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
}

/// Breaks text between words into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}
