//! The log: to standard error, one line an event, as text or as JSON.

use std::io::Write;

use env_logger::{Builder, Env, Target};
use log::{LevelFilter, Record};
use serde_json::json;

use crate::cli::LogFormat;

/// Starts the log. `RUST_LOG` says what is logged. The HTTP and TLS libraries are kept below TRACE, where they would
/// print every byte they send, the token among them.
pub fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or("info"));
    for library in ["ureq", "ureq_proto", "rustls"] {
        builder.filter_module(library, LevelFilter::Info);
    }
    builder.target(Target::Stderr);
    builder.format(move |out, record| match format {
        LogFormat::Json => writeln!(out, "{}", as_json(record, &now())),
        LogFormat::Text => writeln!(out, "{} {:5} {}", now(), record.level(), record.args()),
    });
    builder.init();
}

fn as_json(record: &Record<'_>, at: &str) -> String {
    json!({"time": at, "level": record.level().as_str().to_lowercase(), "target": record.target(), "message": record.args().to_string()})
        .to_string()
}

#[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_one_object_whatever_is_said() {
        let args = format_args!("a \"quoted\"\nline");
        let record = Record::builder().args(args).level(log::Level::Warn).target("t").build();
        let line = as_json(&record, "2026-01-01T00:00:00.000Z");
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["level"].as_str(), value["message"].as_str()), (Some("warn"), Some("a \"quoted\"\nline")));
    }
}
