//! Errors of the command line: whether a flag or a variable is wrong, and a right value. No text of an argument can control a terminal.

use std::error::Error;
use std::ffi::OsString;

use clap::CommandFactory;
use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use super::variables::of_flag;
use crate::system::quotable::quotable;

/// Adds to the error of an invalid value whether a flag or a variable has it, and a right value.
pub(super) fn explained(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() == ErrorKind::InvalidUtf8 {
        return not_utf8().map_or(error, |what| invalid(&what));
    }
    let texts = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(value) if kind == ContextKind::InvalidValue => Some((kind, quotable(value).escape_debug().to_string())),
        ContextValue::String(text) => Some((kind, text.escape_debug().to_string())),
        _ => None,
    });
    for (kind, text) in texts.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(argument), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) else { return error };
    let flag = argument.split(' ').next().unwrap_or_default();
    let command = Cli::command();
    let Some(variable) = command.get_arguments().find_map(|arg| of_flag(arg, flag)) else { return error };
    let is_typed = arguments.iter().any(|word| word.to_string_lossy().split('=').next() == Some(flag));
    let remedy = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(rule), _) => rule.to_string(),
        (None, Some(ContextValue::Strings(valid))) if !valid.is_empty() => format!("use {}", valid.join(" or ")),
        (None, _) if value.is_empty() && !is_typed => "it is empty; leave the variable out instead".to_owned(),
        (None, _) => return error,
    };
    let origin = if is_typed { format!("for {flag}") } else { format!("in the variable {variable} (for {flag})") };
    invalid(&format!("'{value}' {origin}: {remedy}"))
}

fn invalid(what: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::InvalidValue, format!("invalid value {what}\n\nFor more information, try '--help'.\n"))
}

/// Describes the variable whose value is not UTF-8, if one is. The name of a file may be any bytes.
fn not_utf8() -> Option<String> {
    let command = Cli::command();
    let text = command.get_arguments().filter(|arg| arg.get_value_hint() != ValueHint::AnyPath);
    let (arg, name) = text
        .filter_map(|arg| Some((arg, arg.get_env()?)))
        .find(|(_, name)| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()))?;
    let flag = arg.get_long().unwrap_or_default();
    Some(format!("in the variable {} (for --{flag}): it is not UTF-8; type the value again", name.display()))
}
