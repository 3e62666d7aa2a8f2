//! Log of the server: to standard error, one line per event, as text or JSON. No message can end a line early or control a terminal.
//!
//! A line may have fields (`node`, `kind`, …), which are members of its JSON object. A text line is a sentence without them.

mod levels;

use std::io::Write;

use env_logger::{Builder, Target};
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};
use serde_json::Map;

use crate::cli::LogFormat;
use crate::system::clock;
use crate::system::process::exit_after_defect;
use levels::Levels;

/// Starts the log at the levels of `RUST_LOG`. A panic is logged as an error, and then ends the process.
pub(crate) fn start(format: LogFormat) {
    let text = std::env::var_os("RUST_LOG").unwrap_or_default();
    let levels = Levels::of(&text.to_string_lossy());
    let mut builder = Builder::new();
    builder.filter_level(levels.all);
    for (module, level) in &levels.modules {
        builder.filter_module(module, *level);
    }
    // At TRACE these libraries print every byte they send, including the token.
    for library in ["ureq", "ureq_proto"] {
        builder.filter_module(library, LevelFilter::Info);
    }
    // It warns of what any client sends, each time. Each failure of TLS is an error of its own here, and those are limited.
    builder.filter_module("rustls", LevelFilter::Error);
    if levels.warning.is_some() {
        builder.filter_module(module_path!(), LevelFilter::Warn);
    }
    builder.target(Target::Stderr);
    builder.format(move |out, record| match format {
        LogFormat::Json => writeln!(out, "{}", as_json(record, &now())),
        LogFormat::Text => writeln!(out, "{}", as_text(record, &now())),
    });
    builder.init();
    std::panic::set_hook(Box::new(|panic| {
        log::error!("this is a bug, please report it: {panic}; this process exits, to be restarted");
        exit_after_defect();
    }));
    if let Some(warning) = levels.warning {
        log::warn!("{warning}");
    }
}

fn as_text(record: &Record<'_>, at: &str) -> String {
    let message = record.args().to_string();
    format!("{at} {:5} {}", record.level(), escaped(&message, |c| c.escape_default().to_string()))
}

fn as_json(record: &Record<'_>, at: &str) -> String {
    let mut line = Line(Map::new());
    // No visitor of a value fails.
    let _ = record.key_values().visit(&mut line);
    // Last, so that no field can replace one of these.
    line.0.insert("time".to_owned(), at.into());
    line.0.insert("level".to_owned(), record.level().as_str().to_lowercase().into());
    line.0.insert("target".to_owned(), record.target().into());
    line.0.insert("message".to_owned(), record.args().to_string().into());
    // Only strings can hold a character that JSON itself does not escape.
    escaped(&serde_json::Value::Object(line.0).to_string(), |c| format!("\\u{:04x}", u32::from(c)))
}

/// Members of a JSON line.
struct Line(Map<String, serde_json::Value>);

/// A field's value: a number stays a number, any other value becomes text, and an absent one is left out.
struct Field(Option<serde_json::Value>);

impl<'a> VisitSource<'a> for Line {
    fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), Error> {
        let mut field = Field(None);
        value.visit(&mut field)?;
        if let Some(value) = field.0 {
            self.0.insert(key.to_string(), value);
        }
        Ok(())
    }
}

impl<'a> VisitValue<'a> for Field {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = Some(value.to_string().into());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = Some(value.into());
        Ok(())
    }
}

/// Replaces every character that can end a line or control a terminal.
fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    text.chars().map(|c| if is_control(c) { escape(c) } else { c.to_string() }).collect()
}

/// Reports whether `c` is a control character, a line or paragraph separator, or changes the direction of writing (Unicode,
/// UAX #9: `Bidi_Control`).
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn now() -> String {
    format!("{:.3}", clock::now().clock)
}

#[cfg(test)]
mod tests {
    use log::kv::ToValue;
    use serde_json::json;

    use super::*;

    const AT: &str = "2026-01-01T00:00:00.000Z";

    fn line(format: impl Fn(&Record<'_>, &str) -> String, message: &str) -> String {
        format(&Record::builder().args(format_args!("{message}")).level(log::Level::Warn).target("t").build(), AT)
    }

    #[test]
    fn a_text_line_shows_control_characters_escaped() {
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
    fn a_json_line_has_its_fields_and_no_field_replaces_the_message() {
        let forged = "n1\",\"level\":\"error\u{2028}\n{";
        let (code, duration, absent) = (404_u16, 0.25, None::<&str>);
        let fields = [
            ("node", forged.to_value()),
            ("code", code.to_value()),
            ("duration", duration.to_value()),
            ("user", absent.to_value()),
            ("message", "another".to_value()),
            ("time", "another".to_value()),
        ];
        let record = |format: fn(&Record<'_>, &str) -> String| {
            format(&Record::builder().args(format_args!("why")).level(log::Level::Info).target("t").key_values(&fields).build(), AT)
        };
        let json = record(as_json);
        assert!(!json.contains(is_control), "{json:?}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let want = json!({"time": AT, "level": "info", "target": "t", "message": "why", "node": forged, "code": 404, "duration": 0.25});
        assert_eq!(value, want);
        assert_eq!(record(as_text), format!("{AT} INFO  why"));
    }

    #[test]
    fn no_character_can_end_or_control_a_line_and_json_keeps_the_message() {
        for c in ('\0'..'\u{3000}').filter(|c| is_control(*c)) {
            let message = format!("a \"{c}\" b");
            assert!(!line(as_text, &message).contains(is_control), "{c:?}");
            let json = line(as_json, &message);
            assert!(!json.contains(is_control), "{c:?}: {json:?}");
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((value["level"].as_str(), value["message"].as_str()), (Some("warn"), Some(message.as_str())));
        }
    }
}
