//! The server's log: to standard error, one line an event, as text or as JSON. No text of others can end a line or steer a terminal.

mod levels;

use std::borrow::Cow;
use std::io::Write;

use env_logger::{Builder, Target};
use log::{LevelFilter, Record};
use serde_json::json;

use crate::cli::LogFormat;
use crate::system::clock;
use levels::Levels;

/// Starts the log, in which a panic is an error, too, and the last line. `RUST_LOG` says what is logged. The HTTP and TLS libraries are kept below TRACE, where they would
/// print every byte they send, the token among them.
pub fn start(format: LogFormat) {
    let text = std::env::var_os("RUST_LOG").unwrap_or_default();
    let levels = Levels::of(&text.to_string_lossy());
    let mut builder = Builder::new();
    builder.filter_level(levels.all);
    for (module, level) in &levels.modules {
        builder.filter_module(module, *level);
    }
    for library in ["ureq", "ureq_proto", "rustls"] {
        builder.filter_module(library, LevelFilter::Info);
    }
    if levels.complaint.is_some() {
        builder.filter_module(module_path!(), LevelFilter::Warn);
    }
    builder.target(Target::Stderr);
    builder.format(move |out, record| match format {
        LogFormat::Json => writeln!(out, "{}", as_json(record, &now())),
        LogFormat::Text => writeln!(out, "{}", as_text(record, &now())),
    });
    builder.init();
    std::panic::set_hook(Box::new(|panic| {
        log::error!("a defect, please report it: {panic}; this process ends, to be restarted");
        std::process::abort();
    }));
    if let Some(complaint) = levels.complaint {
        log::warn!("{complaint}");
    }
}

fn as_text(record: &Record<'_>, at: &str) -> String {
    let message = record.args().to_string();
    format!("{at} {:5} {}", record.level(), escaped(&message, |c| c.escape_default().to_string()))
}

fn as_json(record: &Record<'_>, at: &str) -> String {
    let level = record.level().as_str().to_lowercase();
    let line = json!({"time": at, "level": level, "target": record.target(), "message": record.args().to_string()}).to_string();
    // Characters that JSON itself does not escape are inside its strings only.
    escaped(&line, |c| format!("\\u{:04x}", u32::from(c))).into_owned()
}

/// The text with every character that a terminal obeys, or that may end a line, in another form.
fn escaped(text: &str, form: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| if is_hostile(c) { form(c) } else { c.to_string() };
    Cow::Owned(text.chars().map(show).collect())
}

/// Control characters, the two separators of lines and paragraphs, and those that change the direction of writing (Unicode,
/// UAX #9: `Bidi_Control`).
fn is_hostile(c: char) -> bool {
    let steers = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || steers
}

fn now() -> String {
    format!("{:.3}", clock::now().clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-01T00:00:00.000Z";

    fn line(format: impl Fn(&Record<'_>, &str) -> String, message: &str) -> String {
        format(&Record::builder().args(format_args!("{message}")).level(log::Level::Warn).target("t").build(), AT)
    }

    #[test]
    fn a_json_line_is_one_object_whatever_is_said() {
        let line = line(as_json, "a \"quoted\"\nline");
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["level"].as_str(), value["message"].as_str()), (Some("warn"), Some("a \"quoted\"\nline")));
    }

    #[test]
    fn a_text_line_shows_what_would_end_or_steer_it() {
        let cases = [
            ("plain, \"quoted\", C:\\n, ü, 日本", "plain, \"quoted\", C:\\n, ü, 日本"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\0\u{7f}\u{85}\u{9b}2J", "\\u{0}\\u{7f}\\u{85}\\u{9b}2J"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("\u{202e}txt\u{202c}\u{2066}\u{2069}\u{200f}\u{61c}", "\\u{202e}txt\\u{202c}\\u{2066}\\u{2069}\\u{200f}\\u{61c}"),
        ];
        for (message, shown) in cases {
            assert_eq!(line(as_text, message), format!("{AT} WARN  {shown}"));
        }
    }

    #[test]
    fn no_character_can_end_or_steer_a_line_and_json_still_says_it() {
        for c in ('\0'..'\u{3000}').filter(|c| is_hostile(*c)) {
            let message = format!("a{c}b");
            assert!(!line(as_text, &message).contains(is_hostile), "{c:?}");
            let json = line(as_json, &message);
            assert!(!json.contains(is_hostile), "{c:?}: {json:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["message"], message.as_str());
        }
    }
}
