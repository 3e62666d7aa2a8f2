//! Tells what happens, in the order in which it happened, no faster than people read.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Teller {
    begun: Instant,
    width: usize,
    colours: bool,
    heard: Mutex<Heard>,
}

/// What was heard and not yet told, by when it happened; the number keeps apart what happened at the same time.
#[derive(Default)]
struct Heard {
    events: BTreeMap<(Duration, usize), Event>,
    count: usize,
}

struct Event {
    who: String,
    tone: Tone,
    text: String,
}

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A promise is broken.
    Bad,
    /// A yes.
    Good,
    /// By the way.
    Low,
    Plain,
    /// A no, for now.
    Wait,
}

impl Teller {
    /// Colours on a terminal, unless `NO_COLOR` is set; lines as wide as `COLUMNS` says, within reason.
    pub(crate) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(110);
        Self { begun: Instant::now(), width: usize::clamp(columns, 60, 120), colours, heard: Mutex::default() }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It happens now, to `who` (a node, or nobody).
    pub(crate) fn say(&self, who: &str, tone: Tone, text: &str) {
        self.say_at(self.now(), who, tone, text);
    }

    /// It happened at `at`.
    pub(crate) fn say_at(&self, at: Duration, who: &str, tone: Tone, text: &str) {
        let mut heard = self.heard();
        heard.count += 1;
        let key = (at, heard.count);
        heard.events.insert(key, Event { who: who.to_owned(), tone, text: text.to_owned() });
    }

    /// Tells on until it is over.
    pub(crate) fn tell(&self, over: &AtomicBool) {
        while !over.load(Ordering::Acquire) {
            let ripe = self.now().saturating_sub(RIPE);
            let next = {
                let mut heard = self.heard();
                heard.events.first_entry().filter(|first| first.key().0 <= ripe).map(|first| first.remove_entry())
            };
            if let Some(((at, _), event)) = next {
                self.print(at, &event);
            }
            thread::sleep(GAP);
        }
    }

    /// Tells the rest.
    pub(crate) fn finish(&self) {
        let rest = std::mem::take(&mut self.heard().events);
        for ((at, _), event) in rest {
            self.print(at, &event);
            thread::sleep(GAP);
        }
    }

    /// Lines without a time: the first stands out.
    pub(crate) fn title(&self, lines: &[String]) {
        for (number, line) in lines.iter().enumerate() {
            self.line(&self.painted(if number == 0 { BOLD } else { "" }, line));
        }
        self.line("");
    }

    /// A line of the summary.
    pub(crate) fn verdict(&self, holds: bool, text: &str) {
        let (code, sign) = if holds { (GREEN, "✓") } else { (RED, "✗ NOT TRUE:") };
        self.line(&self.painted(code, &format!("  {sign} {text}")));
    }

    fn print(&self, at: Duration, event: &Event) {
        let margin = format!("{:>5.1} s  ", at.as_secs_f64());
        let colour = match event.tone {
            Tone::Bad => RED,
            Tone::Good => GREEN,
            Tone::Low => DIM,
            Tone::Plain => "",
            Tone::Wait => YELLOW,
        };
        let who = self.painted(BOLD, &format!("{:<4}", event.who));
        for (number, line) in wrap(&event.text, self.width - INDENT).iter().enumerate() {
            let text = self.painted(colour, line);
            if number == 0 {
                self.line(&format!("{}{who}{text}", self.painted(DIM, &margin)));
            } else {
                self.line(&format!("{:INDENT$}{text}", ""));
            }
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        // Nobody reads on: then nobody misses it, and the exit code still tells.
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines of at most `width` characters, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// How long an event waits for one that happened before it and is heard later.
const RIPE: Duration = Duration::from_millis(600);

/// Between two lines.
const GAP: Duration = Duration::from_millis(120);

/// What stands before the text of a line: the time and who.
const INDENT: usize = 13;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "1;31";
const YELLOW: &str = "33";

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 9), ["one two", "  three"]);
        assert_eq!(wrap("", 9), [""]);
    }
}
